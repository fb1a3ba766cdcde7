"""The ground: road, markings, pavements and grass, painted as tiles and laid out in perspective along the path.

Each district has a few tiles of 16 m, painted once from above. Four textures of falling fineness hold the next
stretch of tiles; each row of the frame looks its pixels up in the one that fits its distance, so that lines stay
sharp near the car and do not flicker far off.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from iotedge_lab.camera.libraries import library
from iotedge_lab.camera.scene.noise import clouds, grain, source
from iotedge_lab.camera.scene.sprite import CAMERA_HEIGHT

if TYPE_CHECKING:
    from iotedge_lab.camera.scene.districts import DistrictKind, Layout
    from iotedge_lab.camera.scene.view import Lens, View
    from iotedge_lab.camera.scene.weather import Weather

cv2 = library("cv2")

TILE: Final = 16  # m
BACK: Final = 20.0  # m behind the camera that a bend may bring into sight
SIDE: Final = 14.0  # m to each side that a tile shows; beyond, its rim is mirrored
RIM: Final = 2.5  # m
FINE: Final = 40  # pixels a metre of a tile as it is painted
VARIANTS: Final = 3
LINE: Final = (214, 222, 224)
YELLOW: Final = (70, 178, 222)


@dataclass(frozen=True, slots=True)
class Level:
    """A texture: up to which distance it serves, pixels a metre across and along, and how many tiles it holds."""

    until: float
    across: float
    along: float
    tiles: int


LEVELS: Final = (Level(10.5, 40, 40, 3), Level(26.0, 20, 8, 4), Level(62.0, 12, 2, 7), Level(1e9, 6, 0.5, 18))
# Rows below the horizon at which the road's bend is worked out; between them it is drawn as straight lines.
_ROWS: Final = (
    1,
    2,
    3,
    4,
    5,
    7,
    9,
    12,
    16,
    21,
    28,
    37,
    50,
    67,
    90,
    120,
    160,
    210,
    300,
    420,
    600,
    900,
    1300,
    2000,
)
_COLUMNS: Final = 32


class Ground:
    """Draws the lower part of frames of one drive."""

    def __init__(self, layout: Layout, weather: Weather, lens: Lens) -> None:
        self._layout, self._weather, self._lens = layout, weather, lens
        self._tiles: OrderedDict[tuple[Any, ...], list[Any]] = OrderedDict()
        self._rings = [
            np.zeros((2 * round(each.tiles * TILE * each.along), round(2 * SIDE * each.across), 3), np.uint8)
            for each in LEVELS
        ]
        self._laid: list[dict[int, int]] = [{} for _ in LEVELS]
        self._prepare()

    def _prepare(self) -> None:
        """All that depends on the lens alone."""
        lens = self._lens
        count = lens.height - lens.horizon
        below = np.arange(count, dtype=np.float32) + 0.5
        self._z = lens.focal * CAMERA_HEIGHT / below
        aside = (np.arange(lens.width, dtype=np.float32) + 0.5 - lens.width / 2) / lens.focal
        self._x = self._z[:, None] * aside[None, :]
        rows = [each for each in _ROWS if each < count]
        rows.append(max(count, rows[-1] + 1))
        # The grid's columns lie where OpenCV's resize has the centres of its pixels, one beyond each edge.
        self._cell = -(-lens.width // _COLUMNS)
        at_columns = (np.arange(_COLUMNS + 2, dtype=np.float32) - 0.5) * self._cell
        at_rows = np.array(rows, np.float32)
        self._grid_z = np.repeat(lens.focal * CAMERA_HEIGHT / at_rows, len(at_columns))
        self._grid_x = (np.tile(at_columns - lens.width / 2, len(rows)) / lens.focal) * self._grid_z
        self._grid_shape = (len(rows), len(at_columns))
        self._by_rows = _weights(below, at_rows)
        edges = [0]
        edges += [int(np.searchsorted(-self._z, -each.until)) for each in reversed(LEVELS[:-1])]
        edges.append(count)
        self._bands = list(zip(reversed(range(len(LEVELS))), edges[:-1], edges[1:], strict=True))
        veil = 1.0 - np.exp(-self._weather.haze * self._z)
        veil = np.clip(veil[:, None, None], 0.0, 1.0) * np.ones((1, lens.width, 1), np.float32)
        shine = 1.0 + _headlights(self._x, self._z)[..., None] if self._weather.lamps else 1.0
        self._keep = np.clip((1.0 - veil) * shine * 128.0, 0, 255).round().astype(np.uint8).repeat(3, axis=2)
        self._add = (
            np.clip(veil * np.array(self._weather.horizon, np.float32), 0, 255).round().astype(np.uint8)
        )

        fade = 1.0 - 0.34 * np.clip(1.0 - np.arange(count, dtype=np.float32) / (0.8 * lens.horizon), 0.0, 1.0)
        self._dull = np.ones((count, lens.width, 3), np.float32) * fade[:, None, None] * 255.0
        self._dull = self._dull.round().astype(np.uint8)

    def draw(self, frame: Any, view: View) -> None:
        """Into the frame's rows from the horizon on; where it is wet, the sky above it must be there already."""
        along, left = view.road_coordinates(self._grid_x, self._grid_z)
        # What differs from a straight road is smooth, and is drawn out between the grid's points.
        grid = np.stack([along - view.metre - self._grid_z, left + self._grid_x], axis=-1).astype(np.float32)
        by_rows = self._by_rows @ grid.reshape(self._grid_shape[0], -1)
        by_rows = by_rows.reshape(-1, self._grid_shape[1], 2)
        full = cv2.resize(
            by_rows, (self._grid_shape[1] * self._cell, len(by_rows)), interpolation=cv2.INTER_LINEAR
        )
        metres, aside = cv2.split(full[:, self._cell : self._cell + self._lens.width])
        metres += self._z[:, None]
        aside -= self._x
        across = _folded(aside)
        target = frame[self._lens.horizon :]
        for number, begin, end in self._bands:
            if end <= begin:
                continue
            level = LEVELS[number]
            span = level.tiles * TILE
            band = metres[begin:end]
            low = max(float(band.min()), -BACK)
            most = low + (level.tiles - 1) * TILE - 1.0
            np.clip(band, low, most, out=band)
            self._lay(number, view.metre + low, view.metre + min(float(band.max()), most))
            start = view.metre % span
            place = band * np.float32(level.along) + np.float32(start * level.along - 0.5)
            columns = across[begin:end] * np.float32(level.across) - np.float32(0.5)
            cv2.remap(
                self._rings[number], columns, place, cv2.INTER_LINEAR, dst=target[begin:end],
                borderMode=cv2.BORDER_WRAP,
            )  # fmt: skip
        cv2.multiply(target, self._keep, dst=target, scale=1.0 / 128.0)
        cv2.add(target, self._add, dst=target)
        if self._weather.wet:
            self._mirror(frame, target)

    def _mirror(self, frame: Any, target: Any) -> None:
        """A wet road gives the sky back, most of it where it is looked at flatly."""
        rows = min(len(target), self._lens.horizon)
        sky = cv2.blur(frame[self._lens.horizon - rows : self._lens.horizon][::-1], (5, 25))
        cv2.multiply(target[:rows], self._dull[:rows], dst=target[:rows], scale=1.0 / 255.0)
        cv2.add(
            target[:rows],
            cv2.multiply(sky, cv2.bitwise_not(self._dull[:rows]), scale=0.92 / 255.0),
            dst=target[:rows],
        )

    def _lay(self, number: int, begin: float, end: float) -> None:
        """See to it that the texture of that level holds the tiles from `begin` to `end`."""
        level, laid = LEVELS[number], self._laid[number]
        first = math.floor((begin - 0.5 / level.along) / TILE)
        last = min(math.floor((end + 0.5 / level.along) / TILE), first + level.tiles - 1)
        rows = round(TILE * level.along)
        for tile in range(first, last + 1):
            slot = tile % level.tiles
            if laid.get(slot) != tile:
                painted = self._tile(tile)[number]
                for place in (slot, slot + level.tiles):  # twice, so that nothing wraps in a row
                    self._rings[number][place * rows : (place + 1) * rows] = painted
                laid[slot] = tile

    def _tile(self, number: int) -> list[Any]:
        """A tile in all levels."""
        begin = float(number * TILE)
        district = self._layout.at(begin + TILE / 2)
        marks = tuple(
            round(each.line - begin, 2)
            for each in self._layout.crossings
            if -26.0 < each.line - begin < TILE + 2.0
        )
        key = (district.kind, (number * 7919) % VARIANTS, marks)
        found = self._tiles.get(key)
        if found is None:
            painted = _paint(district.kind, key[1], marks, self._weather)
            found = [
                painted if level.across == FINE and level.along == FINE
                else cv2.resize(painted, (round(2 * SIDE * level.across), round(TILE * level.along)),
                                interpolation=cv2.INTER_AREA)
                for level in LEVELS
            ]  # fmt: skip
            self._tiles[key] = found
            if len(self._tiles) > 24:
                self._tiles.popitem(last=False)
        else:
            self._tiles.move_to_end(key)
        return found


