"""Seeded chance that gives the same digits on every machine.

numpy's PCG64 gives the same uniform numbers everywhere; what differs between machines is the last bit of
`log`, `exp`, `sin` (libm, SIMD). So normal numbers are sums of uniform ones here, and what needs a logarithm
is rounded to a thousandth before it is used. Leaves out: tails beyond six standard deviations.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

from numpy.random import PCG64, Generator, SeedSequence

if TYPE_CHECKING:
    from collections.abc import Sequence

Choice = TypeVar("Choice")


class Chance:
    """One stream of random numbers: `Chance(seed, 0)` and `Chance(seed, 1)` are independent of each other."""

    def __init__(self, seed: int, stream: int = 0) -> None:
        self._generator = Generator(PCG64(SeedSequence(seed, spawn_key=(stream,))))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A number in [low, high)."""
        return low + (high - low) * float(self._generator.random())

    def uniforms(self, count: int) -> list[float]:
        """`count` numbers in [0, 1)."""
        numbers: list[float] = self._generator.random(count).tolist()
        return numbers

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.uniform() < probability

    def pick(self, choices: Sequence[tuple[Choice, float]]) -> Choice:
        """One of the choices, each given with its weight."""
        left = self.uniform(0.0, sum(weight for _, weight in choices))
        for choice, weight in choices:
            left -= weight
            if left < 0:
                return choice
        return choices[-1][0]

    def gamma(self, shape: int, mean: float) -> float:
        """A gamma number of whole shape (Erlang), rounded to a thousandth so that no libm shows."""
        product = 1.0
        for _ in range(shape):
            product *= 1.0 - self.uniform()
        return round(-math.log(product) * mean / shape, 3)

    def normals(self, count: int) -> list[float]:
        """`count` normal numbers of mean 0 and deviation 1: twelve uniform ones less six."""
        total = self._generator.random(count)
        for _ in range(11):
            total = total + self._generator.random(count)
        numbers: list[float] = (total - 6.0).tolist()
        return numbers

    def wander(self, count: int, steps: float) -> list[float]:
        """`count` numbers of mean 0, deviation 1, that forget themselves in about `steps` steps (AR 1)."""
        keep = 1.0 - 1.0 / steps
        renew = math.sqrt(1.0 - keep * keep)
        first, *noise = self.normals(count + 1)
        value = first
        path = []
        for each in noise:
            value = keep * value + renew * each
            path.append(value)
        return path
