"""The frame while it is painted: pictures are laid on it, and it keeps in mind whose each pixel is.

That is how the ground truth knows what is hidden: things are laid on far to near, and of each the pixels are
counted that are still its own at the end.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from iotedge_lab.camera.libraries import library

if TYPE_CHECKING:
    from iotedge_lab.camera.scene.sprite import Sprite
    from iotedge_lab.camera.scene.view import Lens
    from iotedge_lab.camera.scene.weather import Weather

cv2 = library("cv2")

SCENERY = 0


class Canvas:
    """A frame, and the owner of each pixel (0: scenery)."""

    def __init__(self, lens: Lens, weather: Weather) -> None:
        self.lens, self.weather = lens, weather
        self.frame = np.zeros((lens.height, lens.width, 3), np.uint8)
        self.owner = np.zeros((lens.height, lens.width), np.uint16)
        self._haze = np.array(weather.horizon, np.float32)

    def veil(self, z: float) -> float:
        """The share of haze in what lies so far off."""
        return 1.0 - math.exp(-self.weather.haze * z)

    def hazy(self, colour: tuple[float, float, float], z: float) -> tuple[int, int, int]:
        """A colour as it looks from so far."""
        veil = self.veil(z)
        mixed = [base + (far - base) * veil for base, far in zip(colour, self.weather.horizon, strict=True)]
        return round(mixed[0]), round(mixed[1]), round(mixed[2])

    def lay(
        self,
        sprite: Sprite,
        x: float,
        z: float,
        *,
        owner: int = SCENERY,
        wide: float = 1.0,
        size: float = 1.0,
    ) -> None:
        """A sprite, standing at x, z, so many times its size; `wide` stretches it sideways."""
        scale = self.lens.focal / z * size
        sy, sx = scale / sprite.scale, scale / sprite.scale * wide
        column, row = self.lens.across(x, z), self.lens.down(0.0, z)
        high, long = sprite.image.shape[:2]
        left, top = column - sprite.origin[0] * sx, row - sprite.origin[1] * sy
        a, b = max(0, math.floor(left)), min(self.lens.width, math.ceil(left + long * sx) + 1)
        c, d = max(0, math.floor(top)), min(self.lens.height, math.ceil(top + high * sy) + 1)
        if b - a < 1 or d - c < 1:
            return
        image = sprite.shrunk(sy)
        sy, sx = high * sy / image.shape[0], long * sx / image.shape[1]
        # Pixel centres: 0.5 is in the middle of the first.
        warp = np.array([[sx, 0, left - a + 0.5 * sx - 0.5], [0, sy, top - c + 0.5 * sy - 0.5]], np.float32)
        laid = cv2.warpAffine(
            image, warp, (b - a, d - c), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
        )
        self._blend(laid, a, c, z, owner)
        if self.weather.wet and row < self.lens.height:
            self._reflect(laid, a, round(row), c, z)

    def _blend(self, laid: Any, left: int, top: int, z: float, owner: int) -> None:
        high, long = laid.shape[:2]
        target = self.frame[top : top + high, left : left + long]
        alpha = laid[..., 3]
        colour = cv2.cvtColor(laid, cv2.COLOR_BGRA2BGR)
        cover = cv2.cvtColor(alpha, cv2.COLOR_GRAY2BGR)
        veil = self.veil(z)
        if veil > 0.01:
            fog = cv2.multiply(cover, (*(self._haze * veil / 255.0).tolist(), 0.0))
            colour = cv2.addWeighted(colour, 1.0 - veil, fog, 1.0, 0.0)
        cv2.multiply(target, cv2.bitwise_not(cover), dst=target, scale=1.0 / 255.0)
        cv2.add(target, colour, dst=target)
        self.owner[top : top + high, left : left + long][alpha > 127] = owner

    def _reflect(self, laid: Any, left: int, row: int, top: int, z: float) -> None:
        """A faint image upside down on the wet road."""
        above = row - top
        rows = min(above, self.lens.height - row, laid.shape[0])
        if rows < 3 or z > 60.0 or row < 0:
            return
        mirrored = laid[above - rows : above][::-1]
        target = self.frame[row : row + rows, left : left + laid.shape[1]]
        cover = cv2.cvtColor(mirrored[..., 3], cv2.COLOR_GRAY2BGR)
        cv2.multiply(
            target, cv2.bitwise_not(cv2.multiply(cover, (0.22, 0.22, 0.22, 0.0))), dst=target, scale=1 / 255
        )
        cv2.add(
            target,
            cv2.multiply(cv2.cvtColor(mirrored, cv2.COLOR_BGRA2BGR), (0.22, 0.22, 0.22, 0.0)),
            dst=target,
        )

    def glow(self, column: float, row: float, radius: float, colour: tuple[float, float, float]) -> None:
        """A lamp's light, added."""
        radius = min(radius, 0.4 * self.lens.height)
        size = math.ceil(radius)
        x, y = round(column), round(row)
        a, b, c, d = (
            max(0, x - size),
            min(self.lens.width, x + size),
            max(0, y - size),
            min(self.lens.height, y + size),
        )
        if size < 1 or b <= a or d <= c:
            return
        spot = _SPOT if 2 * size == len(_SPOT) else cv2.resize(_SPOT, (2 * size, 2 * size))
        part = spot[c - (y - size) : d - (y - size), a - (x - size) : b - (x - size)]
        light = cv2.multiply(
            cv2.cvtColor(part, cv2.COLOR_GRAY2BGR), (*(each / 255.0 for each in colour), 0.0)
        )
        target = self.frame[c:d, a:b]
        cv2.add(target, light, dst=target)


def _make_spot() -> Any:
    axis = (np.arange(64, dtype=np.float32) + 0.5) / 32.0 - 1.0
    far = np.sqrt(axis[:, None] ** 2 + axis[None, :] ** 2)
    return np.clip(
        255.0 * (0.75 * np.exp(-((far / 0.16) ** 2)) + 0.30 * np.clip(1.0 - far, 0, 1) ** 2), 0, 255
    ).astype(np.uint8)


_SPOT = _make_spot()
