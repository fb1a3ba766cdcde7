"""What lies far off: sky, clouds, hills and woods all around, of which the frame shows the part that it looks at."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from iotedge_lab.camera.libraries import library
from iotedge_lab.camera.scene.noise import clouds, source

if TYPE_CHECKING:
    from iotedge_lab.camera.scene.weather import Weather

cv2 = library("cv2")


class Sky:
    """A panorama of 360 degrees; `focal` is the camera's focal length in pixels, `rows` those above the horizon."""

    def __init__(self, seed: int, weather: Weather, focal: float, rows: int, columns: int) -> None:
        self._around = 2.0 * math.pi * focal
        self._columns, self._rows = columns, rows
        wide = round(self._around)
        picture = _paint(seed, weather, rows, wide, focal)
        repeats = -(-(columns + 4) // wide)
        self._picture = np.concatenate([picture, *[picture] * repeats], axis=1)[:, : wide + columns + 4]

    def draw(self, frame: Any, heading: float) -> None:
        """Into the frame's upper rows, as seen in that direction (radians, counter-clockwise)."""
        start = (-heading * self._around / (2.0 * math.pi)) % self._around
        left = int(start)
        share = start - left
        first = self._picture[:, left : left + self._columns]
        second = self._picture[:, left + 1 : left + 1 + self._columns]
        cv2.addWeighted(first, 1.0 - share, second, share, 0.0, dst=frame[: self._rows])


def _paint(seed: int, weather: Weather, rows: int, wide: int, focal: float) -> Any:
    chance = source(seed, 50)
    height = (np.arange(rows, dtype=np.float32)[::-1] / max(1, rows - 1))[:, None, None]  # 0 at the horizon
    zenith, horizon = (np.array(each, np.float32) for each in (weather.zenith, weather.horizon))
    sky = horizon + (zenith - horizon) * (1.0 - np.exp(-2.6 * height))
    sky = np.repeat(sky, wide, axis=1)
    turn = np.arange(wide, dtype=np.float32) / wide
    if weather.name != "rain":  # the sun's glow, low at dusk
        sun = float(chance.uniform(0.0, 1.0))
        away = np.abs((turn - sun + 0.5) % 1.0 - 0.5)[None, :, None]
        low = 0.1 if weather.name == "dusk" else 0.9
        glow = np.exp(-(away**2) * 90.0 - ((height - low) ** 2) * 5.0)
        warm = np.array((96, 190, 255) if weather.name == "dusk" else (235, 246, 255), np.float32)
        sky = sky + (warm - sky) * 0.75 * glow
    heaps = clouds(chance, rows, wide, max(4, rows // 2))
    fine = clouds(chance, rows, wide, max(8, rows // 5))
    cover = np.clip((heaps + 0.30 * fine - 0.36 + 0.75 * weather.cloud_cover) * 1.5, 0.0, 1.0) ** 1.3
    cover = cv2.GaussianBlur(cover, (0, 0), max(0.8, rows / 110))[..., None]
    cover *= np.clip(height * 3.0 + 0.1, 0.0, 1.0) * (0.85 if weather.name == "rain" else 0.9)
    under = np.array(weather.cloud, np.float32) * (0.86 + 0.14 * np.clip(fine + 0.6, 0, 1))[..., None]
    sky = sky + (under - sky) * cover
    light = np.array(weather.ambient, np.float32) + 0.5 * np.array(weather.sun, np.float32)
    scale = focal / 512.0
    layers = (
        (30.0, 13.0, (150, 132, 112), 0.72),
        (17.0, 9.0, (104, 122, 96), 0.5),
        (9.0, 6.0, (60, 88, 66), 0.28),
    )
    for number, (mean, swing, colour, faint) in enumerate(layers):
        waves = sum(
            math.exp(-0.35 * n) * np.sin(2 * math.pi * (n * turn * (number + 2) + float(chance.uniform())))
            for n in range(1, 7)
        )
        rough = clouds(chance, 4, wide, 16)[0] * (1.0 + number)
        edge = (mean + swing * 0.55 * waves + rough * 1.6) * scale
        far = np.array(colour, np.float32) * light
        tone = far + (horizon - far) * faint
        above = np.clip(
            edge[None, :] - (rows - 1 - np.arange(rows, dtype=np.float32))[:, None] + 0.5, 0.0, 1.0
        )
        sky = sky + (tone - sky) * above[..., None]
    return np.clip(sky, 0, 255).round().astype(np.uint8)
