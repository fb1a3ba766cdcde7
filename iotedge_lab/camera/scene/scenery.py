"""What stands beside the road: trees, bushes, lamps, signs, traffic lights and houses, placed by chance once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from iotedge_lab.camera.libraries import library
from iotedge_lab.camera.scene.noise import source
from iotedge_lab.camera.scene.sprite import CAMERA_HEIGHT, Sprite
from iotedge_lab.car.chance import Chance

if TYPE_CHECKING:
    from iotedge_lab.camera.scene.canvas import Canvas
    from iotedge_lab.camera.scene.districts import District, Layout
    from iotedge_lab.camera.scene.path import Path
    from iotedge_lab.camera.scene.view import View
    from iotedge_lab.camera.scene.weather import Weather

cv2 = library("cv2")

TREES: Final = 6
BUSHES: Final = 3
FACADES: Final = (
    (150, 172, 190), (120, 136, 168), (176, 182, 184), (104, 118, 146), (140, 150, 150), (96, 104, 112),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Item:
    """One thing beside the road; `left`: metres to the left of the car's own lane."""

    metre: float
    left: float
    kind: str
    """tree, bush, lamp, house, or a sign's name"""
    variant: int = 0
    size: float = 1.0
    length: float = 0.0


def make_items(path: Path, layout: Layout, seed: int) -> list[Item]:
    """Everything beside the road, in order along it."""
    items: list[Item] = []
    for number, district in enumerate(layout.districts):
        chance = Chance(seed, 1000 + number)
        if district.kind == "city":
            _houses(items, path, layout, district, chance)
        _plants(items, path, layout, district, chance)
        if district.kind != "country":
            _lamps(items, layout, district)
        if chance.chance(0.7) and not layout.junction(district.begin + 30):
            place = -3.4 if district.kind == "country" else -4.9
            items.append(Item(district.begin + 30, place, "limit", chance.pick([(25, 1), (35, 2), (45, 2)])))
    for crossing in layout.crossings:
        kind = "signal" if crossing.light else "stop"
        items.append(Item(crossing.line + (1.5 if crossing.light else 0.0), -4.9, kind))
        if crossing.light:
            items.append(Item(crossing.line + 20.0, 8.6, kind))
    return sorted(items, key=lambda each: each.metre)


def _straight(path: Path, metre: float, left: float, margin: float) -> bool:
    """Whether a thing there stands clear of the road where that bends."""
    low, high = (min(max(0, int(metre + each)), len(path.x) - 1) for each in (-margin, margin))
    bends = path.curvature[low : high + 1]
    inner = bends * left
    return bool(np.abs(bends).max() < 1.0 / 45.0) or (bool(inner.max() < 0.25) and margin < 12)


def _houses(items: list[Item], path: Path, layout: Layout, district: District, chance: Chance) -> None:
    for side, set_back in ((-1, -8.4), (1, 12.0)):
        metre = district.begin
        while metre < district.end - 8.0:
            length = chance.uniform(9.0, 17.0)
            middle = metre + length / 2
            built = chance.chance(0.78)
            tall = chance.uniform(5.5, 16.0)
            variant = int(chance.uniform(0, 600))
            clear = not layout.junction(middle, 12.0, 8.0) and _straight(path, middle, set_back, 30.0)
            if built and clear and middle + length / 2 < district.end:
                items.append(
                    Item(metre, set_back + side * chance.uniform(0.0, 1.5), "house", variant, tall, length)
                )
            metre += length + (0.0 if chance.chance(0.6) else chance.uniform(2.0, 8.0))


def _plants(items: list[Item], path: Path, layout: Layout, district: District, chance: Chance) -> None:
    gap = {"city": 26.0, "suburb": 9.0, "country": 8.0}[district.kind]
    for side in (-1, 1):
        metre = district.begin + chance.uniform(0.0, gap)
        while metre < district.end:
            if district.kind == "city":
                left = -6.6 if side < 0 else 10.2
            elif district.kind == "suburb":
                left = side * chance.uniform(9.5, 17.0) + (1.8 if side > 0 else 0.0)
            else:
                left = side * (6.5 + chance.gamma(2, 8.0)) + (2.0 if side > 0 else 0.0)
            bush = district.kind != "city" and chance.chance(0.35)
            kind, variants = ("bush", BUSHES) if bush else ("tree", TREES)
            size = chance.uniform(0.7, 1.25)
            variant = int(chance.uniform(0, variants))
            if not layout.junction(metre) and _straight(path, metre, left, 10.0):
                items.append(Item(metre, left, kind, variant, size))
            metre += gap * chance.uniform(0.5, 1.6)


