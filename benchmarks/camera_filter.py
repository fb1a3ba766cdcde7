"""The camera filter as it is deployed: how fast it is from the file to the message, what it holds, and how it counts.

`python -m benchmarks filter`. The videos are rendered before. Hub, edge runtime and the module run beside each other,
the module with `keepUp` false, so that it looks at each frame and none is left out; the times are the module's own, as
it reports them: of each frame that the detector ran on, from the moment it is read from the file to the moment its
messages are in the outbox of the vendor's SDK, and of each message from there until the edge hub has accepted it.
What motion first and the events are worth is counted on the same videos against the ground truth; drives and scenes
are those of `benchmarks.camera`, whose seeds were never used while anything was built.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import psutil

import iotedge_lab
from benchmarks.camera import BUDGET_MS, LEAST_FPS, SEEDS, drive_rows
from benchmarks.servers import HubServer
from benchmarks.setting import Row
from iotedge_lab.camera.detector import Detector
from iotedge_lab.camera.looking import Fate, Looker
from iotedge_lab.camera.plates import PlateReader
from iotedge_lab.camera.scene import WEATHERS, Scene
from iotedge_lab.camera.scoring import CLEAR, KINDS, Tally
from iotedge_lab.camera.video import read_video, write_video
from iotedge_lab.car import drives
from iotedge_lab.edge.manifest import load
from iotedge_lab.errors import EnvironmentProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.setting import Setting
    from iotedge_lab.camera.events import Event
    from iotedge_lab.camera.scene import Truth
    from iotedge_lab.car.rows import CarRow
    from iotedge_lab.edges import Edge

NAME = "filter"
TITLE = "The camera filter, 640 x 360: from the file to the message, beside hub and edge runtime"
DEVICE, MODULE = "bench-camera", "ModuleFilterCamera"
SECONDS = 30
MOST_MB = 400.0
PATIENCE = 600.0  # s
LEAST_SEEN = 12  # frames in which a thing is clearly seen, to be asked for as an event
HALT = 60.0  # s of data/car.csv: from here on the car stands for 27 s
_MB = 1024 * 1024


@dataclass(slots=True)
class Film:
    """A rendered video, with the ground truth of each frame."""

    path: Path
    truth: list[tuple[Truth, ...]]


def run(setting: Setting, say: Callable[[str], None]) -> list[Row]:
    """The deployed module first, then what is counted; without the detector nothing."""
    try:
        detector = Detector()
    except EnvironmentProblem as error:
        say(str(error))
        return []
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        driving = list(_driving(setting))
        rows = _deployed(setting, [each.path for each in driving], say)
        return [
            *rows,
            *_motion(setting, driving, detector, say),
            *_events(driving, detector),
            *_plates(setting, say),
        ]
    finally:
        cv2.setNumThreads(threads)


# -- films ---------------------------------------------------------------------------------------------------


def _film(
    setting: Setting,
    name: str,
    rows: Sequence[CarRow],
    *,
    seed: int,
    weather: Any,
    begin: float,
    empty: float = 0.25,
) -> Film:
    film = Film(setting.folder / f"{name}.mp4", [])
    scene = Scene(rows, seed=seed, weather=weather, empty=empty)

    def frames() -> Iterator[Any]:
        for each in scene.frames(LEAST_FPS, begin, setting.count(SECONDS, 2)):
            film.truth.append(each.truth)
            yield each.image

    write_video(frames(), film.path, rate=LEAST_FPS, fps=LEAST_FPS)
    return film


def _driving(setting: Setting) -> Iterator[Film]:
    """A stretch of a drive in each weather."""
    for number, weather in enumerate(WEATHERS):
        if setting.quick and number:
            return
        seed, kind = SEEDS[number]
        yield _film(setting, weather, drive_rows(seed, kind, 120.0), seed=seed, weather=weather, begin=60.0)


# -- the module, deployed --------------------------------------------------------------------------------------


def _deployed(setting: Setting, films: list[Path], say: Callable[[str], None]) -> list[Row]:
    with ExitStack() as stack:
        hub = stack.enter_context(HubServer(setting.folder / "filter-hub"))
        rest = hub.lab.rest()
        rest.call("PUT", f"/devices/{DEVICE}", {"deviceId": DEVICE, "capabilities": {"iotEdge": True}})
        folder = Path(iotedge_lab.__file__).parent / "modules" / MODULE
        template = json.loads((folder / "deployment.template.json").read_text(encoding="utf-8"))
        agent = template["modulesContent"]["$edgeAgent"]["properties.desired"]
        agent["modules"] = {MODULE: agent["modules"][MODULE]}
        del template["modulesContent"]["ModuleSimulatorCamera"]
        template["modulesContent"][MODULE]["properties.desired"] |= {"keepUp": False, "reportSeconds": 0.5}
        content = load(template).content["modulesContent"]
        rest.call("POST", f"/devices/{DEVICE}/applyConfigurationContent", {"modulesContent": content})
        edge = hub.lab.edge(DEVICE)
        stack.callback(edge.close)
        edge.wait_until_running(MODULE)
        shared = hub.lab.state_dir / "edges" / DEVICE / "host" / "tmp"
        told = []
        for number, film in enumerate(films, 1):
            said = _looked_through(rest, shared, film, number)
            told.append(said)
            say(f"{film.stem}: {said['last']}, accepted {said['acceptedMs']}")
        process = _process(edge)
        peak = _peak(process)
        rows = _speeds(told)
        rows.append(
            Row("Memory of the filter at its highest (resident)", peak, "MB", target=f"<= {MOST_MB:g} MB",
                met=peak <= MOST_MB)
        )  # fmt: skip
        if find_spec("rapidocr") is not None and not setting.quick:
            rest.call(
                "PATCH", f"/twins/{DEVICE}/modules/{MODULE}", {"properties": {"desired": {"plates": True}}}
            )
            again = films[0].with_name("again.mp4")
            again.write_bytes(films[0].read_bytes())
            _looked_through(rest, shared, again, len(films) + 1)
            rows.append(Row("The same with the plate reader", _peak(process), "MB"))
        return rows


def _looked_through(rest: Any, shared: Path, film: Path, number: int) -> dict[str, Any]:
    """Give it a video; what it reports once it is the `number`th that was looked through and told."""
    part = shared / f".{film.name}.part"
    part.write_bytes(film.read_bytes())
    part.rename(shared / film.name)
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        said: dict[str, Any] = rest.call("GET", f"/twins/{DEVICE}/modules/{MODULE}")["properties"]["reported"]
        counters = said.get("counters", {})
        if counters.get("videos") == number and counters.get("waiting") == 0:
            return said
        time.sleep(0.2)
    raise RuntimeError(f"the module did not look through {film.name} in {PATIENCE:.0f} s")


def _speeds(told: list[dict[str, Any]]) -> list[Row]:
    """The slowest of the videos, and the worst percentile of them."""
    last = [each["last"] for each in told]
    slowest = min(each["framesPerSecond"] for each in last)
    worst = max(each["frameMs"]["p99"] for each in last)
    middle = float(np.median([each["frameMs"]["p50"] for each in last]))
    detector = float(np.median([each["detectorMs"] for each in last]))
    longest = max(each["frameMs"]["max"] for each in last)
    frames, looked = sum(each["frames"] for each in last), sum(each["looked"] for each in last)
    counters = told[-1]["counters"]
    accepted = told[-1]["acceptedMs"]
    rows = [
        Row("Video to messages, the slowest of the videos", slowest, "frames/s", target=f">= {LEAST_FPS:g}",
            met=slowest >= LEAST_FPS, note=f"{frames:,} frames, the detector ran on {looked:,}, none was left out"),
        Row("A frame that the detector ran on, p50", middle, "ms", note=f"of it the detector {detector:.1f} ms"),
        Row("A frame that the detector ran on, p99, the worst of the videos", worst, "ms",
            target=f"<= {BUDGET_MS:.1f} ms", met=worst <= BUDGET_MS, note=f"the longest {longest:.0f} ms"),
    ]  # fmt: skip
    if accepted:
        rows.append(
            Row("A message, from the outbox until the edge hub accepts it, p50", accepted["p50"], "ms",
                note=f"p99 {accepted['p99']:.0f} ms; several end at once, are sent one after another, and each "
                     "picture is drawn on the way")
        )  # fmt: skip
    share = counters["sentBytes"] / counters["videoBytes"]
    rows.append(
        Row("Bytes sent, of those of the videos", share * 100.0, "%",
            note=f"{counters['sentBytes']:,} of {counters['videoBytes']:,}; {counters['sent']} messages")
    )  # fmt: skip
    return rows


def _process(edge: Edge) -> psutil.Process:
    """The module's."""
    for each in psutil.Process(edge.runtime.pid).children(recursive=True):
        if Path(each.cwd()).name == MODULE:
            return each
    raise RuntimeError("the module has no process below the runtime")