def _folded(aside: Any) -> Any:
    """Metres from a tile's left edge for metres to the left of the lane; beyond its rim, back and forth in it."""
    over = np.abs(aside)
    within = np.minimum(over, np.float32(SIDE - RIM))
    over -= within
    turns = over * np.float32(0.5 / RIM)
    np.floor(turns, out=turns)
    over -= turns * np.float32(2 * RIM)
    over -= np.float32(RIM)
    np.abs(over, out=over)
    within += np.float32(RIM - 0.05)
    within -= over
    np.copysign(within, aside, out=within)
    return np.subtract(np.float32(SIDE), within, out=within)


def _weights(at: Any, knots: Any) -> Any:
    """The matrix that draws straight lines between knots."""
    right = np.clip(np.searchsorted(knots, at), 1, len(knots) - 1)
    share = np.clip((at - knots[right - 1]) / (knots[right] - knots[right - 1]), 0.0, 1.0)
    matrix = np.zeros((len(at), len(knots)), np.float32)
    rows = np.arange(len(at))
    matrix[rows, right - 1] = 1.0 - share
    matrix[rows, right] += share
    return matrix


def _headlights(x: Any, z: Any) -> Any:
    """How much brighter the car's own lamps make the road."""
    spread = np.exp(-((x / (1.2 + 0.16 * z[:, None])) ** 2))
    reach = np.exp(-(((z - 11.0) / 11.0) ** 2))[:, None]
    return 0.85 * spread * reach


