"""The checks of notebook 04, the camera simulator: how messages are counted, frames of a video, a shared folder."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.edge.errors import InvalidManifest
from iotedge_lab.edge.manifest import load, resolve_mounts
from iotedge_lab.show.exercises.verdict import NotYet, Wrong, ask, ask_list, check, is_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from iotedge_lab.edge.manifest import CreateOptions, Mount

MODULE: Final = "ModuleSimulatorCamera"
HOST_FOLDER: Final = "/srv/camera"
IN_MODULE: Final = "stream"
"""Below /app, where a module's own folder is."""

_KEYS: Final = ("Type", "Source", "Target")

_READING: Final = (
    "right for a list, but a video that is being read has no length and is gone through once, frame by frame"
)

Json = dict[str, Any]


@check
def check_metered(metered: Callable[[int, int], int]) -> str:
    """(bytes of a message, bytes of a meter's step) -> as how many messages it counts: every step begun."""
    size, step = 6_000, 4_096
    answer = ask(metered, size, step)
    if not is_number(answer):
        raise Wrong(f"a number was expected, metered gave {answer!r}")
    slips = {
        "that is 1; a step that has begun counts in full, so round up: math.ceil": size // step,
        "that is a share; only whole messages are counted: math.ceil": size / step,
        "that is the wrong way round; how many steps go into the message?": step / size,
    }
    for words, slip in slips.items():
        if math.isclose(answer, slip, rel_tol=1e-6):
            raise Wrong(words)
    if answer != 2:
        raise Wrong(
            f"{size:,} bytes are one step of {step:,} and a part of the next: 2 messages, not {answer:g}"
        )
    whole = ask(metered, 3 * step, step)
    if whole != 3:
        hint = "; a step is added where none has begun" if whole == 4 else ""
        raise Wrong(f"{3 * step:,} bytes are three whole steps: 3 messages, not {whole!r}{hint}")
    other = ask(metered, 1_200, 512)
    if other != 3:
        raise Wrong(
            f"right for steps of {step:,} bytes, but 1,200 bytes in steps of 512 are 3, not {other!r}"
        )
    return "6,000 bytes count as 2 messages in steps of 4 KB, and as 12 in steps of 0.5 KB"


# -- one frame a second --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Frame:
    """Stands for a frame that was read: its number, and its time in the video."""

    number: int
    seconds: float


@check
def check_one_a_second(one_a_second: Callable[[Iterable[Any]], Iterable[Any]]) -> str:
    """(frames with .seconds) -> the first frame of each second of the video."""
    even = [_Frame(number, number / 24) for number in range(72)]
    got = _seconds(one_a_second, even)
    if not got:
        raise NotYet("no frame is kept yet; append it to kept, if its second is another than the last one's")
    if got == [frame.seconds for frame in even]:
        raise Wrong("those are all 72 frames; of each second, the first alone is wanted")
    if got == [0.0]:
        raise Wrong("only the first frame of all came; then comes the first one of the next second")
    if got == [1.0, 2.0]:
        raise Wrong("the video's very first frame is missing; second 0 has a first frame, too")
    if got == [23 / 24, 47 / 24, 71 / 24]:
        raise Wrong("those are the last frames of each second; the first ones are wanted")
    if got != [0.0, 1.0, 2.0]:
        raise Wrong(f"of 3 s at 24 frames a second, those at 0, 1 and 2 s are wanted, not {_short(got)}")
    slow = [_Frame(number, number / 2) for number in range(6)]
    if _seconds(one_a_second, slow) != [0.0, 1.0, 2.0]:
        raise Wrong("right for 24 frames a second, but not for 2; go by .seconds, and do not count frames")
    uneven = [_Frame(number, seconds) for number, seconds in enumerate((0.0, 0.5, 1.2, 1.9, 2.1, 4.7, 4.9))]
    got = _seconds(one_a_second, uneven)
    if got != [0.0, 1.2, 2.1, 4.7]:
        raise Wrong(
            f"of frames at {_short([frame.seconds for frame in uneven])} s, those at 0, 1.2, 2.1 and 4.7 are the "
            f"first of their seconds, not {_short(got)}; int(frame.seconds) says which second it is"
        )
    # A reader of a video hands over one frame after the other, and has no length.
    try:
        got = _seconds(one_a_second, iter(uneven))
    except Wrong as wrong:
        raise Wrong(f"{_READING}: {wrong}") from wrong
    if got != [0.0, 1.2, 2.1, 4.7]:
        raise Wrong(f"{_READING}: {_short(got)} s came, and 0, 1.2, 2.1 and 4.7 were wanted")
    return "72 frames became 3, and frames that came unevenly were told apart as well"


