"""`Fleet`: many cars that drive against a hub, local or on Azure.

    fleet = Fleet(lab, cars=200, rate=10)
    summary = fleet.run(seconds=30, observer=show)      # or: with fleet: ... fleet.status() ...
    fleet.remove()

Nothing is printed: an observer gets a `FleetStatus` once a second. Against a hub beyond this machine it
starts only with `yes=True`, for there each message counts against a quota that somebody pays.
"""

from __future__ import annotations

import atexit
import contextlib
import threading
from typing import TYPE_CHECKING, Final, Protocol, Self

from iotedge_lab.clock import Clock, SystemClock
from iotedge_lab.errors import LabError, UsageError
from iotedge_lab.fleet.engine import Target
from iotedge_lab.fleet.plan import Demand, Plan, check_open_files
from iotedge_lab.fleet.registration import Registration
from iotedge_lab.fleet.replay import Garage
from iotedge_lab.fleet.runners import ProcessRunner, ThreadRunner
from iotedge_lab.fleet.status import FleetStatus, FleetSummary, Meter, status_of, summary_of
from iotedge_lab.serve.addresses import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from iotedge_lab.fleet.plan import Login
    from iotedge_lab.fleet.registration import Registry
    from iotedge_lab.fleet.runners import Runner

_POLL: Final = 0.1  # s between two looks at whether it is over


class Hub(Protocol):
    """What a fleet needs to know of a hub; `iotedge_lab.Lab` is one."""

    @property
    def hostname(self) -> str:
        """The HostName of device connection strings."""
        ...

    @property
    def is_local(self) -> bool:
        """Whether it is the lab's own, whose certificate `ca_file` vouches for."""
        ...

    @property
    def ca_file(self) -> Path:
        """The authorities to trust, if it is local."""
        ...

    def rest(self) -> Registry:
        """Its REST API."""
        ...


class Fleet:
    """Cars of one hub. One run each: make another for another run.

    cars: how many; rate: messages a second of each; prefix: their ids are `{prefix}0001` and so on;
    processes: how many to spread them over (1: a thread of this process); simulate: a seed, for a drive of
    its own for each car, None for the shipped drives; yes: go ahead though the hub is not on this machine.
    Raises UsageError for values that make no sense. `plan` takes the place of all of these but `yes`.
    """

    def __init__(
        self,
        hub: Hub,
        *,
        cars: int = 20,
        rate: float = 1.0,
        prefix: str = "car-",
        processes: int = 1,
        simulate: int | None = None,
        yes: bool = False,
        plan: Plan | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.plan = plan or Plan(cars, rate, prefix, min(processes, cars), simulate)
        self._hub = hub
        self._yes = yes
        self._clock = clock or SystemClock()
        self._registration = Registration(hub.rest(), self.plan, self._clock)
        self._logins: list[Login] | None = None
        self._runners: list[Runner] = []
        self._summary: FleetSummary | None = None

    def __repr__(self) -> str:
        return f"Fleet({self.plan.cars} cars at {self.plan.rate:g}/s, {self._hub.hostname})"

    @property
    def demand(self) -> Demand:
        """What it asks of a hub that is paid for."""
        return Demand.of(self.plan)

    @property
    def on_this_machine(self) -> bool:
        """Whether the hub's HostName is loopback, so that messages cost nothing."""
        return is_loopback(self._hub.hostname)

    def register(self) -> list[str]:
        """Make the devices that are not there yet, in bulk, tagged `iotedgeLab`; the ids of all.

        `start` does it too. Before that it looks whether the fleet could drive at all. Raises UsageError without
        `yes` for a hub that is not on this machine, EnvironmentProblem if so many connections are not allowed,
        DataError where the shipped drives are not there, HubNotRunning, and what the hub refuses.
        """
        if self._logins is None:
            self._check()
            self._logins = self._registration.register()
        return [login.device for login in self._logins]

    def start(self) -> Self:
        """Register, connect and set off, in the background.

        Raises as `register` does.
        """
        if self._runners:
            raise UsageError("This fleet has been started before; make another Fleet for another run.")
        self.register()
        assert self._logins is not None
        ca_file = str(self._hub.ca_file) if self._hub.is_local else None
        target = Target(self._hub.hostname, ca_file)
        if self.plan.processes == 1:
            self._runners = [ThreadRunner(self.plan, self._logins, target, self._clock)]
        else:
            self._runners = [
                ProcessRunner(self.plan, self._logins[first :: self.plan.processes], target)
                for first in range(self.plan.processes)
            ]
        atexit.register(self._leave)
        return self

    def status(self) -> FleetStatus:
        """How it goes, at most a quarter of a second old."""
        return status_of(self.plan.cars, self._meters())

    def stop(self) -> FleetSummary:
        """Send no more, wait up to 5 s for the last acknowledgements, disconnect; the summary.

        Raises what the fleet failed with meanwhile. A second call gives the same summary.
        """
        if self._summary is not None:
            return self._summary
        atexit.unregister(self._leave)
        for runner in self._runners:
            runner.stop()
        cars, failures = [], []
        for runner in self._runners:
            try:
                cars += runner.finish()
            except LabError as error:
                failures.append(error)
        if failures:
            raise failures[0]
        self._summary = summary_of(cars, [meter.newest for meter in self._meters()])
        return self._summary

    def run(
        self,
        seconds: float | None = None,
        observer: Callable[[FleetStatus], None] | None = None,
        interval: float = 1.0,
    ) -> FleetSummary:
        """Drive for `seconds` from when the cars have set off, or until interrupted; the summary.

        `observer` is called on this thread every `interval` seconds. Ctrl-C (KeyboardInterrupt) and whatever
        the observer raises stop the fleet in order and are raised again; `stop` gives the summary then.
        Raises LabError where the hub lets none of the cars in.
        """
        if seconds is not None and seconds <= 0:
            raise UsageError(f"A fleet drives for more than 0 s, not {seconds:g} s.")
        try:
            self.start()
            self._wait(seconds, observer, interval)
        except BaseException:
            if self._runners:
                self.stop()
            raise
        return self.stop()

    def _wait(
        self, seconds: float | None, observer: Callable[[FleetStatus], None] | None, interval: float
    ) -> None:
        asleep = threading.Event()  # never set; a wait on it is one that Ctrl-C ends
        shown = self._clock.monotonic()
        while not any(runner.over for runner in self._runners):
            status = self.status()
            if status.refused == self.plan.cars and not status.sent:
                raise LabError(f"the hub lets none of the {self.plan.cars:,} cars in: {status.trouble}.")
            now = self._clock.monotonic()
            if observer is not None and now - shown >= interval:
                shown = now
                observer(status)
            left = _POLL if seconds is None else seconds - status.seconds
            if left <= 0:
                return
            asleep.wait(min(_POLL, max(left, 0.01)))

    def remove(self) -> int:
        """Delete its devices, those that it made and those that a fleet made before; how many that were."""
        self._logins = None
        return self._registration.remove()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _leave(self) -> None:
        """The program ends, and nobody has stopped the fleet: the cars say goodbye at least."""
        with contextlib.suppress(LabError):
            self.stop()

    def _meters(self) -> list[Meter]:
        return [runner.meter for runner in self._runners]

    def _check(self) -> None:
        """Whether it may and can drive, before anything is made at the hub."""
        if not (self._yes or self.on_this_machine):
            raise UsageError(
                f"{self._hub.hostname} is not on this machine. {self.demand.text()} If that is meant, say so: "
                "Fleet(..., yes=True), or --yes."
            )
        check_open_files(-(-self.plan.cars // self.plan.processes))
        Garage(self.plan)
