"""An extension of Jupyter's server: where memory is limited, kernels that wait make room for the one that works.

A learner goes from notebook to notebook and leaves each kernel open, with a model or a video in it. Where the session
would be ended for want of memory (2 GB on Binder), the kernels that have been idle longest are ended instead, once
half of the limit is held: their notebooks keep what they show, and a kernel is started anew by running them again.
The kernel that was used last stays, and so does one that is busy.

The limit is the one that JupyterHub tells in MEM_LIMIT (bytes); without it, as on a laptop, nothing is done.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LIMIT_VARIABLE: Final = "MEM_LIMIT"
SHARE: Final = 0.5
"""Of the limit: from here on there is one kernel. The other half is for that one and for the lab's processes."""
SECONDS: Final = 2.0
_PSS: Final = re.compile(rb"^Pss: +(\d+) kB", re.MULTILINE)


def limit(environ: Mapping[str, str] = os.environ) -> int | None:
    """The session's limit in bytes; None where there is none, or none that can be read."""
    try:
        return int(environ[LIMIT_VARIABLE]) or None
    except (KeyError, ValueError):
        return None


def held(proc: Path = Path("/proc")) -> int:
    """Bytes that this user's processes hold together (proportional set sizes); 0 where the system does not tell."""
    total, mine = 0, os.getuid()
    for rollup in proc.glob("[0-9]*/smaps_rollup"):
        try:
            if rollup.parent.stat().st_uid == mine and (size := _PSS.search(rollup.read_bytes())):
                total += int(size[1]) * 1024
        except OSError:  # it has ended meanwhile
            continue
    return total


def waiting(kernels: Iterable[Mapping[str, Any]]) -> list[str]:
    """Ids of the kernels that may go, the one idle longest first. `kernels`: as Jupyter's REST API shows them."""
    by_use = sorted(kernels, key=lambda each: each["last_activity"])
    return [each["id"] for each in by_use[:-1] if each["execution_state"] == "idle"]


async def make_room(server: Any, most: float) -> None:
    """End kernels of a server (jupyter_server's ServerApp) that wait, while more than `most` bytes are held."""
    from jupyter_core.utils import ensure_async

    manager = server.kernel_manager
    if len(manager.list_kernel_ids()) < 2:  # it costs nothing to know
        return
    for kernel in waiting(await ensure_async(manager.list_kernels())):
        if held() <= most:
            return
        server.log.warning("Kernel %s ends: it waits, and memory is short", kernel)
        await ensure_async(manager.shutdown_kernel(kernel))


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(server: Any) -> None:
    """Look every two seconds, where there is a limit."""
    from tornado.ioloop import PeriodicCallback

    most = limit()
    if most is not None:
        looking = PeriodicCallback(lambda: make_room(server, most * SHARE), SECONDS * 1000)
        looking.start()
        server.log.info("Kernels that wait are ended when more than %.0f MB are held", most * SHARE / 1e6)
