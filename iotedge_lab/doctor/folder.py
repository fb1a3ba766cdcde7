"""The state folder: where it lies, whose it is, and how much room it has."""

from __future__ import annotations

import os
import shlex
import stat
import sys
from typing import TYPE_CHECKING, Final

from iotedge_lab.doctor.finding import Finding, fail, ok, warn
from iotedge_lab.hub.state import NETWORK_FILE_SYSTEMS, STATE_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from iotedge_lab.doctor.situation import Situation

LITTLE: Final = 200 * 1024 * 1024
"""With less free than this (bytes), a day of messages may fill the disk."""
NONE_LEFT: Final = 20 * 1024 * 1024
"""With less free than this (bytes), the store cannot be relied on to take a message."""
_SECRET_FILES: Final = (
    "hub.json",
    "hub.db",
    "certificates/authority.pem",
    "certificates/server.pem",
    "storage/account.json",
    "storage/blobs.db",
)
_ELSEWHERE: Final = f"Name another folder with --state DIR or {STATE_VARIABLE}=DIR"


def check_folder(here: Situation) -> Iterator[Finding]:
    """That it is a folder in which a hub can write, or can be made."""
    name, path = "state folder", here.state.path
    if path.exists() and not path.is_dir():
        yield fail(name, f"{path} is a file, and a folder is needed", f"{_ELSEWHERE}, or move the file away")
        return
    there = path if path.is_dir() else _nearest(path)
    if not os.access(there, os.W_OK | os.X_OK):
        yield fail(name, f"{there} {_why_not(there)}", f"{_ELSEWHERE}{_or_take_it(there)}")
        return
    foreign = [each for each in (*_SECRET_FILES, "hub.lock") if _unusable(path / each)]
    if foreign:
        yield fail(
            name,
            f"{', '.join(foreign)} in {path} cannot be read and written by this user (made with sudo?)",
            f'sudo chown -R "$(id -u)" {shlex.quote(str(path))}',
        )
        return
    yield ok(name, str(path) if path.is_dir() else f"{path} (made when the hub first starts)")


def check_privacy(here: Situation) -> Iterator[Finding]:
    """That nobody else can read the keys."""
    path = here.state.path
    if sys.platform == "win32" or not path.is_dir():
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    open_files = [
        each for each in _SECRET_FILES if (path / each).exists() and (path / each).stat().st_mode & 0o077
    ]
    if mode & 0o077:
        yield warn(
            "privacy",
            f"{path} is open to other users (mode {mode:04o}), and the hub's keys lie in it",
            f"chmod 700 {shlex.quote(str(path))}",
        )
    elif open_files:
        yield warn(
            "privacy",
            f"{', '.join(open_files)} in {path} can be read by other users",
            "chmod 600 " + " ".join(shlex.quote(str(path / each)) for each in open_files),
        )
    else:
        yield ok("privacy", f"only this user can read it (mode {mode:04o})")


def check_file_system(here: Situation) -> Iterator[Finding]:
    """That the disk is a local one."""
    kind = here.kind_of_file_system(_nearest(here.state.path))
    if kind in NETWORK_FILE_SYSTEMS:
        yield fail(
            "file system",
            f"{here.state.path} is on a network file system ({kind}), where the store does not work",
            f"{_ELSEWHERE} on a local disk, for example {STATE_VARIABLE}=/tmp/iotedge-lab",
        )
    else:
        yield ok("file system", kind or "local, as far as can be told")


def check_disk(here: Situation) -> Iterator[Finding]:
    """That there is room."""
    free = here.free_bytes(_nearest(here.state.path))
    said = f"{free / 1024**2:.0f} MB free for {here.state.path}"
    fix = (
        f"Free some space, or drop the messages that are kept: {here.command('reset')}; or name a folder on "
        f"another disk with --state or {STATE_VARIABLE}"
    )
    if free < NONE_LEFT:
        yield fail("disk", f"{said}: the hub refuses messages when it cannot store them", fix)
    elif free < LITTLE:
        yield warn("disk", f"{said}, which is little", fix)
    else:
        yield ok("disk", f"more than {LITTLE // 1024**2} MB free")


def _nearest(path: Path) -> Path:
    """`path`, or the nearest folder above it that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _unusable(file: Path) -> bool:
    return file.exists() and not os.access(file, os.R_OK | os.W_OK)


def _why_not(folder: Path) -> str:
    """Why nothing can be written there, as the rest of a sentence."""
    if _read_only(folder):
        return "is on a file system that can only be read"
    return f"cannot be written by this user{_owner(folder)}"


def _or_take_it(folder: Path) -> str:
    """What else would help, as the rest of a sentence."""
    if _read_only(folder):
        return ""
    here = shlex.quote(str(folder))
    if folder.stat().st_uid == os.getuid():
        return f", or give yourself the right: chmod u+rwx {here}"
    return f', or take it over: sudo chown -R "$(id -u)" {here}'


def _read_only(folder: Path) -> bool:
    return hasattr(os, "statvfs") and bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def _owner(path: Path) -> str:
    try:
        return f" (it belongs to {path.owner()})"
    except (KeyError, OSError, NotImplementedError):
        return ""


CHECKS: Final = (
    ("state folder", check_folder),
    ("privacy", check_privacy),
    ("file system", check_file_system),
    ("disk", check_disk),
)