def _lamps(items: list[Item], layout: Layout, district: District) -> None:
    metre, side = math.ceil(district.begin / 34.0) * 34.0, 1
    while metre < district.end:
        if not layout.junction(metre, 2.0, 2.0):
            items.append(Item(metre, -4.75 if side < 0 else 8.35, "lamp", side))
        metre += 34.0
        side = -side


class Scenery:
    """Draws the items; each picture is painted once."""

    def __init__(self, seed: int, weather: Weather) -> None:
        self._weather = weather
        self._light = np.array(weather.ambient) + 0.55 * np.array(weather.sun)
        self._pictures: dict[tuple[str, int], Sprite] = {}
        self._seed = seed

    def draw(
        self, canvas: Canvas, view: View, item: Item, owner: int
    ) -> tuple[float, float, float, float] | None:
        """The item onto the canvas; for a stop sign, its box in the frame."""
        if item.kind == "house":
            self._house(canvas, view, item)
            return None
        spot = view.place(item.metre, item.left)
        if spot is None or spot[1] < 1.2:
            return None
        x, z, _ = spot
        if abs(x) > 0.8 * z + 7.0:
            return None
        if item.kind == "lamp":
            self._lamp(canvas, x, z, -item.variant)
            return None
        sprite = self._picture(item.kind, item.variant)
        canvas.lay(sprite, x, z, owner=owner, size=item.size)
        if item.kind == "signal" and self._weather.lamps:
            lens = canvas.lens
            canvas.glow(lens.across(x, z), lens.down(3.05, z), 0.7 * lens.focal / z, (60, 60, 230))
        if item.kind != "stop":
            return None
        zoom = canvas.lens.focal / z / sprite.scale
        column, row = canvas.lens.across(x, z), canvas.lens.down(0.0, z)
        left, top, right, bottom = sprite.plates[0]
        return column + left * zoom, row + top * zoom, column + right * zoom, row + bottom * zoom

    def _picture(self, kind: str, variant: int) -> Sprite:
        key = (kind, variant)
        if key not in self._pictures:
            if kind in ("tree", "bush"):
                self._pictures[key] = self._plant(kind, variant)
            else:
                self._pictures[key] = self._sign(kind, variant)
        return self._pictures[key]

    def _plant(self, kind: str, variant: int) -> Sprite:
        """Leaves as blobs, dark below and behind, light above and before."""
        chance = source(self._seed, 80, 0 if kind == "tree" else 1, variant)
        tree = kind == "tree"
        scale = 44.0
        wide, high = (5.2, 7.0) if tree else (2.6, 1.6)
        columns, rows = round(wide * scale), round(high * scale)
        image = np.zeros((rows, columns, 4), np.uint8)
        green = np.array(
            [(46, 104, 76), (52, 92, 58), (40, 112, 92), (62, 118, 100), (38, 84, 62), (44, 100, 108)]
        )
        base = green[variant % len(green)] * (1.0 if tree else 0.92)
        if tree:
            trunk = np.array((52, 70, 88)) * self._light
            points = [(columns * 0.47, rows), (columns * 0.485, rows * 0.5), (columns * 0.52, rows * 0.5),
                      (columns * 0.54, rows)]  # fmt: skip
            cv2.fillConvexPoly(image, np.array(points, np.int32), (*trunk.tolist(), 255), cv2.LINE_AA)
        crown = (0.5, 0.36, 0.38, 0.27) if tree else (0.5, 0.58, 0.36, 0.30)
        count = 340 if tree else 150
        for each in range(count):
            depth = each / count
            angle, far = chance.uniform(0, 2 * math.pi), math.sqrt(chance.uniform(0, 1))
            x = columns * (crown[0] + crown[2] * far * math.cos(angle) * (1.0 - 0.25 * depth))
            y = rows * (crown[1] + crown[3] * far * math.sin(angle)) - depth * 0.05 * rows
            bright = (
                0.42
                + 0.5 * depth
                + 0.35 * (crown[1] * rows - y) / (crown[3] * rows)
                - 0.12 * (x / columns - 0.5)
            )
            tone = base * max(0.25, bright) * float(chance.uniform(0.85, 1.15)) * self._light
            size = int(scale * chance.uniform(0.14, 0.38) * (1.0 - 0.45 * depth))
            axes = (max(2, size), max(2, int(size * chance.uniform(0.55, 0.95))))
            colour = (*np.clip(tone, 0, 255).tolist(), 255)
            cv2.ellipse(
                image, (int(x), int(y)), axes, float(chance.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA
            )
        image = _premultiplied(image)
        return Sprite(image, (columns / 2, rows - 1.0), scale, (0, 0, 0, 0), 1.0)

    def _sign(self, kind: str, variant: int) -> Sprite:
        scale = 110.0
        high = 3.5 if kind == "signal" else 2.75
        columns, rows = round(1.0 * scale), round(high * scale)
        image = np.zeros((rows, columns, 4), np.uint8)
        light = self._light
        middle = columns // 2

        def tone(blue: float, green: float, red: float) -> tuple[float, ...]:
            return (*np.clip(np.array((blue, green, red)) * light, 0, 255).tolist(), 255)

        cv2.rectangle(
            image, (middle - 4, round(0.3 * scale)), (middle + 4, rows), tone(120, 124, 124), -1, cv2.LINE_AA
        )
        box = (0.0, 0.0, 0.0, 0.0)
        if kind == "stop":
            centre = (middle, round(0.42 * scale))
            for radius, colour in ((0.405, tone(236, 236, 236)), (0.375, tone(34, 30, 190))):
                turns = [math.pi / 8 + math.pi / 4 * each for each in range(8)]
                points = [(centre[0] + radius * scale * math.cos(a), centre[1] + radius * scale * math.sin(a))
                          for a in turns]  # fmt: skip
                cv2.fillConvexPoly(image, np.array(points).round().astype(np.int32), colour, cv2.LINE_AA)
            _centred(image, "STOP", centre, 1.0, tone(240, 240, 240), thick=3)
            reach = 0.405 * math.cos(math.pi / 8) * scale
            up = rows - 1.0 - centre[1]
            box = (-reach, -up - reach, reach, -up + reach)
        elif kind == "limit":
            cv2.rectangle(image, (middle - 33, 12), (middle + 33, 96), tone(240, 242, 242), -1, cv2.LINE_AA)
            cv2.rectangle(image, (middle - 29, 16), (middle + 29, 92), tone(40, 40, 40), 2, cv2.LINE_AA)
            _centred(image, "LIMIT", (middle, 32), 0.45, tone(30, 30, 30), thick=1)
            _centred(image, str(variant), (middle, 66), 1.1, tone(30, 30, 30), thick=3)
        else:
            cv2.rectangle(image, (middle - 17, 20), (middle + 17, 124), tone(40, 44, 44), -1, cv2.LINE_AA)
            for row, colour in ((38, (60, 60, 255, 255)), (72, tone(30, 70, 80)), (106, tone(40, 70, 40))):
                cv2.circle(image, (middle, row), 12, colour, -1, cv2.LINE_AA)
        image = _premultiplied(image)
        return Sprite(image, (columns / 2, rows - 1.0), scale, (0, 0, 0, 0), 1.0, (box,))

    def _lamp(self, canvas: Canvas, x: float, z: float, side: int) -> None:
        lens = canvas.lens
        zoom = lens.focal / z
        if zoom < 3.0:
            return
        grey = canvas.hazy(tuple((np.array((96, 100, 102)) * self._light).tolist()), z)
        foot, top = (lens.across(x, z), lens.down(0.0, z)), (lens.across(x, z), lens.down(7.4, z))
        arm = (lens.across(x - side * 1.7, z), lens.down(7.7, z))
        thick = max(1, round(0.14 * zoom))
        if max(abs(foot[0]), abs(arm[0])) > 4 * lens.width or foot[1] > 8 * lens.height:
            return
        for one, two, wide in ((foot, top, thick), (top, arm, max(1, thick * 2 // 3))):
            cv2.line(canvas.frame, _fixed(one), _fixed(two), grey, wide, cv2.LINE_AA, 4)
        if self._weather.lamps:
            canvas.glow(arm[0], arm[1], max(3.0, 1.5 * zoom), (150, 214, 255))

    def _house(self, canvas: Canvas, view: View, item: Item) -> None:
        """A front along the road, and the wall that is seen from here; windows in rows."""
        near, far = view.place(item.metre, item.left), view.place(item.metre + item.length, item.left)
        if near is None or far is None or far[1] < 4.0:
            return
        ends = [np.array(near[:2]), np.array(far[:2])]
        if ends[0][1] < 2.5:
            share = (2.5 - ends[0][1]) / (ends[1][1] - ends[0][1])
            if share >= 1.0:
                return
            start = share
            ends[0] = ends[0] + share * (ends[1] - ends[0])
        else:
            start = 0.0
        if all(abs(each[0]) > 0.72 * each[1] + 1.0 for each in ends):
            return
        colour = np.array(FACADES[item.variant % len(FACADES)], float)
        shade = 0.92 if item.left < 0 else 0.74
        z = float(ends[0][1] + ends[1][1]) / 2
        if start == 0.0:  # the wall that faces us
            out = ends[1] - ends[0]
            out = (
                np.array((out[1], -out[0])) / (np.linalg.norm(out) or 1.0) * (9.0 if item.left < 0 else -9.0)
            )
            wall = [ends[0], ends[0] + out]
            if min(each[1] for each in wall) > 2.0:
                self._wall(canvas, wall, item, colour * 0.84, start=0.0, z=z)
        self._wall(canvas, ends, item, colour * shade, start=start, z=z)

    def _wall(
        self, canvas: Canvas, ends: list[Any], item: Item, colour: Any, *, start: float, z: float
    ) -> None:
        lens, frame = canvas.lens, canvas.frame
        tone = canvas.hazy(tuple(np.clip(colour * self._light, 0, 255).tolist()), z)

        def corners(shares: Any, heights: Any) -> Any:
            """Points of the wall in the frame, in sixteenths of a pixel."""
            x = ends[0][0] + (ends[1][0] - ends[0][0]) * shares
            depth = ends[0][1] + (ends[1][1] - ends[0][1]) * shares
            across = lens.width / 2 + lens.focal * x / depth
            down = lens.horizon + lens.focal * (CAMERA_HEIGHT - heights) / depth
            points = np.stack(np.broadcast_arrays(across, down), axis=-1)
            return np.round(np.clip(points, -8000.0, 8000.0) * 16.0).astype(np.int32)

        high = item.size
        outline = corners(np.array((0.0, 0.0, 1.0, 1.0)), np.array((0.0, high, high, 0.0)))
        cv2.fillConvexPoly(frame, outline, tone, cv2.LINE_AA, 4)
        edge = corners(
            np.array((0.0, 0.0, 1.0, 1.0)), np.array((high - 0.2, high + 0.2, high + 0.2, high - 0.2))
        )
        roof = canvas.hazy(tuple((np.array((70, 74, 78)) * self._light).tolist()), z)
        cv2.fillConvexPoly(frame, edge, roof, cv2.LINE_AA, 4)
        if z > 110.0:
            return
        floors, bays = max(1, int(high / 3.1)), max(2, int(item.length / 2.6))
        floor, bay = np.arange(floors)[:, None], np.arange(bays)[None, :]
        # Shop windows at the bottom, smaller ones above.
        inset, low = np.where(floor == 0, 0.14, 0.24), 3.1 * floor + np.where(floor == 0, 0.5, 1.0)
        begin = ((bay + inset) / bays - start) / (1.0 - start)
        end = ((bay + 1.0 - inset) / bays - start) / (1.0 - start)
        shares = np.stack([begin, begin, end, end], axis=-1)
        heights = np.stack([low, low + 1.7, low + 1.7, low], axis=-1)
        windows = corners(shares, heights)
        glowing = self._weather.lamps & ((item.variant * 31 + floor * 17 + bay * 7) % 10 < 4)
        seen = begin >= 0.0
        for chosen, shine in (
            (seen & ~glowing, np.array((104, 92, 80)) * self._light),
            (seen & glowing, np.array((110, 196, 246))),
        ):
            if chosen.any():
                tone = canvas.hazy(tuple(np.clip(shine, 0, 255).tolist()), z)
                cv2.fillPoly(frame, list(windows[chosen]), tone, cv2.LINE_AA, 4)


def _fixed(point: tuple[float, float]) -> tuple[int, int]:
    """Sixteenths of a pixel, kept in the range that OpenCV draws."""
    return (
        round(min(max(float(point[0]), -8000.0), 8000.0) * 16),
        round(min(max(float(point[1]), -8000.0), 8000.0) * 16),
    )


def _premultiplied(image: Any) -> Any:
    alpha = cv2.blur(image[..., 3], (3, 3))
    alpha = np.minimum(alpha, image[..., 3])
    out = image.copy()
    out[..., 3] = alpha
    out[..., :3] = (image[..., :3].astype(np.uint16) * alpha[..., None] // 255).astype(np.uint8)
    return out


def _centred(image: Any, text: str, centre: tuple[int, int], zoom: float, colour: Any, *, thick: int) -> None:
    (wide, high), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, zoom, thick)
    at = (round(centre[0] - wide / 2), round(centre[1] + high / 2))
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_DUPLEX, zoom, colour, thick, cv2.LINE_AA)
