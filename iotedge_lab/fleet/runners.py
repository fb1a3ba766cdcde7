"""Where a share of a fleet runs: on a thread of this process, or in a process of its own.

Both have the same four words: start, meter, stop, finish. A process gets its job as one line of JSON on its
standard input (keys are in it, so it is no argument), reports in lines on its standard output, and ends when
its input does: whatever becomes of this process, its cars leave in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, Protocol

from iotedge_lab import errors
from iotedge_lab.errors import EnvironmentProblem, LabError
from iotedge_lab.fleet.engine import Engine, run_loop
from iotedge_lab.fleet.status import CarSummary, Counts, Meter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iotedge_lab.clock import Clock
    from iotedge_lab.fleet.engine import Target
    from iotedge_lab.fleet.plan import Login, Plan

_FINISH_SECONDS: Final = 20.0
_NOISE: Final = 20  # lines that are no report, kept for an error's message


class Runner(Protocol):
    """A share of the fleet."""

    meter: Meter

    @property
    def over(self) -> bool:
        """Whether it has ended, in whatever way."""
        ...

    def stop(self) -> None:
        """Have the cars leave; returns at once."""
        ...

    def finish(self) -> list[CarSummary]:
        """Wait for the end; raises what it failed with."""
        ...


class ThreadRunner:
    """On a thread of this process, with a loop of its own, so that a notebook's loop is not in the way."""

    def __init__(self, plan: Plan, logins: Sequence[Login], target: Target, clock: Clock) -> None:
        self.meter = Meter()
        self._engine = Engine(plan, logins, target, clock, self.meter.add)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._ready = threading.Event()
        self._cars: list[CarSummary] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="fleet", daemon=True)
        self._thread.start()
        self._ready.wait()

    def _run(self) -> None:
        try:
            self._cars = run_loop(self._main())
        except BaseException as error:  # noqa: BLE001 - raised again by `finish`, on the caller's thread
            self._error = error
        finally:
            self._ready.set()

    async def _main(self) -> list[CarSummary]:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        return await self._engine.run(self._stop)

    @property
    def over(self) -> bool:
        """Whether its thread has ended."""
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Have the cars leave."""
        if self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                self._loop.call_soon_threadsafe(self._stop.set)

    def finish(self) -> list[CarSummary]:
        """Wait for its thread."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._cars


class ProcessRunner:
    """In a process of its own."""

    def __init__(self, plan: Plan, logins: Sequence[Login], target: Target) -> None:
        self.meter = Meter()
        job = {
            "plan": plan.to_json(),
            "logins": [asdict(login) for login in logins],
            "target": asdict(target),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "iotedge_lab.fleet.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C in the terminal is for this process, which then says stop
        )
        self._cars: list[CarSummary] | None = None
        self._error: LabError | None = None
        self._noise: list[str] = []
        self._thread = threading.Thread(target=self._read, name="fleet-process", daemon=True)
        self._thread.start()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended: `finish` says why
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said: Any = None
            with contextlib.suppress(ValueError):
                said = json.loads(line)
            if not isinstance(said, dict):
                self._noise = [*self._noise, line][-_NOISE:]
            elif "counts" in said:
                self.meter.add(Counts.from_json(said["counts"]))
            elif "cars" in said:
                self._cars = [CarSummary(**car) for car in said["cars"]]
            elif "error" in said:
                kind = getattr(errors, str(said["error"]), LabError)
                self._error = (kind if issubclass(kind, LabError) else LabError)(said["message"])

    @property
    def over(self) -> bool:
        """Whether the process has ended."""
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Have the cars leave."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def finish(self) -> list[CarSummary]:
        """Wait for the process; kill one that does not end."""
        self.stop()
        try:
            status = self._process.wait(_FINISH_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._thread.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        if self._error is not None:
            raise self._error
        if self._cars is None:
            said = "".join(self._noise).strip()[-2000:]
            raise EnvironmentProblem(
                f"a process of the fleet ended (status {status}): {said or 'it said nothing'}. What it had sent "
                "and was not acknowledged may be lost."
            )
        return self._cars