def _peak(process: psutil.Process) -> float:
    """The most that it ever held, in MB, where the system tells; else what it holds now."""
    try:
        text = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
        (line,) = (each for each in text.splitlines() if each.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / _MB
    except (OSError, ValueError):
        return float(process.memory_info().rss / _MB)


# -- what is counted -------------------------------------------------------------------------------------------


def _motion(
    setting: Setting, driving: list[Film], detector: Detector, say: Callable[[str], None]
) -> list[Row]:
    """How many frames motion lets through, and what is lost by those that it holds back."""
    car = list(drives.rows(drives.car_csv()))
    halts = [
        _film(setting, f"halt-{seed}", car, seed=seed, weather="daylight", begin=HALT)
        for seed, _ in SEEDS[: setting.count(3, 1)]
    ]
    seed = SEEDS[0][0]
    quiet = [_film(setting, "quiet", car, seed=seed, weather="daylight", begin=HALT, empty=1.0)]
    rows = []
    for what, films in (
        ("driving", driving),
        ("standing at a busy crossing", halts),
        ("standing where nobody is about", quiet),
    ):
        first, every = Tally(), Tally()
        frames = looked = 0
        for film in films:
            looker = Looker(detector, keep_up=False)
            found: Any = []
            for frame, truth in zip(read_video(film.path), film.truth, strict=False):
                look = looker.look(frame)
                found = look.found if look.fate is Fate.LOOKED else found
                first.add(found, truth)
                if films is halts:
                    every.add(detector.detect(frame.image), truth)
            frames, looked = frames + looker.counts.frames, looked + looker.counts.looked
        rows.append(
            Row(f"Motion first, {what}: frames passed on to the detector", 100.0 * looked / frames, "%",
                note=f"{looked:,} of {frames:,}")
        )  # fmt: skip
        if films is halts:
            with_it, asked = first.recall("car", 30.0)
            without, _ = every.recall("car", 30.0)
            people, there = first.recall("person", 16.0)
            all_people, _ = every.recall("person", 16.0)
            say(f"standing: cars {with_it} with motion first, {without} without, of {asked}")
            rows.append(
                Row("Motion first, at the busy crossing: cars over 30 px found", with_it / max(1, asked), "",
                    note=f"{with_it} of {asked}, without motion first {without}; people {people} of {there}, "
                         f"without {all_people}")
            )  # fmt: skip
    return rows


def _events(driving: list[Film], detector: Detector) -> list[Row]:
    """Events against things: found at all, how often each, and events that are nothing."""
    asked = found = told = false = total = 0
    for film in driving:
        looker = Looker(detector, keep_up=False)
        events: list[Event] = []
        for frame in read_video(film.path):
            events += looker.look(frame).ended
        events += looker.end().ended
        things: dict[tuple[str, int], int] = {}
        for truth in film.truth:
            for each in truth:
                least = 20.0 if each.label == "person" else 30.0
                if each.label in KINDS and each.visible >= CLEAR and each.box.width >= least:
                    things[each.label, each.thing] = things.get((each.label, each.thing), 0) + 1
        clear = {thing for thing, frames in things.items() if frames >= LEAST_SEEN}
        counts: dict[tuple[str, int], int] = {}
        for event in events:
            thing = _thing(event, film.truth[min(len(film.truth) - 1, round(event.time * LEAST_FPS))])
            if thing is None:
                false += 1
            else:
                counts[thing] = counts.get(thing, 0) + 1
        total += len(events)
        asked += len(clear)
        found += sum(thing in counts for thing in clear)
        told += sum(counts.get(thing, 0) for thing in clear)
    seconds = sum(len(film.truth) for film in driving) / LEAST_FPS
    return [
        Row("Events: things that are told, of those clearly seen for half a second", found / max(1, asked), "",
            note=f"{found} of {asked}; {total} events in {seconds:.0f} s"),
        Row("Events for each thing that is told", told / max(1, found), "",
            note="above 1: it was hidden for a while, or its event went over to its neighbour"),
        Row("Events that are nothing, a minute", false / seconds * 60.0, "", note=f"{false} of {total}"),
    ]  # fmt: skip


def _thing(event: Event, truth: tuple[Truth, ...]) -> tuple[str, int] | None:
    """What an event shows in its best frame."""
    right = [each for each in truth if each.label in KINDS and event.label in KINDS[each.label]]
    best = max(right, key=lambda each: each.box.overlap(event.box), default=None)
    if best is None or best.box.overlap(event.box) < 0.3:
        return None
    return best.label, best.thing


def _plates(setting: Setting, say: Callable[[str], None]) -> list[Row]:
    """At 1920 x 1080, each car where its plate is widest."""
    if find_spec("rapidocr") is None or setting.quick:
        return []
    seed, kind = SEEDS[0]
    scene = Scene(drive_rows(seed, kind, 260.0), seed=seed, width=1920, height=1080)
    widest: dict[int, tuple[float, str, Any]] = {}
    for number in range(int(scene.seconds)):
        picture = scene.frame(number + 0.5)
        cars = {each.thing: each.box for each in picture.truth if each.label in ("car", "vehicle")}
        for each in picture.truth:
            if (
                each.label == "plate"
                and each.thing in cars
                and each.box.width > widest.get(each.thing, (40.0,))[0]
            ):
                left, top, right, bottom = cars[each.thing].rounded()
                crop = picture.image[top:bottom, left:right].copy()
                widest[each.thing] = (each.box.width, each.text.replace(" ", ""), crop)
    reader = PlateReader()
    good: dict[bool, list[bool]] = {True: [], False: []}
    wrong, taken = 0, []
    for width, text, crop in widest.values():
        begin = time.perf_counter()
        read = reader.read(crop)
        taken.append((time.perf_counter() - begin) * 1000.0)
        good[width >= 80.0].append(read == text)
        wrong += bool(read) and read != text
    say(
        f"plates: {sum(good[True])}/{len(good[True])} over 80 px, {sum(good[False])}/{len(good[False])} of 40 to 80 px"
    )
    near = good[True]
    return [
        Row("Plates over 80 px that are read, at 1920 x 1080", sum(near) / max(1, len(near)), "",
            note=f"{sum(near)} of {len(near)}; of 40 to 80 px {sum(good[False])} of {len(good[False])}; "
                 f"{wrong} read wrongly; at 640 x 360 none is over 40 px"),
        Row("A look for a plate, p50", float(np.median(taken)), "ms", note=f"p99 {np.percentile(taken, 99):.0f} ms"),
    ]  # fmt: skip
