"""How old a message is, on a machine whose clock is set anew.

Time to live is a matter of the wall clock, because it goes on while the runtime is down. A small machine may start
in 1970 and learn the date a minute later; by the wall clock alone everything that waits would then be fifty years
old, and dropped. So ages are counted on a time of their own, the wall clock without its steps:

- The clock is set forward or back while the runtime runs: told by the monotonic clock, which does not step. All
  that waits keeps its age, and the rest of its life; its times move with the clock. A change of less than
  `STEP` seconds is taken as the clock's being slewed, and counts.
- The machine sleeps: on Linux the monotonic clock sleeps with it, so this looks like a step, and the sleep
  does not count.
- The clock is back, at the next start, before the time of the last message that waits: it was set back, or lost.
  Ages go on from that last message. A still later start may find the clock right again: of the two ways to read
  it, with the steps that are known and without, the one counts that makes less time pass.
- The clock is forward at the next start: nothing tells a step from a long time out of power, so it counts as time.
  What is over is dropped, counted and logged.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from iotedge_lab.clock import Clock

log = logging.getLogger(__name__)

STEP: Final = 5.0


class SteadyTime:
    """The wall clock without its steps. `shift` is what they come to; it is kept with what was stamped.

    `steps` counts them: what was turned into wall time before one is not right after it.
    """

    def __init__(self, clock: Clock, shift: float = 0.0) -> None:
        self._clock = clock
        self._offset = clock.now() - clock.monotonic()
        self.shift = shift
        self.unsaved = False
        self.steps = 0

    def now(self) -> float:
        """Seconds; those between two calls are true ones, give or take `STEP`."""
        wall = self._clock.now()
        offset = wall - self._clock.monotonic()
        jump = offset - self._offset
        self._offset = offset
        if abs(jump) >= STEP:
            self._step(jump)
            log.warning(
                "the clock was set %s by %.0f s; the ages of waiting messages do not change",
                "forward" if jump > 0 else "back",
                abs(jump),
            )
        return wall - self.shift

    def resume(self, last: float) -> None:
        """At a start: go on after `last`, the time of the last message that waits (-inf where none does)."""
        wall = self._clock.now()
        fitting = [shift for shift in (self.shift, 0.0) if wall - shift >= last]
        change = (max(fitting) if fitting else wall - last) - self.shift
        if math.isinf(last):
            change = -self.shift  # nobody's age depends on it: begin anew
        if change:
            self._step(change)
        if not fitting and abs(change) >= STEP:
            log.warning(
                "the clock is %.0f s behind the last message that waits; ages are counted from there on",
                -change,
            )

    def wall(self, steady: float) -> float:
        """What the wall clock, as it goes now, showed at that time."""
        return steady + self.shift

    def _step(self, seconds: float) -> None:
        self.shift += seconds
        self.steps += 1
        self.unsaved = True
