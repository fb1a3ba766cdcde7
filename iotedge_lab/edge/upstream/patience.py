"""How long the link to the hub waits for what, and when it comes again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_DOUBLINGS: Final = 16  # far beyond the longest delay; keeps the power small


@dataclass(frozen=True, slots=True)
class Patience:
    """Times in seconds. The defaults are for a hub on Azure; a test has shorter ones.

    A lost connection is made again after `first_delay`, which doubles up to `longest_delay`, each with a jitter of
    a quarter. A connection that held for `steady` has the delay begin anew: two runtimes with one identity throw
    each other out, and shall not do so at full speed. An identity that the hub refuses is tried every
    `refused_delay`, as it may be enabled again.

    A token lives `token_seconds`. From `renew_from` of its life on it is renewed when nothing is under way, at
    `renew_by` in any case.
    """

    connect: float = 15.0
    """from the first packet to CONNACK"""
    answer: float = 30.0
    """for the hub's answer to a twin request"""
    call: float = 15.0
    """for a REST call, all in all"""
    first_delay: float = 1.0
    longest_delay: float = 30.0
    refused_delay: float = 30.0
    steady: float = 10.0
    keep_alive: int = 60
    """what CONNECT says, as the SDKs have it; the hub gives up after 1.5 times as long"""
    ping_after: float = 30.0
    """of hearing or writing nothing"""
    silence: float = 30.0
    """without a word after a PINGREQ, and the connection is given up"""
    drain: float = 3.0
    """for acknowledgements that are due, before a connection is closed on purpose"""
    token_seconds: float = 3600.0
    renew_from: float = 0.8
    renew_by: float = 0.92
    tick: float = 1.0
    """between looks at all of this"""

    def delay(self, failures: int, chance: float) -> float:
        """Before the next attempt, after `failures` in a row. `chance` is drawn from 0 to 1."""
        doubled = self.first_delay * 2.0 ** min(max(failures - 1, 0), _DOUBLINGS)
        return self._jittered(min(doubled, self.longest_delay), chance)

    def refused(self, chance: float) -> float:
        """Before the next attempt of an identity that was refused."""
        return self._jittered(self.refused_delay, chance)

    @staticmethod
    def _jittered(delay: float, chance: float) -> float:
        return delay * (0.75 + 0.5 * chance)
