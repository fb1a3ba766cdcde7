"""What a killed runtime left behind: modules' processes are noted in a file, and a restart ends those still alive.

On Linux a module dies with its runtime (PR_SET_PDEATHSIG), but what the module itself has started does not, and on
other systems nothing does. So the file has each module's process and when it began, for a process number may be
given anew; and each process has the run's id in its environment, which what it starts inherits.
"""

from __future__ import annotations

import json
import logging
import os
import signal
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import psutil

log = logging.getLogger(__name__)

FILE: Final = "processes.json"
_PATIENCE: Final = 5.0  # seconds for killed processes to be gone


@dataclass(frozen=True, slots=True)
class Noted:
    """A module's process. `began` tells it from a later one of the same number; `run` is the runtime's run."""

    module: str
    pid: int
    began: str
    run: str


def began(pid: int) -> str:
    """A mark of when a process began; '' where there is none of that number.

    On Linux it is in ticks since the machine started, with the start's own id: the wall clock may be set.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{text.rpartition(')')[2].split()[19]}"  # proc(5): field 22, and the name may hold anything
    except (OSError, IndexError):
        pass
    try:
        return f"{psutil.Process(pid).create_time():.2f}"
    except psutil.Error:
        return ""


def write(folder: Path, noted: list[Noted]) -> None:
    """Note the processes that run now. A disk that is full does not stop a module: what is lost is only this note."""
    beside = folder / f"{FILE}.new"
    try:
        beside.write_text(json.dumps([asdict(each) for each in noted]), encoding="utf-8")
        beside.replace(folder / FILE)
    except OSError as error:
        log.warning("%s cannot be written (%s)", folder / FILE, error.strerror)


def read(folder: Path) -> list[Noted]:
    """The processes noted last; none where the file is not there or damaged."""
    try:
        return [Noted(**each) for each in json.loads((folder / FILE).read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        return []


def end(folder: Path, variable: str) -> list[str]:
    """Kill what is left of the processes noted in `folder`; the names of the modules that were found alive.

    `variable` is the environment variable that has the run's id. Blocks until they are gone.
    """
    noted = read(folder)
    if not noted:
        return []
    runs = {each.run for each in noted}
    alive = {each.pid: each.module for each in noted if each.began and began(each.pid) == each.began}
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        # Other users' processes tell nothing; none of them is ours.
        with suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and (
                process.pid in alive or process.environ().get(variable) in runs
            ):
                found[process.pid] = process
    for process in found.values():
        with suppress(psutil.Error):
            process.send_signal(signal.SIGKILL)
    if found:
        log.warning("ended %d processes that an earlier run left: %s", len(found), sorted(found))
        psutil.wait_procs(list(found.values()), timeout=_PATIENCE)
    write(folder, [])
    return sorted(set(alive.values()))
