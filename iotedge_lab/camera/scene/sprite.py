"""Pictures of meshes, as a camera sees them, and how they are laid onto a frame.

A mesh is painted face by face, far to near, at twice the size and shrunk: smooth edges and no seams. The picture
(a `Sprite`) is kept and used again while the thing is seen from about the same side and distance; on the frame it
is moved and scaled to a fraction of a pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from iotedge_lab.camera.libraries import library

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from iotedge_lab.camera.scene.mesh import Mesh
    from iotedge_lab.camera.scene.weather import Weather

cv2 = library("cv2")

CAMERA_HEIGHT: Final = 1.32  # m above the road
NEAREST: Final = 0.6  # m before the camera; what is nearer is not drawn
FINER: Final = 2  # painted at so many times the size
MOST_PIXELS: Final = 1500  # a side of the painting; a thing nearer than that is painted coarser
_SUN: Final = np.array((-0.46, 0.74, -0.49), np.float32)  # where the light comes from: upper left, behind us


@dataclass(frozen=True, slots=True)
class Sprite:
    """A picture with alpha, colours already multiplied by it; `origin` is the point on the ground below it.

    scale: pixels a metre at the origin; solid: left, top, right, bottom of what is not shadow, relative to the
    origin, in pixels; weight: how many of its pixels are solid; plates: boxes like `solid`.
    """

    image: NDArray[np.uint8]
    origin: tuple[float, float]
    scale: float
    solid: tuple[float, float, float, float]
    weight: float
    plates: tuple[tuple[float, float, float, float], ...] = ()
    parts: tuple[tuple[float, float, float, float], ...] = ()
    """of a rider: the bicycle's box and the person's"""
    _halves: list[Any] = field(default_factory=list)

    def shrunk(self, zoom: float) -> NDArray[np.uint8]:
        """The picture, halved as often as it may be when it is to be drawn at `zoom` times its size."""
        image = self.image
        level = 0
        while zoom < 0.55 and min(image.shape[:2]) > 8:  # a warp does not average
            if level == len(self._halves):
                size = (max(1, image.shape[1] // 2), max(1, image.shape[0] // 2))
                self._halves.append(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
            image = self._halves[level]
            level += 1
            zoom *= 2.0
        return image


def paint(
    mesh: Mesh,
    weather: Weather,
    *,
    turn: float,
    distance: float,
    scale: float,
    plate: str = "",
    shadow: float = 0.0,
) -> Sprite:
    """The mesh turned by `turn` (0: seen from behind; positive to the left), `distance` m ahead on the axis.

    shadow: the half width of a soft shadow under it, in shares of its own size; 0 for none.
    """
    corners, materials = mesh.arrays()
    cosine, sine = math.cos(turn), math.sin(turn)
    x = corners[..., 0] * cosine - corners[..., 2] * sine
    z = corners[..., 0] * sine + corners[..., 2] * cosine
    y = corners[..., 1]
    depth = np.maximum(distance + z, NEAREST)
    span = max(float(np.ptp(x)), float(np.ptp(y)))
    scale = min(scale, MOST_PIXELS / FINER / max(span, 0.1))
    zoom = scale * FINER
    across = zoom * distance * x / depth
    down = -zoom * distance * (y - CAMERA_HEIGHT) / depth - zoom * CAMERA_HEIGHT

    normals = _normals(x, y, z)
    middle = np.stack([x.mean(1), y.mean(1) - CAMERA_HEIGHT, depth.mean(1)], axis=1)
    view = middle / np.linalg.norm(middle, axis=1, keepdims=True)
    facing = -(normals * view).sum(1)
    thin = np.array([each.thin for each in materials])
    normals = np.where((thin & (facing < 0))[:, None], -normals, normals)
    colours = _shade(normals, view, np.abs(facing), materials, weather)
    raised = np.array([each.raised for each in materials], np.float32)
    order = np.argsort(-(np.linalg.norm(middle, axis=1) - raised), kind="stable")

    margin = 3 * FINER
    ground = _shadow_corners(corners, cosine, sine, distance, zoom) if shadow else None
    left = float(across.min()) - margin
    top = float(down.min()) - margin
    right, bottom = float(across.max()) + margin, float(down.max()) + margin
    if ground is not None:
        soft = 0.3 * zoom
        left, right = min(left, ground[:, 0].min() - soft), max(right, ground[:, 0].max() + soft)
        bottom = max(bottom, ground[:, 1].max() + soft)
    left, top = math.floor(left / FINER) * FINER, math.floor(top / FINER) * FINER
    width = math.ceil((right - left) / FINER) * FINER
    height = math.ceil((bottom - top) / FINER) * FINER
    canvas = np.zeros((height, width, 4), np.uint8)
    shown = np.stack([across - left, down - top], axis=-1)
    fixed = np.round(shown * 16.0).astype(np.int32)
    visible = (facing > 0) | thin
    for each in order:
        if visible[each]:
            cv2.fillConvexPoly(canvas, fixed[each], colours[each], cv2.LINE_8, 4)
    plates = _paint_plates(canvas, mesh, plate, (cosine, sine, distance, zoom), (left, top), weather)

    solid = canvas[..., 3]
    columns = np.flatnonzero(solid.any(axis=0))
    rows = np.flatnonzero(solid.any(axis=1))
    image = cv2.resize(canvas, (width // FINER, height // FINER), interpolation=cv2.INTER_AREA)
    origin = (-left / FINER, -top / FINER)
    if len(columns):
        box = (
            columns[0] / FINER - origin[0], rows[0] / FINER - origin[1],
            (columns[-1] + 1) / FINER - origin[0], (rows[-1] + 1) / FINER - origin[1],
        )  # fmt: skip
    else:
        box = (0.0, 0.0, 0.0, 0.0)
    parts = (
        tuple(_around(each / FINER - origin) for each in np.split(shown, [mesh.below])) if mesh.below else ()
    )
    weight = float(np.count_nonzero(image[..., 3] > 127))
    if ground is not None:
        image = _with_shadow(image, ground - (left, top), shadow, zoom)
    return Sprite(image, origin, scale, box, weight, plates, parts)


def _around(points: Any) -> tuple[float, float, float, float]:
    """The box around points."""
    low, high = points.reshape(-1, 2).min(axis=0), points.reshape(-1, 2).max(axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _normals(x: Any, y: Any, z: Any) -> Any:
    """Unit normals of the faces; by the diagonals, so that a corner may be there twice."""
    one = np.stack([x[:, 2] - x[:, 0], y[:, 2] - y[:, 0], z[:, 2] - z[:, 0]], axis=1)
    two = np.stack([x[:, 3] - x[:, 1], y[:, 3] - y[:, 1], z[:, 3] - z[:, 1]], axis=1)
    cross = np.cross(one, two)
    return cross / np.maximum(np.linalg.norm(cross, axis=1, keepdims=True), 1e-9)


def _shade(normals: Any, view: Any, facing: Any, materials: Any, weather: Weather) -> list[tuple[int, ...]]:
    """The colour of each face: sky light from above, the sun's, what it mirrors, and what it gives by itself."""
    base = np.array([each.colour for each in materials], np.float32)
    gloss = np.array([each.gloss for each in materials], np.float32)[:, None]
    glow = np.array([each.glow for each in materials], np.float32)[:, None]
    up = normals[:, 1:2]
    light = np.array(weather.ambient, np.float32) * (0.78 + 0.30 * up)
    light = light + np.array(weather.sun, np.float32) * np.maximum(normals @ _SUN, 0.0)[:, None]
    mirrored = (view + 2.0 * facing[:, None] * normals)[:, 1:2]
    high = np.clip(mirrored * 1.6, 0.0, 1.0)
    sky = np.array(weather.horizon, np.float32) * (1 - high) + np.array(weather.zenith, np.float32) * high
    land = np.array((58.0, 62.0, 62.0), np.float32) * np.array(weather.ambient, np.float32)
    around = np.where(mirrored > 0.0, sky, land)
    fresnel = gloss * (0.22 + 0.78 * (1.0 - np.clip(facing, 0.0, 1.0)[:, None]) ** 3)
    colour = base * light * (1.0 - fresnel) + around * fresnel
    spark = np.maximum(normals @ (_SUN * 0.8 + np.array((0, 0, -0.35), np.float32)), 0.0)[:, None] ** 24
    colour = colour + gloss * spark * 130.0 * np.array(weather.sun, np.float32)
    colour = np.maximum(colour, base * glow)
    numbers = np.clip(colour, 0.0, 255.0).round().astype(int)
    return [(*row, 255) for row in numbers.tolist()]


