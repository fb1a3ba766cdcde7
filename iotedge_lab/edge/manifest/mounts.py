"""Mounts without containers: links in a module's working folder to folders that modules of one edge share.

A module's working folder stands for the container's `/app`. A mount's target `/app/X` is a link `X` in it; its host
path `P` means `{state}/edges/{device}/host/P`, so modules that mount one `P` share it, and thirty edges on one
machine do not. A named volume `V` is the folder `volumes/V` beside `host`. Pure: paths are worked out, nothing is
made. Left out: read-only mounts (a link cannot be; the wish is kept in `Link.read_only`), single files as sources
(each is a folder), propagation and SELinux options, volume drivers.

Stands for Docker's `HostConfig.Binds` and `HostConfig.Mounts` (Engine API, ContainerCreate).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from iotedge_lab.edge.errors import MountRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

WORKING_FOLDER: Final = "/app"
HOST: Final = "host"
VOLUMES: Final = "volumes"

_DRIVE: Final = re.compile(r"([A-Za-z]):[\\/]+(.*)", re.DOTALL)
_VOLUME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_BIND: Final = re.compile(r"([A-Za-z]:[\\/][^:]*|[^:]+):([^:]+)(?::([^:]*))?")


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder of the host (or a named volume, where `source` is no path) as a module is to see it."""

    source: str
    target: str
    read_only: bool = False

    def __str__(self) -> str:
        return f"{self.source}:{self.target}"


@dataclass(frozen=True, slots=True)
class Link:
    """What is to be made: a link at `path`, to the folder `folder`."""

    path: Path
    folder: Path
    read_only: bool = False


def parse_bind(text: str) -> Mount:
    """Read `source:target[:options]`. Raises MountRefused."""
    match = _BIND.fullmatch(text)
    if not match:
        raise MountRefused(repr(text), "a bind reads 'source:target' or 'source:target:ro'.")
    source, target, options = match.groups()
    return Mount(source, target, read_only="ro" in (options or "").split(","))


def inner_path(mount: Mount) -> PurePosixPath:
    """The target below the working folder. Raises MountRefused for a target that has no place there."""
    target = PurePosixPath(mount.target.strip())
    _check_parts(mount, target.parts, "target")
    if not target.is_absolute():
        raise MountRefused(str(mount), "its target has to begin with '/'.")
    if not target.is_relative_to(WORKING_FOLDER):
        raise MountRefused(
            str(mount),
            f"its target lies outside {WORKING_FOLDER}, which is all that a module sees here; "
            f"mount it at {WORKING_FOLDER}/... and use a path relative to the working folder.",
        )
    inner = target.relative_to(WORKING_FOLDER)
    if not inner.parts:
        raise MountRefused(str(mount), f"its target is {WORKING_FOLDER} itself, where the module's code is.")
    return inner


def shared_folder(mount: Mount, device_folder: Path) -> Path:
    """The folder that a mount's source stands for, below `{state}/edges/{device}`. Raises MountRefused."""
    source = mount.source.strip()
    drive = _DRIVE.fullmatch(source)
    if drive:
        source = f"/{drive[1].upper()}/" + drive[2].replace("\\", "/")
    path = PurePosixPath(source)
    _check_parts(mount, path.parts, "source")
    if path.is_absolute():
        return device_folder.joinpath(HOST, *[part for part in path.parts if part.strip("/")])
    if not _VOLUME.fullmatch(source):
        raise MountRefused(
            str(mount),
            "its source is neither a path from '/' nor a volume's name (letters, digits and _ . -).",
        )
    return device_folder.joinpath(VOLUMES, source)


def resolve_mounts(mounts: Sequence[Mount], *, working_folder: Path, device_folder: Path) -> tuple[Link, ...]:
    """The links that a module's working folder gets, in the order of the mounts.

    `device_folder` is `{state}/edges/{device}`. Raises MountRefused for a target outside the working folder,
    for `..`, and for targets that are equal or lie within each other.
    """
    taken: dict[PurePosixPath, Mount] = {}
    links: list[Link] = []
    for mount in mounts:
        inner = inner_path(mount)
        for other, before in taken.items():
            if inner.is_relative_to(other) or other.is_relative_to(inner):
                raise MountRefused(
                    str(mount), f"its target and that of {before} are one or lie within each other."
                )
        taken[inner] = mount
        links.append(
            Link(working_folder.joinpath(*inner.parts), shared_folder(mount, device_folder), mount.read_only)
        )
    return tuple(links)


def _check_parts(mount: Mount, parts: tuple[str, ...], which: str) -> None:
    if not parts:
        raise MountRefused(str(mount), f"its {which} is empty.")
    if ".." in parts:
        raise MountRefused(str(mount), f"its {which} has '..' in it.")
    # A backslash is a separator where Windows resolves the path, so `..` could hide behind it.
    if any(not character.isprintable() or character == "\\" for part in parts for character in part):
        raise MountRefused(
            str(mount), f"its {which} holds a backslash or a character that cannot be printed."
        )
