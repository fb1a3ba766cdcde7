"""How long acknowledgements take, counted in classes that grow by 2 %: small, quick, and easy to add up.

A percentile read from it is the upper bound of its class, so it overstates by 2 % at most and never
understates. Leaves out: which message took how long.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

_LEAST: Final = 1e-5  # s; all that is quicker falls into the first class
_GROWTH: Final = 1.02
_CLASSES: Final = 1000  # the last begins at about an hour
_SCALE: Final = 1.0 / math.log(_GROWTH)


class Latencies:
    """Durations: how many of each class (`counts`, quickest first), and the `longest` in seconds."""

    __slots__ = ("counts", "longest")

    def __init__(self) -> None:
        self.counts = [0] * _CLASSES
        self.longest = 0.0

    def __len__(self) -> int:
        return sum(self.counts)

    def __repr__(self) -> str:
        return f"<Latencies of {len(self):,}, longest {self.longest * 1e3:.1f} ms>"

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.longest = max(self.longest, seconds)
        at = int(math.log(seconds / _LEAST) * _SCALE) + 1 if seconds > _LEAST else 0
        self.counts[min(at, _CLASSES - 1)] += 1

    def percentile(self, share: float) -> float | None:
        """The duration in seconds that `share` (0 to 1) of all do not exceed; None where there is none."""
        total = len(self)
        if not total:
            return None
        wanted, seen = max(1, math.ceil(share * total)), 0
        for at, count in enumerate(self.counts):
            seen += count
            if seen >= wanted:
                return min(_LEAST * _GROWTH**at, self.longest)
        raise AssertionError("unreachable: the counts add up to the total")

    def copy(self) -> Self:
        """The same counts, which later additions do not change."""
        made = type(self)()
        made.counts = self.counts.copy()
        made.longest = self.longest
        return made

    def since(self, before: Latencies) -> Self:
        """What was added after `before`, a copy of this one; `longest` stays that of all."""
        made = self.copy()
        made.counts = [now - then for now, then in zip(self.counts, before.counts, strict=True)]
        return made

    @classmethod
    def merged(cls, parts: Iterable[Latencies]) -> Self:
        """All parts together."""
        made = cls()
        for part in parts:
            made.counts = [one + two for one, two in zip(made.counts, part.counts, strict=True)]
            made.longest = max(made.longest, part.longest)
        return made

    def to_json(self) -> dict[str, object]:
        """For another process: only the classes that hold something."""
        counts = [[at, count] for at, count in enumerate(self.counts) if count]
        return {"counts": counts, "longest": self.longest}

    @classmethod
    def from_json(cls, told: dict[str, object]) -> Self:
        """What `to_json` gave."""
        made = cls()
        counts, longest = told["counts"], told["longest"]
        assert isinstance(counts, list)
        assert isinstance(longest, int | float)
        for at, count in counts:
            made.counts[at] = count
        made.longest = float(longest)
        return made
