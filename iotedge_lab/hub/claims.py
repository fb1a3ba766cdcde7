"""Which state folder's hub lives at which loopback address, also while it is down.

A device that lost its hub comes back to the same address, so a hub that was killed must find it free: another
hub that starts meanwhile leaves alone what is claimed. A claim is a file that names a state folder; it holds for
as long as that folder's `hub.json` says the same address. Without a claim nothing breaks, so whatever goes wrong
with these files is passed over.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import platformdirs

from iotedge_lab.hub.state import StateFolder

if TYPE_CHECKING:
    from pathlib import Path


def folder() -> Path:
    """Where this user's claims lie."""
    return platformdirs.user_state_path("iotedge-lab-addresses", appauthor=False)


def claimed(address: str, state: StateFolder) -> bool:
    """Whether another state folder's hub lives at `address`, running or not."""
    try:
        owner = (folder() / address).read_text(encoding="utf-8")
    except OSError:
        return False
    if owner == str(state.path):
        return False
    told = StateFolder(owner).read()
    return told is not None and told.host == address


def claim(address: str, state: StateFolder) -> None:
    """Note that `state`'s hub lives at `address`."""
    with contextlib.suppress(OSError):
        folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder() / address).write_text(str(state.path), encoding="utf-8")


def release(address: str, state: StateFolder) -> None:
    """Give `address` up (an ephemeral hub that does not come back)."""
    with contextlib.suppress(OSError):
        file = folder() / address
        if file.read_text(encoding="utf-8") == str(state.path):
            file.unlink()