def _seconds(one_a_second: Callable[[Iterable[Any]], Iterable[Any]], frames: Iterable[_Frame]) -> list[float]:
    given = ask_list(one_a_second, "frames", list(frames) if isinstance(frames, list) else frames)
    strangers = [each for each in given if not isinstance(each, _Frame)]
    if strangers:
        raise Wrong(
            f"the frames themselves are wanted, not {type(strangers[0]).__name__}; keep what the loop gives"
        )
    return [frame.seconds for frame in given]


def _short(numbers: Sequence[float]) -> str:
    shown = ", ".join(f"{number:g}" for number in numbers[:6])
    return f"{shown}, ..." if len(numbers) > 6 else shown or "none"


# -- a shared folder -------------------------------------------------------------------------------------------


@check
def check_mount(mount: Any) -> str:
    """A mount by which the device's /srv/camera is the module's /app/stream."""
    if mount is ... or not mount:
        raise NotYet('write the mount: {"Type": ..., "Source": ..., "Target": ...}')
    if isinstance(mount, list):
        raise Wrong("one mount is wanted here, without the list around it; the list is in the next cell")
    if not isinstance(mount, dict):
        raise Wrong(
            f"a mount is an object with Type, Source and Target, this is of type {type(mount).__name__}"
        )
    if any(value is ... or value == "..." for value in mount.values()):
        raise NotYet("replace the ... in it and run both cells again")
    if "HostConfig" in mount:
        raise Wrong("those are the whole createOptions; the mount alone is wanted, they are in the next cell")
    lower = {name: name.title() for name in mount if name not in _KEYS and str(name).title() in _KEYS}
    if lower:
        raise Wrong(
            f"write {', '.join(map(repr, lower.values()))}: names in createOptions begin with a capital"
        )
    missing = [name for name in _KEYS if not mount.get(name)]
    if missing:
        raise Wrong(f"the mount lacks {', '.join(missing)}; it says what kind it is, from where and to where")
    for name in _KEYS:
        if not isinstance(mount[name], str):
            raise Wrong(f"{name} is a text, in quotes; this is of type {type(mount[name]).__name__}")
    if _same(mount["Source"], f"/app/{IN_MODULE}"):
        raise Wrong("that is the wrong way round: Source is on the device, Target in the module")
    if mount["Type"] != "bind":
        raise Wrong(f"a folder of the device is mounted with the type 'bind', not {mount['Type']!r}")
    try:
        options = _create_options(mount)
    except InvalidManifest as error:
        said = str(error).partition("Mounts[0]")[2].lstrip(".: ") or str(
            error
        )  # without the way to the mount
        raise Wrong(f"an edge device would refuse it: {said}") from error
    _judge_mount(options.mounts[0])
    return f"what the module writes into {IN_MODULE}/ lies in {HOST_FOLDER} of the device, for others to read"


def _create_options(mount: Json) -> CreateOptions:
    """What an edge device reads from the mount. Raises `InvalidManifest`."""
    system = {"type": "docker", "settings": {"image": "system:1"}}
    settings = {"image": "camera:1", "createOptions": {"HostConfig": {"Mounts": [mount]}}}
    module = {"type": "docker", "status": "running", "restartPolicy": "always", "settings": settings}
    agent = {
        "schemaVersion": "1.1",
        "runtime": {"type": "docker", "settings": {}},
        "systemModules": {"edgeAgent": system, "edgeHub": system},
        "modules": {MODULE: module},
    }
    hub = {"schemaVersion": "1.1", "routes": {}, "storeAndForwardConfiguration": {"timeToLiveSecs": 7200}}
    content = {"$edgeAgent": {"properties.desired": agent}, "$edgeHub": {"properties.desired": hub}}
    return load({"modulesContent": content}).modules[MODULE].create_options


def _judge_mount(mount: Mount) -> None:
    device, module = Path("/device"), Path("/module")
    link = resolve_mounts([mount], working_folder=module, device_folder=device)[0]
    at_target, at_source = link.path == module / IN_MODULE, _same(mount.source, HOST_FOLDER)
    if at_target and at_source:
        if mount.read_only:
            raise Wrong("with ReadOnly the module cannot write its videos there; leave that out")
        return
    if not at_target:
        raise Wrong(f"the module sees the folder at {mount.target}; its videos go to /app/{IN_MODULE}")
    raise Wrong(f"the device's folder is {mount.source}; it is to be {HOST_FOLDER}")


def _same(one: str, other: str) -> bool:
    return PurePosixPath(one) == PurePosixPath(other)
