"""The road as a dash camera sees it, rendered on the CPU from a drive's own telemetry rows.

The speed scrolls the road and the steering bends it, so that picture and CAN agree; what else is in the picture
follows from a seed: districts, houses, trees, parked and moving cars, people, cyclists, stop signs. Each frame
comes with its ground truth. Stands for the dash camera of the series' third part, whose 30 frames have no licence.
Any frame can be drawn by itself, and the same arguments give the same pixels. Leaves out: hills, night, traffic
that reacts.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import astuple, dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from iotedge_lab.camera.boxes import Box
from iotedge_lab.camera.libraries import library
from iotedge_lab.camera.scene.canvas import SCENERY, Canvas
from iotedge_lab.camera.scene.districts import make_layout
from iotedge_lab.camera.scene.ground import Ground
from iotedge_lab.camera.scene.noise import source
from iotedge_lab.camera.scene.path import make_path
from iotedge_lab.camera.scene.people import PHASES, cyclist, walker
from iotedge_lab.camera.scene.scenery import Scenery, make_items
from iotedge_lab.camera.scene.sky import Sky
from iotedge_lab.camera.scene.sprite import paint
from iotedge_lab.camera.scene.traffic import make_traffic
from iotedge_lab.camera.scene.truth import LEAST_SHARE, LEAST_SIZE, Truth
from iotedge_lab.camera.scene.vehicles import VEHICLE_BODIES, vehicle
from iotedge_lab.camera.scene.view import Lens, View
from iotedge_lab.camera.scene.weather import WEATHERS
from iotedge_lab.car.units import MPS_PER_MPH
from iotedge_lab.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from iotedge_lab.camera.scene.scenery import Item
    from iotedge_lab.camera.scene.sprite import Sprite
    from iotedge_lab.camera.scene.traffic import Actor, Leader, Look, Stance
    from iotedge_lab.camera.scene.truth import TruthLabel
    from iotedge_lab.camera.scene.weather import WeatherName
    from iotedge_lab.car.rows import CarRow

cv2 = library("cv2")

LEAST_SIDE, MOST_SIDE = 64, 4096
STEP: Final = 1.16  # between two distances for which a thing is painted anew
SPRITES: Final = 48_000_000  # bytes of pictures that are kept
FURNITURE: Final = 160.0  # m within which trees and houses are drawn
SOFT: Final = 0.8  # pixels at 360 rows: no lens is sharper
CONTRAST: Final = 1.12  # as cameras add it
SHADOW: Final = 0.88  # how dark it is below a car
NEAREST: Final = 2.6  # m: what is nearer is beside us, or under the bonnet
MARGIN: Final = 0.72  # of the distance: half the frame's width, and a little more


_TONE: Final = np.clip((np.arange(256) - 118.0) * CONTRAST + 118.0, 0, 255).round().astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Picture:
    """A rendered frame: `image` in OpenCV's order BGR, its time in the drive, and what is in it, near things last."""

    image: NDArray[np.uint8]
    seconds: float
    truth: tuple[Truth, ...]


