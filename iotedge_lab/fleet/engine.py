"""Drives one process's share of a fleet on one asyncio loop.

All cars send at one rate, so their beats lie on one even grid, each car's between those of its neighbours:
a single timer serves all of them, sleeps in between, and sends what is due in one turn of the loop.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from iotedge_lab.fleet.car import Car, Way
from iotedge_lab.fleet.latency import Latencies
from iotedge_lab.fleet.plan import MQTT_PORT, check_open_files
from iotedge_lab.fleet.replay import Garage, endless, messages
from iotedge_lab.fleet.status import CarSummary, Counts

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from iotedge_lab.clock import Clock
    from iotedge_lab.fleet.plan import Login, Plan

REPORT_SECONDS: Final = 0.25
_SLOT: Final = 0.004  # s; beats closer together than this are sent together
_SETTLE_SECONDS: Final = 15.0  # the longest that cars which have connected wait for the others
_DRAIN_SECONDS: Final = 5.0  # for the last acknowledgements
_GOODBYE_SECONDS: Final = 3.0  # for connections to close

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Target:
    """Where the hub is: its HostName, and the file of the authorities to trust (None: the system's)."""

    hostname: str
    ca_file: str | None
    port: int = MQTT_PORT


class Engine:
    """A share of the cars. `report` is called several times a second, on the loop, and once at the end."""

    def __init__(
        self,
        plan: Plan,
        logins: Sequence[Login],
        target: Target,
        clock: Clock,
        report: Callable[[Counts], None],
    ) -> None:
        self._plan = plan
        self._logins = logins
        self._target = target
        self._clock = clock
        self._report = report
        self._latencies = Latencies()
        self._cars: list[Car] = []
        self._stop: asyncio.Event
        self._fault: Exception | None = None
        self._set_off: float | None = None
        self._ended: float | None = None
        self._next_beat = 0  # beats are numbered through: beat n is that of car n modulo the number of cars

    async def run(self, stop: asyncio.Event) -> list[CarSummary]:
        """Connect, drive until `stop` is set, and leave; each car's summary.

        Raises DataError (no drives), EnvironmentProblem (too few open files), and whatever failed in between.
        """
        self._stop = stop
        check_open_files(len(self._logins))
        self._cars = await asyncio.get_running_loop().run_in_executor(None, self._make_cars, self._way())
        running = [asyncio.create_task(car.run()) for car in self._cars]
        reporting = asyncio.create_task(self._keep_reporting())
        try:
            await self._until_settled(running)
            if not stop.is_set():
                self._set_off = self._clock.monotonic()
                self._beat()
            watched: list[asyncio.Future[Any]] = [asyncio.create_task(stop.wait()), *running]
            # A car's task ends only after `leave`: if one is done before, it failed.
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            watched[0].cancel()
            for task in running:
                if task.done():
                    task.result()
        finally:
            stop.set()
            await self._goodbye(running)
            reporting.cancel()
            self._report(self._counts())
        if self._fault is not None:
            raise self._fault
        return [car.summary() for car in self._cars]

    def _way(self) -> Way:
        context = ssl.create_default_context(cafile=self._target.ca_file)
        at_once = max(1, self._plan.at_once // self._plan.processes)
        return Way(
            self._target.hostname,
            self._target.port,
            context,
            asyncio.Semaphore(at_once),
            self._clock,
            self._latencies,
        )

    def _make_cars(self, way: Way) -> list[Car]:
        """The cars, with their drives read or simulated: up to seconds of work, so it is not the loop's."""
        garage = Garage(self._plan)
        cars = []
        for login in self._logins:
            if self._stop.is_set():
                break
            trip = garage.trip(login.index)
            rows = endless(garage.rows(login.index), trip.offset, self._plan.rate)
            cars.append(Car(login, trip, messages(login.device, trip.drive, rows), self._plan, way))
        return cars

    async def _until_settled(self, running: Sequence[asyncio.Task[None]]) -> None:
        """Until each car has tried to connect, so that they set off together and handshakes disturb no figure."""
        tried = asyncio.gather(*(car.tried.wait() for car in self._cars))
        stopped = asyncio.create_task(self._stop.wait())
        waited: list[asyncio.Future[Any]] = [tried, stopped, *running]
        await asyncio.wait(waited, timeout=_SETTLE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        tried.cancel()
        await asyncio.gather(tried, return_exceptions=True)

    def _beat(self) -> None:
        """Send what is due, and sleep until the next beat."""
        if self._stop.is_set():
            return
        assert self._set_off is not None
        cars = self._cars
        count = len(cars)
        spacing = 1.0 / (self._plan.rate * count)
        now = self._clock.monotonic()
        due = int((now - self._set_off) / spacing) + 1
        late = (due - self._next_beat) // count - 1
        if late > 0:  # the machine slept: what cars missed is not made up for in one burst
            self._next_beat += late * count
            for car in cars:
                car.held += late
        try:
            for beat in range(self._next_beat, due):
                cars[beat % count].beat()
        except Exception as error:  # noqa: BLE001 - the loop would only log it; `run` raises it
            self._fault = error
            self._stop.set()
            return
        self._next_beat = due
        wait = max(self._set_off + due * spacing - self._clock.monotonic(), _SLOT)
        asyncio.get_running_loop().call_later(wait, self._beat)

    async def _keep_reporting(self) -> None:
        while True:
            for car in self._cars:
                car.tick()
            self._report(self._counts())
            await asyncio.sleep(REPORT_SECONDS)

    async def _goodbye(self, running: Sequence[asyncio.Task[None]]) -> None:
        """Wait for the acknowledgements that are due, then DISCONNECT everywhere."""
        draining = [asyncio.create_task(car.drained()) for car in self._cars]
        if draining:
            _, late = await asyncio.wait(draining, timeout=_DRAIN_SECONDS)
            for task in late:
                task.cancel()
        self._ended = self._clock.monotonic()
        for car in self._cars:
            car.leave()
        if running:
            _, late = await asyncio.wait(running, timeout=_GOODBYE_SECONDS)
            for car in self._cars:
                car.cut()
            for task in late:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _counts(self) -> Counts:
        cars = self._cars
        now = self._clock.monotonic()
        set_off = self._set_off
        return Counts(
            at=now,
            seconds=0.0 if set_off is None else (self._ended or now) - set_off,
            connected=sum(car.connected for car in cars),
            refused=sum(bool(car.refusal) for car in cars),
            sent=sum(car.sent for car in cars),
            acknowledged=sum(car.acknowledged for car in cars),
            in_flight=sum(car.in_flight for car in cars),
            reconnects=sum(car.reconnects for car in cars),
            renewals=sum(car.renewals for car in cars),
            held=sum(car.held for car in cars),
            trouble=next((car.trouble for car in cars if car.trouble), ""),
            latencies=self._latencies.copy(),
        )


def run_loop(main: Coroutine[Any, Any, _Result]) -> _Result:
    """`asyncio.run` on uvloop where it installs; in any thread."""
    try:
        import uvloop
    except ImportError:  # Windows
        factory = None
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)
