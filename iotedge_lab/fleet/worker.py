"""`python -m iotedge_lab.fleet.worker`: a process of a fleet, started by `runners.ProcessRunner`.

Standard input: the job, one line of JSON, then nothing; its end means stop. Standard output, a line of JSON
each: `{"counts": ...}` several times a second, then `{"cars": ...}` or `{"error": kind, "message": ...}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import sys
import threading
from typing import Any

from iotedge_lab.clock import SystemClock
from iotedge_lab.errors import LabError
from iotedge_lab.fleet.engine import Engine, Target, run_loop
from iotedge_lab.fleet.plan import Login, Plan
from iotedge_lab.fleet.status import CarSummary, Counts, car_to_json


def main() -> int:
    """Do the job that standard input says."""
    line = sys.stdin.readline()
    if not line.endswith("\n"):
        return 1  # whoever started this is gone already
    job = json.loads(line)
    try:
        cars = run_loop(_drive(job))
    except LabError as error:
        _say({"error": type(error).__name__, "message": str(error)})
        return 1
    _say({"cars": [car_to_json(car) for car in cars]})
    return 0


async def _drive(job: dict[str, Any]) -> list[CarSummary]:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait() -> None:
        sys.stdin.read()
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=wait, name="until-eof", daemon=True).start()
    gc.freeze()  # what start-up made stays: the collector need not walk it again
    logins = [Login(**login) for login in job["logins"]]
    engine = Engine(Plan(**job["plan"]), logins, Target(**job["target"]), SystemClock(), _report)
    return await engine.run(stop)


def _report(counts: Counts) -> None:
    _say({"counts": counts.to_json()})


def _say(told: dict[str, Any]) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody listens any more: stop comes by standard input
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