class Scene:
    """A drive, seen through the windscreen.

    rows: a recording, as `iotedge_lab.car.drives.rows` gives it; empty: the share of the road on which nobody is
    about; overlay: time and speed in the corner, as dash cameras write them. Raises DataError for a drive that
    cannot be followed, UsageError for an unknown weather or a size that makes no sense.
    """

    def __init__(
        self,
        rows: Sequence[CarRow],
        *,
        seed: int = 1,
        weather: WeatherName = "daylight",
        width: int = 640,
        height: int = 360,
        empty: float = 0.25,
        overlay: bool = True,
    ) -> None:
        if weather not in WEATHERS:
            raise UsageError(f"There is no weather {weather!r}; take one of {', '.join(WEATHERS)}.")
        if not (LEAST_SIDE <= width <= MOST_SIDE and LEAST_SIDE <= height <= MOST_SIDE):
            raise UsageError(
                f"A frame has {LEAST_SIDE} to {MOST_SIDE} pixels a side, not {width} x {height}."
            )
        if not 0.0 <= empty <= 1.0:
            raise UsageError(f"The share of empty road lies between 0 and 1, not at {empty}.")
        self.path = make_path(rows)
        self.weather = WEATHERS[weather]
        self.lens = Lens.of(width, height)
        self.layout = make_layout(self.path, seed, empty)
        self._seed = seed
        self._rows = rows
        self._overlay = overlay
        self._sky = Sky(seed, self.weather, self.lens.focal, self.lens.horizon, width)
        self._ground = Ground(self.layout, self.weather, self.lens)
        self._scenery = Scenery(seed, self.weather)
        self._items = make_items(self.path, self.layout, seed)
        self._item_metres = np.array([each.metre for each in self._items])
        self._traffic = make_traffic(self.path, self.layout, seed)
        self._sprites: OrderedDict[tuple[Any, ...], Sprite] = OrderedDict()
        self._kept = 0
        self._bonnet = _bonnet(self.lens, self.weather.wet)
        self._rain = _rain(seed, self.lens) if self.weather.wet else []

    @property
    def seconds(self) -> float:
        """How long the drive takes."""
        return self.path.seconds

    def __repr__(self) -> str:
        size = f"{self.lens.width}x{self.lens.height}"
        return f"Scene({self.weather.name}, {size}, {self.seconds:.1f} s, seed {self._seed})"

    def frames(self, fps: float, begin: float = 0.0, seconds: float | None = None) -> Iterator[Picture]:
        """A frame each 1/fps seconds, from `begin` on, for `seconds` or to the drive's end."""
        if not 0.0 < fps <= 240.0:
            raise UsageError(f"A video has from above 0 to 240 frames a second, not {fps}.")
        end = self.seconds if seconds is None else min(self.seconds, begin + seconds - 0.5 / fps)
        for number in count():
            time = begin + number / fps
            if time > end:
                return
            yield self.frame(time)

    def frame(self, seconds: float) -> Picture:
        """The frame at that time of the drive. Raises UsageError for a time before or after it."""
        if not 0.0 <= seconds <= self.seconds:
            raise UsageError(
                f"The drive lasts from 0 to {self.seconds:.1f} s; there is no frame at {seconds} s."
            )
        view = View(self.path, self.lens, self.path.metre_at(seconds))
        canvas = Canvas(self.lens, self.weather)
        self._sky.draw(canvas.frame, view.heading)
        self._ground.draw(canvas.frame, view)
        drafts: list[_Draft] = []
        for z, _, draw in sorted(self._things(view, seconds), key=lambda each: (-each[0], each[1])):
            owner = len(drafts) + 1
            draft = draw(canvas, view, owner)
            if draft is not None:
                drafts.append(draft)
            del z
        truth = self._truth(canvas, drafts)
        self._finish(canvas.frame, seconds)
        return Picture(canvas.frame, seconds, truth)

    def _things(self, view: View, seconds: float) -> Iterator[tuple[float, int, Any]]:
        """Distance, a number that decides between equals, and how to draw it."""
        low, high = np.searchsorted(self._item_metres, (view.metre - 16.0, view.metre + FURNITURE))
        for at in range(int(low), int(high)):
            item = self._items[at]
            spot = view.place(item.metre + item.length / 2, item.left)
            if spot is not None:
                # A house is as far as its nearer end, or a car before it would be painted over.
                yield spot[1] + item.length / 2, at, self._furnish(item, at)
        for at, actor in enumerate(self._traffic):
            if not actor.begin <= seconds <= actor.end:
                continue
            stance = actor.at(seconds)
            if stance is None or not -4.0 < stance.metre - view.metre < actor.reach:
                continue
            spot = view.place(stance.metre, stance.left)
            if spot is None or spot[1] < NEAREST or abs(spot[0]) > MARGIN * spot[1] + 4.0:
                continue
            yield spot[1], 100_000 + at, self._populate(actor, stance, spot, at)

    def _furnish(self, item: Item, number: int) -> Any:
        def draw(canvas: Canvas, view: View, owner: int) -> _Draft | None:
            box = self._scenery.draw(canvas, view, item, owner if item.kind == "stop" else SCENERY)
            if box is None:
                return None
            return _Draft("stop sign", box, (box[2] - box[0]) * (box[3] - box[1]), "STOP", number + 1, ())

        return draw

    def _populate(
        self, actor: Actor | Leader, stance: Stance, spot: tuple[float, float, float], number: int
    ) -> Any:
        x, z, road = spot

        def draw(canvas: Canvas, _view: View, owner: int) -> _Draft:
            aside = math.atan2(x, z)
            distance = math.hypot(x, z)
            sprite = self._sprite(actor.look, stance, stance.turn + road + aside, distance)
            wide = 1.0 / math.cos(aside)
            canvas.lay(sprite, x, z, owner=owner, wide=wide)
            zoom = self.lens.focal / z / sprite.scale
            foot = (self.lens.across(x, z), self.lens.down(0.0, z))
            if self.weather.lamps and actor.look.kind == "vehicle" and not stance.parked:
                self._shine(canvas, stance, spot, aside)

            def placed(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
                return (foot[0] + box[0] * zoom * wide, foot[1] + box[1] * zoom,
                        foot[0] + box[2] * zoom * wide, foot[1] + box[3] * zoom)  # fmt: skip

            label: TruthLabel = "car"
            if actor.look.kind == "vehicle":
                label = "vehicle" if actor.look.body in VEHICLE_BODIES else "car"
            else:
                label = "person"
            return _Draft(
                label, placed(sprite.solid), sprite.weight * zoom * zoom * wide, actor.look.plate, 100_000 + number,
                tuple(placed(each) for each in sprite.plates), tuple(placed(each) for each in sprite.parts),
            )  # fmt: skip

        return draw

    def _shine(self, canvas: Canvas, stance: Stance, spot: tuple[float, float, float], aside: float) -> None:
        """The light of a vehicle's lamps, as far as they point at us."""
        x, z, road = spot
        turn = stance.turn + road
        facing = -math.cos(turn + aside)
        if abs(facing) < 0.35:
            return
        rear, colour, size = facing < 0, (120, 225, 255), 0.62
        if rear:
            colour, size = (30, 30, 255), 0.34 if stance.braking else 0.2
        along = -2.25 if rear else 2.25
        for side in (-0.66, 0.66):
            lamp_x = x + side * math.cos(turn) - along * math.sin(turn)
            lamp_z = z + side * math.sin(turn) + along * math.cos(turn)
            if lamp_z > 1.5:
                zoom = self.lens.focal / lamp_z
                place = (self.lens.across(lamp_x, lamp_z), self.lens.down(0.70, lamp_z))
                canvas.glow(*place, max(2.5, size * zoom * abs(facing)), colour)

    def _sprite(self, look: Look, stance: Stance, turn: float, distance: float) -> Sprite:
        """The picture of somebody, from about this side and distance; kept for the next frames."""
        ring = round(math.log(max(distance, NEAREST)) / math.log(STEP))
        step = math.radians(2.5 if distance < 14.0 else 4.0 if distance < 35.0 else 7.0)
        side = round(math.remainder(turn, 2 * math.pi) / step)
        plate = look.plate if distance < 32.0 else ""
        lit = self.weather.lamps and not stance.parked
        key = (look, plate, ring, side, step, stance.phase, stance.braking, lit)
        found = self._sprites.get(key)
        if found is not None:
            self._sprites.move_to_end(key)
            return found
        if look.kind == "vehicle":
            mesh = vehicle(look.body, look.paint, lit, stance.braking)
        elif look.kind == "cyclist":
            skin, _, top, legs = look.clothes
            mesh = cyclist(skin, top, legs, (skin + top) % 4, stance.phase % PHASES)
        else:
            mesh = walker(*look.clothes, stance.phase)
        away = STEP**ring
        sprite = paint(
            mesh, self.weather, turn=side * step, distance=away, scale=1.12 * self.lens.focal / away, plate=plate,
            shadow=SHADOW,
        )  # fmt: skip
        self._sprites[key] = sprite
        self._kept += sprite.image.nbytes
        while self._kept > SPRITES and len(self._sprites) > 1:
            self._kept -= self._sprites.popitem(last=False)[1].image.nbytes
        return sprite

    def _truth(self, canvas: Canvas, drafts: list[_Draft]) -> tuple[Truth, ...]:
        """Boxes within the frame, with the share that nothing hides."""
        seen = np.bincount(canvas.owner.ravel(), minlength=len(drafts) + 1)
        found = []
        for owner, draft in enumerate(drafts, 1):
            visible = min(1.0, float(seen[owner]) / max(draft.weight, 1.0))
            if visible < LEAST_SHARE:
                continue
            box = self._shown(canvas, draft.box, owner, seen[owner])
            if max(box.width, box.height) < LEAST_SIZE:
                continue
            text = draft.text if draft.label == "stop sign" else ""
            labels: tuple[TruthLabel, ...] = ("bicycle", "person") if draft.parts else (draft.label,)
            for label, part in zip(labels, draft.parts or (draft.box,), strict=True):
                found.append(
                    Truth(label, box.within(self._clipped(part)), round(visible, 3), text, draft.thing)
                )
            for each in draft.plates:
                plate = self._clipped(each)
                if plate.width >= 2 * LEAST_SIZE:
                    shown = self._uncovered(canvas, plate, owner)
                    if shown >= 0.5:
                        found.append(Truth("plate", plate, shown, draft.text, draft.thing))
        return tuple(found)

    def _shown(self, canvas: Canvas, whole: tuple[float, float, float, float], owner: int, count: int) -> Box:
        """The box around those pixels of a thing that are still its own."""
        clipped = self._clipped(whole)
        left, top = math.floor(clipped.left), math.floor(clipped.top)
        right, bottom = math.ceil(clipped.right) + 1, math.ceil(clipped.bottom) + 1
        own = canvas.owner[top:bottom, left:right] == owner
        columns, rows = np.flatnonzero(own.any(axis=0)), np.flatnonzero(own.any(axis=1))
        if not count or not len(columns):
            return Box(0.0, 0.0, 0.0, 0.0)
        shown = Box(
            float(left + columns[0]), float(top + rows[0]), left + columns[-1] + 1.0, top + rows[-1] + 1.0
        )
        # An edge that nothing hides is known to a fraction of a pixel.
        edges = [
            exact if abs(exact - seen) < 1.5 else seen
            for exact, seen in zip(astuple(clipped), astuple(shown), strict=True)
        ]
        return Box(*(float(each) for each in edges))

    def _clipped(self, box: tuple[float, float, float, float]) -> Box:
        wide, high = float(self.lens.width), float(self.lens.height)
        left, top, right, bottom = (float(each) for each in box)
        return Box(
            min(max(left, 0.0), wide), min(max(top, 0.0), high),
            min(max(right, 0.0), wide), min(max(bottom, 0.0), high),
        )  # fmt: skip

    @staticmethod
    def _uncovered(canvas: Canvas, box: Box, owner: int) -> float:
        left, top, right, bottom = box.rounded()
        part = canvas.owner[top : max(bottom, top + 1), left : max(right, left + 1)]
        return round(float((part == owner).mean()), 3) if part.size else 0.0

    def _finish(self, frame: Any, seconds: float) -> None:
        """What lies between the road and the picture: rain, our own bonnet, the camera's lettering."""
        if self._rain:
            streaks = self._rain[int(seconds * 30.0) % len(self._rain)]
            cv2.add(frame, streaks, dst=frame)
        bonnet, keep, top = self._bonnet
        if len(bonnet):
            part = frame[top:]
            cv2.multiply(part, keep, dst=part, scale=1.0 / 255.0)
            cv2.add(part, bonnet, dst=part)
        cv2.LUT(frame, _TONE, dst=frame)
        cv2.GaussianBlur(frame, (0, 0), SOFT * self.lens.height / 360, dst=frame)
        if self._overlay:
            self._letter(frame, seconds)

    def _letter(self, frame: Any, seconds: float) -> None:
        row = self._rows[int(np.searchsorted(self.path.times, seconds, side="right")) - 1]
        speed = self.path.speed_at(seconds) / MPS_PER_MPH
        zoom = self.lens.height / 360 * 0.36
        at = (round(8 * zoom / 0.36), self.lens.height - round(7 * zoom / 0.36))
        text = f"{row.time[:19]}  {speed:3.0f} MPH"
        wide = max(1, round(zoom / 0.36))
        below = (at[0] + wide, at[1] + wide)
        cv2.putText(frame, text, below, cv2.FONT_HERSHEY_DUPLEX, zoom, (20, 20, 20), wide, cv2.LINE_AA)
        cv2.putText(frame, text, at, cv2.FONT_HERSHEY_DUPLEX, zoom, (236, 240, 240), wide, cv2.LINE_AA)


@dataclass(frozen=True, slots=True)
class _Draft:
    """A thing that has been laid on the canvas: its whole box, and how many pixels it has."""

    label: TruthLabel
    box: tuple[float, float, float, float]
    weight: float
    text: str
    thing: int
    plates: tuple[tuple[float, float, float, float], ...]
    parts: tuple[tuple[float, float, float, float], ...] = ()
    """of a rider: the bicycle's box and the person's"""


def _bonnet(lens: Lens, wet: bool) -> tuple[Any, Any, int]:
    """The car's own bonnet at the lower edge: its colours, what it leaves of the frame (255: all), its first row."""
    wide, high = lens.width, lens.height
    mask = np.zeros((high, wide), np.uint8)
    centre = (wide * 8, round(1.16 * high) * 16)
    cv2.ellipse(
        mask, centre, (round(0.60 * wide) * 16, round(0.225 * high) * 16), 0, 0, 360, 255, -1, cv2.LINE_AA, 4
    )
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return np.zeros((0, 0, 3), np.uint8), np.zeros((0, 0, 3), np.uint8), high
    top = int(rows[0])
    mask = mask[top:]
    down = np.linspace(1.0, 0.0, len(mask), dtype=np.float32)[:, None, None]
    shade = np.array((64, 52, 46) if wet else (84, 64, 54), np.float32) * (0.35 + 0.85 * down**2)
    colour = np.repeat(shade, wide, axis=1) * (mask[..., None] / 255.0)
    keep = cv2.cvtColor(255 - mask, cv2.COLOR_GRAY2BGR)
    return colour.astype(np.uint8), keep, top


def _rain(seed: int, lens: Lens) -> list[Any]:
    """A few frames of falling drops, short bright strokes that lean towards the middle."""
    chance = source(seed, 90)
    frames = []
    for _ in range(6):
        layer = np.zeros((lens.height, lens.width), np.uint8)
        for _ in range(round(150 * lens.width * lens.height / 230_400)):
            x, y = float(chance.uniform(0, lens.width)), float(chance.uniform(-20, lens.height))
            length = float(chance.uniform(6, 20)) * lens.height / 360
            lean = (x / lens.width - 0.5) * 0.5
            tone = int(chance.integers(14, 44))
            cv2.line(layer, (int(x), int(y)), (int(x + lean * length), int(y + length)), tone, 1, cv2.LINE_AA)
        frames.append(cv2.cvtColor(cv2.blur(layer, (1, 3)), cv2.COLOR_GRAY2BGR))
    return frames
