"""`createOptions`: what a manifest asks of Docker, and which part of it has a meaning without Docker.

Read as an object (as templates have it), as JSON text, and as text in pieces (`createOptions`, `createOptions01`,
... of 512 characters), which is how IoT Hub keeps it. Honoured: `Env`, `HostConfig.Binds`, `HostConfig.Mounts` (a
list, or one alone), `Cmd`, `Entrypoint`, `ExposedPorts`; everything else that is set is named in `ignored`.

Stands for "How to configure container create options" (learn.microsoft.com, IoT Edge, how-to-use-create-options)
and ContainerCreate of Docker's Engine API.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.edge.errors import MountRefused
from iotedge_lab.edge.manifest.mounts import Mount, inner_path, parse_bind, resolve_mounts, shared_folder
from iotedge_lab.edge.manifest.reader import Json, Place

if TYPE_CHECKING:
    from collections.abc import Mapping

CHUNK: Final = 512  # characters in one piece
MAX_CHUNKS: Final = 100
KEY: Final = "createOptions"


@dataclass(frozen=True, slots=True)
class CreateOptions:
    """What was asked, as far as it has a meaning here.

    `command` (Docker's Cmd) and `entrypoint` are None where not given. `ignored` are paths such as
    `HostConfig.PortBindings`. `raw` is the whole as it was given.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    exposed_ports: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict)


def chunk_name(number: int) -> str:
    """The name of a piece: `createOptions`, `createOptions01`, ..."""
    return KEY if number == 0 else f"{KEY}{number:02d}"


def is_chunk(key: str) -> bool:
    """Whether a setting is createOptions or a piece of it."""
    return key == KEY or (key.startswith(KEY) and len(key) == len(KEY) + 2 and key[-2:].isdecimal())


def chunked(raw: Mapping[str, Any]) -> dict[str, str]:
    """The settings that carry create options in IoT Hub: JSON text in pieces of 512 characters.

    Raises ValueError where they are too many.
    """
    text = json.dumps(raw, separators=(",", ":"))
    pieces = [text[at : at + CHUNK] for at in range(0, len(text), CHUNK)]
    if len(pieces) > MAX_CHUNKS:
        raise ValueError(f"they have {len(text)} characters, and {CHUNK * MAX_CHUNKS} are allowed.")
    return {chunk_name(number): piece for number, piece in enumerate(pieces)}


def read_create_options(settings: Place, *, check_mounts: bool = True) -> CreateOptions:
    """The create options in a module's settings; problems are noted in the place's findings.

    `check_mounts` is off for the runtime's own modules, which run in no working folder.
    """
    place, raw = _joined(settings)
    if not raw:
        return CreateOptions()
    options = Place(place.findings, place.path, raw)
    host = options.child("HostConfig")
    mounts = (*_binds(host.child("Binds")), *_mounts(host.child("Mounts"))) if check_mounts else ()
    if check_mounts:
        _check_together(host, mounts)
    ports = options.child("ExposedPorts").object() or {}
    return CreateOptions(
        _env(options.child("Env")),
        tuple(mount for _, mount in mounts),
        options.child("Cmd").texts(),
        options.child("Entrypoint").texts(),
        tuple(ports),
        tuple(_ignored(options, host)),
        raw,
    )


def _joined(settings: Place) -> tuple[Place, Json]:
    """The place of the options and the options as an object, from whatever form they have."""
    first = settings.child(KEY)
    given = settings.object() or {}
    numbers = sorted(int(key[-2:]) for key in given if key != KEY and is_chunk(key))
    if isinstance(first.value, dict):
        if numbers:
            first.problem(f"is an object, so {chunk_name(numbers[0])} cannot go on with it.")
        return first, first.value
    if numbers != list(range(1, len(numbers) + 1)) or (numbers and not first.there):
        missing = next(number for number in range(MAX_CHUNKS + 1) if chunk_name(number) not in given)
        settings.child(chunk_name(missing)).problem("is missing, though a later piece is there.")
        return first, {}
    pieces = [settings.child(chunk_name(number)).text() or "" for number in range(len(numbers) + 1)]
    text = "".join(pieces).strip()
    if not text:
        return first, {}
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as wrong:
        first.problem(f"is no JSON: {wrong}.")
        return first, {}
    if parsed is None:
        return first, {}
    if not isinstance(parsed, dict):
        first.problem("is JSON, but no object.")
        return first, {}
    return first, parsed


def _env(place: Place) -> dict[str, str]:
    made: dict[str, str] = {}
    for number, entry in enumerate(place.texts() or ()):
        name, separator, value = entry.partition("=")
        if not name or "\0" in entry:
            place.child(number).problem(f"is {entry!r}, and 'NAME=value' belongs here.")
        elif separator:  # a name alone takes a variable of the image away, and here is no image
            made[name] = value
    return made


def _binds(place: Place) -> list[tuple[Place, Mount]]:
    found: list[tuple[Place, Mount]] = []
    for number, text in enumerate(place.texts() or ()):
        item = place.child(number) if isinstance(place.value, list) else place
        try:
            found.append((item, _checked(parse_bind(text))))
        except MountRefused as refused:
            item.problem(str(refused))
    return found


def _mounts(place: Place) -> list[tuple[Place, Mount]]:
    """A list of mounts; one object alone stands for a list of one."""
    if not place.there:
        return []
    if isinstance(place.value, dict):
        items = [place]
    elif isinstance(place.value, list):
        items = [place.child(number) for number in range(len(place.value))]
    else:
        place.problem("is neither a list of mounts nor one mount.")
        return []
    found: list[tuple[Place, Mount]] = []
    for item in items:
        if item.object(required=True) is None or item.child("Type").value == "tmpfs":
            continue
        kind = item.child("Type").text() or "bind"
        if kind not in ("bind", "volume"):
            item.child("Type").problem(f"is {kind!r}, and 'bind', 'volume' or 'tmpfs' belongs here.")
            continue
        target = item.child("Target").text(required=True)
        source = item.child("Source").text(required=True)
        if target is None or source is None:
            continue
        try:
            found.append(
                (item, _checked(Mount(source, target, read_only=item.child("ReadOnly").value is True)))
            )
        except MountRefused as refused:
            item.problem(str(refused))
    return found


def _checked(mount: Mount) -> Mount:
    from pathlib import Path

    inner_path(mount)
    shared_folder(mount, Path())
    return mount


def _check_together(host: Place, mounts: tuple[tuple[Place, Mount], ...]) -> None:
    from pathlib import Path

    try:
        resolve_mounts([mount for _, mount in mounts], working_folder=Path(), device_folder=Path())
    except MountRefused as refused:
        host.problem(str(refused))


_HONOURED: Final = frozenset({"Env", "Cmd", "Entrypoint", "ExposedPorts", "HostConfig"})
_HONOURED_OF_HOST: Final = frozenset({"Binds", "Mounts"})


def _ignored(options: Place, host: Place) -> list[str]:
    """What is set and has no meaning here; empty values ask for nothing."""
    own = [key for key, place in options.members() if key not in _HONOURED and place.value]
    of_host = [
        f"HostConfig.{key}" for key, place in host.members() if key not in _HONOURED_OF_HOST and place.value
    ]
    mounts = host.child("Mounts").value
    items = [mounts] if isinstance(mounts, dict) else mounts if isinstance(mounts, list) else []
    tmpfs = [
        f"HostConfig.Mounts[{number}]"
        for number, item in enumerate(items)
        if isinstance(item, dict) and item.get("Type") == "tmpfs"
    ]
    return [*own, *of_host, *tmpfs]