def _paint(kind: DistrictKind, variant: int, marks: tuple[float, ...], weather: Weather) -> Any:
    """One tile from above: the first row is its nearest metre, the first column the far left."""
    drawn = _surface(kind, variant).copy()
    _markings(drawn, kind, marks)
    for at in marks:
        _junction(drawn, at)
    if not marks and variant == 1:
        centre = (round((SIDE - 0.4) * FINE), len(drawn) // 3)
        cv2.circle(drawn, centre, round(0.33 * FINE), (64, 62, 60), -1, cv2.LINE_AA)
        cv2.circle(drawn, centre, round(0.33 * FINE), (50, 50, 50), 2, cv2.LINE_AA)
    light = np.array(weather.ambient) + 0.72 * np.array(weather.sun)
    if weather.wet:
        light = light * 0.72
    return cv2.multiply(drawn, (*light.tolist(), 0.0))


@lru_cache(maxsize=9)
def _surface(kind: DistrictKind, variant: int) -> Any:
    """A tile without its markings; every scene has the same asphalt and the same grass."""
    chance = source(0, 70, {"city": 0, "suburb": 1, "country": 2}[kind], variant)
    rows, columns = TILE * FINE, round(2 * SIDE * FINE)
    tile = np.zeros((rows, columns, 3), np.float32)
    edges = {"city": (7.8, -4.2), "suburb": (7.8, -4.2), "country": (6.0, -2.5)}[kind]

    def strip(
        left: float, right: float, colour: tuple[float, float, float], rough: float, coarse: int
    ) -> None:
        a, b = (max(0, min(columns, round((SIDE - each) * FINE))) for each in (left, right))
        if b <= a:
            return
        texture = grain(chance, rows, b - a, 2) * rough + clouds(chance, rows, b - a, coarse) * rough * 1.5
        tile[:, a:b] = np.array(colour, np.float32) + texture[..., None]

    grass = {"city": (126, 132, 134), "suburb": (66, 116, 92), "country": (74, 128, 112)}[kind]
    strip(SIDE, -SIDE, grass, 7.0 if kind == "city" else 17.0, 60)
    strip(edges[0], edges[1], (92, 90, 88), 6.0, 120)
    if kind == "country":
        strip(edges[0] + 0.9, edges[0], (104, 128, 140), 14.0, 16)
        strip(edges[1], edges[1] - 0.9, (104, 128, 140), 14.0, 16)
    else:
        for near, far in ((edges[0], edges[0] + 2.8), (edges[1] - 2.8, edges[1])):
            strip(max(near, far), min(near, far), (158, 164, 166), 5.0, 80)
        strip(edges[0] + 0.22, edges[0], (184, 188, 190), 4.0, 30)
        strip(edges[1], edges[1] - 0.22, (184, 188, 190), 4.0, 30)
    _tracks(tile, chance)
    drawn = np.clip(tile, 0, 255).astype(np.uint8)
    if kind != "country":
        for metre in range(0, TILE, 2):  # joints of the pavement's slabs
            for near, far in ((edges[0], edges[0] + 2.8), (edges[1] - 2.8, edges[1])):
                _bar(drawn, metre, metre + 0.05, near, far, (132, 138, 140))
    return drawn


def _tracks(tile: Any, chance: Any) -> None:
    """Where wheels have polished the lanes, and a crack or two."""
    columns = np.arange(tile.shape[1], dtype=np.float32)
    left = SIDE - columns / FINE
    for middle in (0.0, 3.6):
        for wheel in (-0.75, 0.75):
            tile -= (7.0 * np.exp(-(((left - middle - wheel) / 0.28) ** 2)))[None, :, None]
    for _ in range(2):
        start = np.array([chance.uniform(SIDE - 7, SIDE + 3), chance.uniform(2, TILE - 2)]) * FINE
        steps = np.cumsum(chance.integers(-14, 15, (12, 2)), axis=0)
        points = (start + steps).astype(np.int32)
        cv2.polylines(tile, [points], False, (70, 68, 66), 1, cv2.LINE_AA)


def _bar(  # noqa: PLR0917 - a rectangle has four sides
    drawn: Any, begin: float, end: float, left: float, right: float, colour: tuple[int, int, int]
) -> None:
    """A painted rectangle: metres from the tile's begin, metres to the left of the lane's middle."""
    high, low = max(left, right), min(left, right)
    corners = [((SIDE - high) * FINE, begin * FINE), ((SIDE - low) * FINE, begin * FINE),
               ((SIDE - low) * FINE, end * FINE), ((SIDE - high) * FINE, end * FINE)]  # fmt: skip
    cv2.fillConvexPoly(drawn, (np.array(corners) * 8).round().astype(np.int32), colour, cv2.LINE_AA, 3)


def _markings(drawn: Any, kind: DistrictKind, marks: tuple[float, ...]) -> None:
    def along(left: float, wide: float, colour: tuple[int, int, int], dash: float = 0.0) -> None:
        step = 0.25
        metre = 0.0
        while metre < TILE:
            inside = any(at - 0.2 < metre < at + 22.0 for at in marks)
            gap = dash and (metre % 8.0) >= dash
            if not inside and not gap:
                _bar(drawn, metre, metre + step, left + wide / 2, left - wide / 2, colour)
            metre += step

    along(1.92, 0.12, YELLOW)
    along(1.68, 0.12, YELLOW)
    if kind == "country":
        along(-1.9, 0.13, LINE)
        along(5.45, 0.13, LINE)
    else:
        along(-1.9, 0.1, LINE, 3.0)
        along(5.45, 0.1, LINE, 3.0)


def _junction(drawn: Any, at: float) -> None:
    """Stop line, zebra crossings and the crossing road; `at`: where the line is."""
    _bar(drawn, at + 4.6, at + 17.6, SIDE, -SIDE, (92, 90, 88))
    _bar(drawn, at, at + 0.45, 1.6, -1.8, LINE)
    for begin in (at + 1.1, at + 18.4):
        stripe = -4.0
        while stripe < 7.6:
            _bar(drawn, begin, begin + 2.9, stripe, stripe + 0.5, LINE)
            stripe += 1.0
    for place in (at + 10.9, at + 11.15):
        _bar(drawn, place, place + 0.12, SIDE, 8.5, YELLOW)
        _bar(drawn, place, place + 0.12, -5.0, -SIDE, YELLOW)
