"""Which hub or edge lives at which loopback address, also while it is down.

A device that lost its hub comes back to the same address, so a hub that was killed must find it free: another
hub (or edge gateway) that starts meanwhile leaves alone what is claimed. A claim is a file that names its owner, a
JSON file with a `host`; it holds for as long as that file says the same address. Without a claim nothing breaks,
so whatever goes wrong with these files is passed over.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from iotedge_lab.errors import EnvironmentProblem, PortTaken
from iotedge_lab.serve.addresses import listen, reserve

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence


def folder() -> Path:
    """Where this user's claims lie."""
    return platformdirs.user_state_path("iotedge-lab-addresses", appauthor=False)


def claimed(address: str, owner: Path) -> bool:
    """Whether another one than `owner` lives at `address`, running or not."""
    try:
        named = (folder() / address).read_text(encoding="utf-8")
        return named != str(owner) and json.loads(Path(named).read_text(encoding="utf-8"))["host"] == address
    except (OSError, ValueError, KeyError, TypeError):
        return False


def claim(address: str, owner: Path) -> None:
    """Note that `owner` lives at `address`."""
    with contextlib.suppress(OSError):
        folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder() / address).write_text(str(owner), encoding="utf-8")


def release(address: str, owner: Path) -> None:
    """Give `address` up (one that does not come back)."""
    with contextlib.suppress(OSError):
        file = folder() / address
        if file.read_text(encoding="utf-8") == str(owner):
            file.unlink()


def bind(
    ports: Sequence[int], owner: Path, *, asked: str | None = None, before: str | None = None, first: int = 1
) -> tuple[str, list[socket.socket]]:
    """Listening sockets on one loopback address: the one asked for, else the one used last, else a free one.

    Clients keep the address across a restart, so who comes back wants the old one. `first`: the last number of the
    first address that is tried (127.0.0.1 for 1). Raises `PortTaken` where `asked` is not to be had.
    """
    if asked:
        return asked, bind_all(asked, ports)
    if before and not claimed(before, owner):
        with contextlib.suppress(PortTaken):
            return before, bind_all(before, ports, blame=False)
    return _next_address(ports, owner, first)


def would_bind(ports: Sequence[int], owner: Path) -> str:
    """The address that `bind` would give to one that cannot have its old one; nothing of it is held.

    Raises `PortTaken` where there is none.
    """
    address, sockets = _next_address(ports, owner, 1)
    for each in sockets:
        each.close()
    return address


def bind_all(host: str, ports: Sequence[int], *, blame: bool = True) -> list[socket.socket]:
    """All ports of `host`, or none; the lowest first, so that of two hubs that meet one moves on at once.

    `blame`: whether a PortTaken says by whom (`addresses.listen`).
    """
    made: list[socket.socket] = []
    try:
        for port in sorted(ports):
            made.extend(listen(host, port, blame=blame))
    except BaseException:
        for each in made:
            each.close()
        raise
    return made


def _next_address(ports: Sequence[int], owner: Path, first: int) -> tuple[str, list[socket.socket]]:
    """The first address that is free and that nobody else claims; if there is none, the first that is free.

    What is claimed is not even tried: its owner may come back in that moment, and would find its ports taken.
    """
    for number in range(first, 255):
        address = f"127.0.0.{number}"
        if claimed(address, owner):
            continue
        try:
            return address, bind_all(address, ports, blame=False)
        except PortTaken:
            continue
        except EnvironmentProblem:
            break  # macOS: 127.0.0.1 is all there is
    reservation = reserve(ports)
    return reservation.address, reservation.take()
