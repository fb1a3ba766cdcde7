"""What a fleet is to do, and whether the machine and the hub are made for it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from iotedge_lab.errors import EnvironmentProblem, UsageError
from iotedge_lab.wire.topics import check_device_id

MQTT_PORT: Final = 8883
MOST_CARS: Final = 20_000
FASTEST: Final = 100.0  # messages a second of one car
_SPARE_FILES: Final = 64  # what a process has open besides its cars' connections

# "IoT Hub quotas and throttling" (iot-hub-devguide-quotas-throttling): the free edition, and one unit of S1.
FREE_MESSAGES: Final = 8_000  # a day
FREE_DEVICES: Final = 500
S1_MESSAGES: Final = 400_000  # a day


@dataclass(frozen=True, slots=True)
class Login:
    """One car's identity. `index` is its number in the fleet, from 0; the key never shows in a repr."""

    index: int
    device: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """A fleet's settings, as each of its processes gets them. Raises UsageError where they make no sense."""

    cars: int = 20
    rate: float = 1.0
    """messages a second of each car"""
    prefix: str = "car-"
    processes: int = 1
    simulate: int | None = None
    """None: the shipped drives; a number: each car drives a road of its own, made from it"""
    drive_seconds: float = 120.0
    """how long a simulated drive is, before it begins again"""
    token_seconds: float = 3600.0
    """how long a SAS token is valid; a car connects again with a new one when three quarters are over"""
    at_once: int = 64
    """how many cars of the fleet may connect at the same time; the local hub takes 500"""

    def __post_init__(self) -> None:
        if not 1 <= self.cars <= MOST_CARS:
            raise UsageError(f"A fleet has from 1 to {MOST_CARS:,} cars, not {self.cars:,}.")
        if not 0.0 < self.rate <= FASTEST:
            raise UsageError(
                f"A car sends more than 0 and up to {FASTEST:g} messages a second, not {self.rate:g}."
            )
        if not 1 <= self.processes <= 64:
            raise UsageError(f"A fleet runs in 1 to 64 processes, not {self.processes}.")
        if self.simulate is not None and self.simulate < 0:
            raise UsageError(f"A seed is a number from 0 on, not {self.simulate}.")
        if not 1.0 <= self.drive_seconds <= 3600.0:
            raise UsageError(f"A simulated drive lasts from 1 s to 3,600 s, not {self.drive_seconds:g} s.")
        if not 1.0 <= self.token_seconds <= 30 * 86400.0:
            raise UsageError(f"A token is valid from 1 s to 30 days, not {self.token_seconds:g} s.")
        if not 1 <= self.at_once <= 500:
            raise UsageError(f"From 1 to 500 cars may connect at once, not {self.at_once}.")
        check_device_id(self.device(self.cars - 1))

    def device(self, index: int) -> str:
        """The id of the car with this number (from 0): `car-0001` is the first."""
        return f"{self.prefix}{index + 1:04}"

    @property
    def devices(self) -> list[str]:
        """All ids, in order."""
        return [self.device(index) for index in range(self.cars)]

    @property
    def most_in_flight(self) -> int:
        """How many messages of one car may wait for their acknowledgement: ten seconds' worth, 32 at least."""
        return max(32, math.ceil(10 * self.rate))

    def to_json(self) -> dict[str, Any]:
        """For another process; `Plan(**...)` reads it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Demand:
    """What a fleet asks of a hub on Azure, where messages are paid for. `seconds` None: until it is stopped."""

    cars: int
    rate: float
    seconds: float | None = None

    @classmethod
    def of(cls, plan: Plan, seconds: float | None = None) -> Self:
        """The demand of a plan."""
        return cls(plan.cars, plan.rate, seconds)

    @property
    def per_second(self) -> float:
        """Messages a second."""
        return self.cars * self.rate

    @property
    def per_day(self) -> int:
        """Messages a day, if the fleet drives all day."""
        return round(self.per_second * 86400)

    def text(self) -> str:
        """Two or three sentences for a person who is about to decide."""
        said = [f"{self.cars:,} cars at {self.rate:g} messages/s send {self.per_day:,} messages a day."]
        if self.seconds is not None:
            said.append(f"In {self.seconds:g} s it is {round(self.per_second * self.seconds):,}.")
        said.append(
            f"The free tier has {FREE_MESSAGES:,} a day and {FREE_DEVICES} devices, and is used up after "
            f"{_duration(FREE_MESSAGES / self.per_second)}; one S1 unit has {S1_MESSAGES:,}, for "
            f"{_duration(S1_MESSAGES / self.per_second)}."
        )
        return " ".join(said)


def check_open_files(cars: int) -> None:
    """See to it that this process may open a connection for each of `cars`.

    Raises the soft limit as far as the hard one allows; EnvironmentProblem where that is not enough.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = cars + _open_files() + _SPARE_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    most = needed if hard == resource.RLIM_INFINITY else min(hard, needed)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    except (OSError, ValueError):
        most = soft
    if most < needed:
        raise EnvironmentProblem(
            f"{cars:,} cars need about {needed:,} open files in one process, and {most:,} are allowed. Raise the "
            f"limit with 'ulimit -n {needed}' (root may raise the hard limit), take fewer cars, or spread them "
            "with --processes."
        )


def _open_files() -> int:
    try:
        return sum(1 for _ in Path("/dev/fd").iterdir())
    except OSError:
        return 32


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.3g} s"
