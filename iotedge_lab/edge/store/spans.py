"""A set of whole numbers that are mostly neighbours, kept as spans: a drained backlog costs two numbers."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Spans:
    """Spans in ascending order, ends included, with a gap between any two."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def add(self, first: int, last: int | None = None) -> None:
        """Add one number, or all from `first` to `last`."""
        last = first if last is None else last
        low = bisect_left(self._lasts, first - 1)  # the first span that ends at our left neighbour or later
        high = bisect_right(
            self._firsts, last + 1
        )  # and after the last one that begins at our right neighbour
        if low < high:
            first = min(first, self._firsts[low])
            last = max(last, self._lasts[high - 1])
        self._firsts[low:high] = [first]
        self._lasts[low:high] = [last]

    def cut(self, first: int, last: int) -> None:
        """Take all from `first` to `last` out."""
        low = bisect_left(self._lasts, first)
        high = bisect_right(self._firsts, last)
        if low >= high:
            return
        kept = [(self._firsts[low], first - 1), (last + 1, self._lasts[high - 1])]
        kept = [(one, other) for one, other in kept if one <= other]
        self._firsts[low:high] = [one for one, _ in kept]
        self._lasts[low:high] = [other for _, other in kept]

    def past(self, number: int) -> int:
        """The first number from `number` on that is not in here."""
        at = bisect_right(self._firsts, number) - 1
        return self._lasts[at] + 1 if at >= 0 and number <= self._lasts[at] else number

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._firsts, number) - 1
        return at >= 0 and number <= self._lasts[at]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._firsts, self._lasts, strict=True)

    def __len__(self) -> int:
        """How many spans there are."""
        return len(self._firsts)