def _project(points: Any, cosine: float, sine: float, distance: float, zoom: float) -> Any:
    points = np.asarray(points, np.float32)
    x = points[:, 0] * cosine - points[:, 2] * sine
    depth = np.maximum(distance + points[:, 0] * sine + points[:, 2] * cosine, NEAREST)
    down = -zoom * distance * (points[:, 1] - CAMERA_HEIGHT) / depth - zoom * CAMERA_HEIGHT
    return np.stack([zoom * distance * x / depth, down], axis=1)


def _shadow_corners(corners: Any, cosine: float, sine: float, distance: float, zoom: float) -> Any:
    """Where the thing's footprint lies on the ground."""
    wide = 1.02 * float(np.abs(corners[..., 0]).max())
    rear, front = 1.02 * float(corners[..., 2].min()), 1.02 * float(corners[..., 2].max())
    foot = [(-wide, 0.0, rear), (wide, 0.0, rear), (wide, 0.0, front), (-wide, 0.0, front)]
    return _project(foot, cosine, sine, distance, zoom)


def _with_shadow(image: Any, ground: Any, shadow: float, zoom: float) -> Any:
    """The picture with a soft dark patch below it."""
    dark = np.zeros(image.shape[:2], np.uint8)
    cv2.fillConvexPoly(dark, np.round(ground / FINER * 16).astype(np.int32), 255, cv2.LINE_AA, 4)
    dark = cv2.blur(dark, (max(3, int(0.11 * zoom)) | 1, max(3, int(0.035 * zoom)) | 1))
    alpha = image[..., 3].astype(np.float32)
    out = image.copy()
    out[..., 3] = np.round(alpha + dark * (shadow / 255.0) * (255.0 - alpha)).astype(np.uint8)
    return out


