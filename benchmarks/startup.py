"""How long it takes from nothing to the first acknowledged message, and where the time goes."""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.setting import ROOT, Row, Setting, environment, work
from iotedge_lab.clock import SystemClock
from iotedge_lab.serve.certificates import Authority

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAME = "startup"
TITLE = "From nothing to the first acknowledged message"
MOST = 1.5
_IMPORTS = {
    "Python itself": "pass",
    "import aiohttp.web": "import aiohttp.web",
    "import iotedge_lab.hub.process": "import iotedge_lab.hub.process",
    "import iotedge_lab.lab": "import iotedge_lab.lab",
    "import iotedge_lab.cli": "import iotedge_lab.cli",
}


def _seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def _certificates(folder: Path) -> float:
    began = time.perf_counter()
    Authority.open(folder, SystemClock()).bundle_file  # noqa: B018 - a property that makes a file
    return time.perf_counter() - began


def run(setting: Setting, say: Callable[[str], None]) -> list[Row]:
    """A fresh state folder each time; the medians."""
    rounds = setting.count(5, 1)
    probes = [
        work("startup_probe", {"state": str(setting.folder / f"startup-{turn}")}) for turn in range(rounds)
    ]
    parts = {name: median(probe[name] for probe in probes) for name in probes[0]}
    python = [sys.executable, "-c"]
    for name, code in _IMPORTS.items():
        parts[name] = median(_seconds([*python, code]) for _ in range(rounds))
    parts["making the certificates"] = median(
        _certificates(setting.folder / f"certificates-{turn}") for turn in range(rounds)
    )
    ups = []
    for turn in range(rounds):
        command = [sys.executable, "-m", "iotedge_lab"]
        state = str(setting.folder / f"startup-up-{turn}")
        ups.append(_seconds([*command, "up", "--state", state]))
        _seconds([*command, "down", "--state", state])
    parts["iotedge-lab up, the whole command"] = median(ups)
    for name, seconds in parts.items():
        say(f"{name}: {seconds:.3f} s")
    total = parts.pop("total")
    rows = [
        Row(
            "Lab.open to the first acknowledged message",
            total,
            "s",
            target=f"<= {MOST:g} s",
            met=total <= MOST,
            note=f"fresh state, certificates made; median of {rounds}",
        )
    ]
    rows += [Row(f"- {name}", seconds, "s") for name, seconds in parts.items()]
    return rows
