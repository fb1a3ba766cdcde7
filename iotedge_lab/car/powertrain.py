"""The engine, the torque converter and the eight-speed gearbox: a wanted force becomes throttle and rpm.

The ratios are those that the recording shows (rpm per mph, gear by gear): a ZF 8HP's, 4.714 down to 0.667,
times 41.8. `SIX_SPEED` is what another car has. Leaves out: turbo lag, temperature, clutch control while parking.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from iotedge_lab.car.units import MPS_PER_MPH
from iotedge_lab.errors import UsageError

RPM_PER_MPH: Final = (197.0, 131.4, 88.0, 69.7, 53.7, 41.8, 35.1, 27.9)
"""Engine rpm for one mile an hour, first to eighth gear."""
GEARS: Final = len(RPM_PER_MPH)
IDLE_RPM: Final = 665.0
IDLE_THROTTLE: Final = 4.0  # per cent; more than any idling needs
EFFICIENCY: Final = 0.92  # of gearbox and axle

# Full-throttle torque (rpm, N m): a turbocharged six; linear between the points.
FULL_TORQUE: Final = (
    (500.0, 130.0), (1000.0, 220.0), (1700.0, 360.0), (4500.0, 370.0), (5800.0, 320.0), (7000.0, 200.0)
)  # fmt: skip

_SHIFT_TIME: Final = 0.25  # s until the rpm have followed a change of gear
_HOLD_TIME: Final = 1.3  # s that a gear is kept at least
_CONVERTER_LOCK: Final = 9.0  # m/s from which the converter no longer slips
_CONVERTER_RPM: Final = 46.0  # rpm of slip at standstill for each per cent of throttle


@dataclass(frozen=True, slots=True)
class Gearbox:
    """An automatic gearbox with its axle: the engine's rpm for one mile an hour, gear by gear, falling."""

    name: str
    rpm_per_mph: tuple[float, ...]

    def __post_init__(self) -> None:
        falling = all(low > high for low, high in pairwise(self.rpm_per_mph))
        if (
            not self.rpm_per_mph
            or not falling
            or not 5.0 <= self.rpm_per_mph[-1] <= self.rpm_per_mph[0] <= 500.0
        ):
            raise UsageError(
                f"A gearbox has at least one gear, from 500 down to 5 rpm for each mph, each with fewer than the one "
                f"before: not {self.rpm_per_mph}."
            )


EIGHT_SPEED: Final = Gearbox("eight-speed", RPM_PER_MPH)
"""The recording's: with it every shipped drive is made."""
SIX_SPEED: Final = Gearbox("six-speed", (275.3, 154.4, 100.4, 75.4, 57.2, 45.6))
"""A ZF 6HP's ratios, 4.171 down to 0.691, times 66: a short axle, and fewer gears with wider steps."""

FOUR_SPEED: Final = Gearbox("four-speed", (249.6, 152.9, 104.0, 69.7))
"""Ford's AOD, 2.40 down to 0.67, times 104: a delivery van's axle. At 45 mph it turns more than twice as fast."""


def full_torque(rpm: float) -> float:
    """The torque in N m that the engine gives at this speed with the throttle wide open."""
    below, low = FULL_TORQUE[0]
    if rpm <= below:
        return low
    for above, high in FULL_TORQUE[1:]:
        if rpm <= above:
            return low + (high - low) * (rpm - below) / (above - below)
        below, low = above, high
    return low


def drag_torque(rpm: float) -> float:
    """The torque in N m that the closed engine takes (friction and pumping)."""
    return 14.0 + 0.009 * rpm


def _pedal(share: float) -> float:
    """The throttle in per cent that gives this share of the full torque: share = p (1.5 - p / 2), p in 0..1."""
    return 100.0 * (1.5 - math.sqrt(max(0.0, 2.25 - 2.0 * share)))