def _paint_plates(  # noqa: PLR0917 - called once
    canvas: Any,
    mesh: Mesh,
    text: str,
    eye: tuple[float, float, float, float],
    corner: tuple[float, float],
    weather: Weather,
) -> tuple[tuple[float, float, float, float], ...]:
    """Letter the plates that face us; their boxes relative to the sprite's origin."""
    boxes = []
    for quad in mesh.plates if text else ():
        target = _project(quad, *eye) - corner
        edge_one, edge_two = target[1] - target[0], target[3] - target[0]
        long = float(np.hypot(*edge_one))
        if long < 6.0 or edge_one[0] * edge_two[1] - edge_one[1] * edge_two[0] <= 6.0:
            continue  # it looks away, or is too small to be lettered
        picture = plate_picture(text, weather)
        rows, columns = picture.shape[:2]
        source = np.array([(0, 0), (columns, 0), (columns, rows), (0, rows)], np.float32)
        low = np.maximum(np.floor(target.min(0)).astype(int) - 1, 0)
        high = np.minimum(np.ceil(target.max(0)).astype(int) + 2, (canvas.shape[1], canvas.shape[0]))
        if (high - low).min() < 2:
            continue
        size = (int(high[0] - low[0]), int(high[1] - low[1]))
        # Shrunk first: a warp does not average, and the letters would break.
        shrink = max(1.0, columns / long / 1.2)
        small = cv2.resize(picture, None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA)
        source *= (small.shape[1] / columns, small.shape[0] / rows)
        warp = cv2.getPerspectiveTransform(source, (target - low).astype(np.float32))
        laid = cv2.warpPerspective(small, warp, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        mask = np.zeros((size[1], size[0]), np.uint8)
        cv2.fillConvexPoly(mask, np.round((target - low) * 16).astype(np.int32), 255, cv2.LINE_8, 4)
        part = canvas[low[1] : high[1], low[0] : high[0]]
        part[..., :3][mask > 0] = laid[mask > 0]
        part[..., 3][mask > 0] = 255
        about = (target + corner) / FINER
        boxes.append((float(about[:, 0].min()), float(about[:, 1].min()),
                      float(about[:, 0].max()), float(about[:, 1].max())))  # fmt: skip
    return tuple(boxes)


def plate_picture(text: str, weather: Weather) -> NDArray[np.uint8]:
    """A licence plate, upright, 320 x 128 pixels."""
    plate = np.full((128, 320, 3), (240, 242, 242), np.uint8)
    cv2.rectangle(plate, (4, 4), (315, 123), (128, 60, 30), 4, cv2.LINE_AA)
    (wide, high), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, 2.2, 6)
    zoom = min(2.2, 2.2 * 284 / wide)
    at = (round((320 - wide * zoom / 2.2) / 2), round(64 + high * zoom / 2.2 / 2))
    cv2.putText(plate, text, at, cv2.FONT_HERSHEY_DUPLEX, zoom, (70, 30, 20), 6, cv2.LINE_AA)
    light = np.minimum(1.0, np.array(weather.ambient) + 0.45 * np.array(weather.sun) + 0.12)
    lit: NDArray[np.uint8] = np.round(plate * light).astype(np.uint8)
    return lit
