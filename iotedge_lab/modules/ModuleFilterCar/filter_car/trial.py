"""A model tried in a process of its own: `python -m filter_car.trial FILE`.

A model is a program that somebody else wrote. It may be none, crash the runtime, never end or want all memory there is;
the process that tries it can end for that, and the module's cannot. Tried are a drive's worth of made-up rows, and that
every prediction is a finite number, in time. What this does not find, the shelf's count of loads may.

The process writes one line: {"ok": true, "milliseconds": 0.02} or {"ok": false, "reason": "..."}.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

from iotedge_lab.car.predictor import Predictor
from iotedge_lab.car.rows import CarRow
from iotedge_lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FOLDER: Final = Path(__file__).resolve().parents[1]
ROWS: Final = 300
SECONDS: Final = 60.0  # for all of it, the start of the process included
SLOWEST: Final = 100.0  # ms a row: a car makes ten rows a second
MEMORY: Final = 4 * 2**30  # bytes of address space


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of it; `reason` why it is no good, empty where it is."""

    reason: str = ""
    milliseconds: float = 0.0
    """the median for a row"""


def sample(count: int = ROWS) -> Iterator[CarRow]:
    """Rows of 10 Hz from idle to full throttle and back, with a start anew in between: what a model may meet."""
    for number in range(count):
        share = 0.5 - 0.5 * math.cos(number / 40.0)
        seconds = number / 10.0 if number < count * 0.9 else number / 10.0 + 60.0
        yield CarRow(
            "2026-01-01 00:00:00.000000", seconds, 0.0, 0.0, 0.0, 80.0 * share, 0.0,
            round(100.0 * share), round(650.0 + 5500.0 * share), 0.0, round(0.5 * math.sin(number / 40.0), 2),
        )  # fmt: skip


def attempt(
    path: Path, seconds: float = SECONDS, command: Sequence[str] = (sys.executable, "-m", "filter_car.trial")
) -> Verdict:
    """Try a model. Blocks, for `seconds` at most."""
    environment = {
        name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PYTHONPATH") if name in os.environ
    }
    try:
        ran = subprocess.run(
            [*command, str(path.absolute())],
            cwd=FOLDER,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Verdict(f"the process that tried it did not end within {seconds:g} s")
    except OSError as error:
        return Verdict(f"no process to try it in could be started ({error.strerror})")
    if ran.returncode < 0:
        return Verdict(f"the process that tried it crashed ({_signal(-ran.returncode)})")
    with contextlib.suppress(ValueError, IndexError, KeyError, TypeError):
        told = json.loads(ran.stdout.splitlines()[-1])
        if told["ok"] is True and ran.returncode == 0:
            return Verdict("", float(told["milliseconds"]))
        return Verdict(str(told["reason"])[:400] or "it does not say why")
    return Verdict(f"the process that tried it ended with {ran.returncode} and without a word")


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def main(path: str) -> int:
    """In the process of its own."""
    _limit()
    try:
        predictor = Predictor(Path(path).read_bytes())
        spent = []
        for row in sample():
            begin = time.perf_counter()
            prediction = predictor.predict(row)
            spent.append(time.perf_counter() - begin)
            if prediction is None or not math.isfinite(prediction.speed):
                return _no("it gives a prediction that is no finite number")
    except LabError as error:
        return _no(str(error))
    except MemoryError:
        return _no("it wants more memory than a model may have")
    except Exception as error:  # noqa: BLE001 - the runtime's errors share no class
        return _no(f"it fails on a row: {error}")
    milliseconds = median(spent) * 1000.0
    if milliseconds > SLOWEST:
        return _no(f"a row takes it {milliseconds:.0f} ms, and it may take {SLOWEST:.0f}")
    _say({"ok": True, "milliseconds": round(milliseconds, 4)})
    return 0


def _limit() -> None:
    """Memory and processor time are bounded, no core is dumped, and live rows go before it."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        os.nice(5)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (int(SECONDS), int(SECONDS)))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def _no(reason: str) -> int:
    _say({"ok": False, "reason": reason})
    return 1


def _say(told: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