class Powertrain:
    """State of the engine and the gearbox; `step` moves it on.

    `throttle` in per cent, `rpm`, `gear` from 1 on; `eagerness` from 0 to 1 puts off shifting up, as the box does
    for a driver in a hurry.
    """

    __slots__ = (
        "_newton_per_nm",
        "_ratios",
        "_rpm_per_mps",
        "_since_shift",
        "eagerness",
        "gear",
        "rpm",
        "throttle",
    )

    def __init__(self, eagerness: float = 0.5, gearbox: Gearbox = EIGHT_SPEED) -> None:
        self._ratios = gearbox.rpm_per_mph
        self._rpm_per_mps = tuple(each / MPS_PER_MPH for each in gearbox.rpm_per_mph)
        self._newton_per_nm = tuple(each * 2.0 * math.pi / 60.0 for each in self._rpm_per_mps)
        self.gear = 1
        self.rpm = IDLE_RPM
        self.throttle = 0.0
        self.eagerness = eagerness
        self._since_shift = _HOLD_TIME

    def step(self, speed: float, force: float, idle_throttle: float, dt: float) -> float:
        """Move on by `dt` seconds at `speed` (m/s) with `force` (N) wanted at the wheels.

        Returns the force that the engine gives (N): what was wanted as far as the torque reaches, and no less
        than its drag. What is missing below that is the brakes' part. `idle_throttle` (per cent) is what the
        engine needs to idle at a standstill, for the compressor and the alternator.
        """
        self._since_shift += dt
        self._choose_gear(speed)
        index = self.gear - 1
        line = speed * self._rpm_per_mps[index]
        slip_share = max(0.0, 1.0 - speed / _CONVERTER_LOCK)
        # What the throttle gives beyond idling spins the converter up.
        slip = _CONVERTER_RPM * max(0.0, self.throttle - IDLE_THROTTLE) * slip_share
        target = max(IDLE_RPM + slip, line + 0.25 * slip)
        lag = _SHIFT_TIME if self._since_shift < 4.0 * _SHIFT_TIME else 0.12
        self.rpm += (target - self.rpm) * dt / (lag + dt)
        # A slipping converter multiplies torque, up to 1.5 times at a standstill.
        boost = 1.0 + 0.5 * max(0.0, 1.0 - line / self.rpm) * slip_share
        leverage = self._newton_per_nm[index] * EFFICIENCY * boost
        most = full_torque(self.rpm)
        least = -drag_torque(self.rpm) if line > IDLE_RPM else 0.0
        wanted = force / leverage
        torque = min(most, max(least, wanted))
        pedal = _pedal(max(0.0, torque) / most)
        if speed < 0.3 and force <= 0.0:
            pedal = idle_throttle
        # The plate follows the pedal in a tenth of a second; a closed pedal closes it at once.
        if pedal <= 0.0:
            self.throttle = 0.0
        else:
            self.throttle += (pedal - self.throttle) * dt / (0.1 + dt)
        return torque * leverage

    def _choose_gear(self, speed: float) -> None:
        """Shift up at rpm that rise with the throttle; down well below where the lower gear was left."""
        if self._since_shift < _HOLD_TIME:
            return
        index = self.gear - 1
        line = speed * self._rpm_per_mps[index]
        up = self._up_rpm(index)
        if self.gear < len(self._ratios) and line > up:
            self.gear += 1
            self._since_shift = 0.0
        elif self.gear > 1:
            # Below this speed the lower gear would not be left again at once: no hunting.
            back = self._up_rpm(index - 1) * self._ratios[index] / self._ratios[index - 1]
            if line < min(0.86 * back, 0.8 * up):
                self.gear -= 1
                self._since_shift = 0.0

    def _up_rpm(self, index: int) -> float:
        """The rpm at which the gear `index` + 1 is left upwards."""
        base = 1060.0 + 25.0 * index + 480.0 * self.eagerness
        return base + 33.0 * self.throttle
