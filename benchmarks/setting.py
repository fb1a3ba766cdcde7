"""What every measurement gets: how long to take, and the rows that it gives back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent.parent
# What would lead the clients elsewhere than to the servers under measurement.
_MISLEADING = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "mqtt_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "IOTHUB_CONNECTION_STRING",
    "EVENTHUB_CONNECTION_STRING",
    "IOTEDGE_LAB_STATE",
)


@dataclass(frozen=True, slots=True)
class Setting:
    """`quick`: small numbers, only to see that everything works. `folder`: for state; on a disk, not in memory."""

    quick: bool
    folder: Path

    def count(self, full: int, quick: int) -> int:
        """How many of something: the full number, or the small one of a quick run."""
        return quick if self.quick else full


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the report.

    `ratio` is hub to Mosquitto, the median of the rounds' own ratios: the rounds alternate between the two, so
    what else the machine does meets both. `target` is a word, as `met` is worked out where the row is made.
    """

    what: str
    hub: float
    unit: str
    mosquitto: float | None = None
    ratio: float | None = None
    target: str = ""
    met: bool | None = None
    note: str = ""


def compared(
    what: str, hub: Sequence[float], other: Sequence[float], unit: str, *, least: float, note: str = ""
) -> Row:
    """A row of rates measured in pairs, whose ratio is to be `least` or more."""
    if not other:
        return Row(what, median(hub), unit, target=f"ratio >= {least:g}", note=note)
    ratio = median(one / two for one, two in zip(hub, other, strict=True))
    return Row(what, median(hub), unit, median(other), ratio, f"ratio >= {least:g}", ratio >= least, note)


def environment() -> dict[str, str]:
    """This process's environment without what would mislead a client."""
    return {name: value for name, value in os.environ.items() if name not in _MISLEADING}


class Worker:
    """A process of this package that gets one job (JSON) and gives one answer (JSON)."""

    def __init__(self, module: str, job: dict[str, Any]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.{module}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment(),
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()

    def line(self) -> dict[str, Any]:
        """The next line that it says; RuntimeError with its last words if it ended instead."""
        assert self._process.stdout is not None
        text = self._process.stdout.readline()
        if not text:
            assert self._process.stderr is not None
            raise RuntimeError(f"a benchmark's worker failed: {self._process.stderr.read()[-3000:]}")
        return dict(json.loads(text))

    def tell(self) -> None:
        """Let it go on (it waits for a line)."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def end(self) -> None:
        """Wait until it has ended, and make it end if it does not."""
        try:
            self._process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()


def work(module: str, job: dict[str, Any]) -> dict[str, Any]:
    """Run a worker to its end; its answer."""
    worker = Worker(module, job)
    try:
        return worker.line()
    finally:
        worker.end()
