"""How a version is rolled out, and what came of it."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from iotedge_lab.errors import UsageError
from iotedge_lab.rollout.compare import Rule

if TYPE_CHECKING:
    from iotedge_lab.rollout.compare import Verdict
    from iotedge_lab.rollout.release import EdgeState, Release

Stage = Literal["published", "shadow", "canary", "fleet", "promoted", "rolled back"]
Result = Literal["promoted", "rolled back"]


@dataclass(frozen=True, slots=True)
class Plan:
    """From the shadow to the fleet. Times are in seconds."""

    canary: float | None = 0.25
    """the share of the fleet that tries it first; None: the edges whose modules are tagged `ring: canary` already"""
    rule: Rule = field(default_factory=Rule)
    """when the challenger has won"""
    canary_rows: int = 100
    """predictions of the new version that must come from the canaries before the fleet gets it"""
    arrival: float = 120.0
    """until the edges that are connected run what they were given; on Azure, where configurations are worked through
    every five minutes, give 600"""
    comparing: float = 900.0
    """until there is a verdict; without one the champion stays"""

    def __post_init__(self) -> None:
        if self.canary is not None and not 0.0 < self.canary <= 1.0:
            raise UsageError(f"The canary share lies above 0 and up to 1, or is None; it is {self.canary}.")
        if self.canary_rows < 0 or self.arrival <= 0.0 or self.comparing <= 0.0:
            raise UsageError("`canary_rows` is 0 or more, and `arrival` and `comparing` are seconds above 0.")


@dataclass(frozen=True, slots=True)
class Step:
    """Something that a rollout has done or seen."""

    time: float
    """seconds since 1970"""
    stage: Stage
    text: str

    def __str__(self) -> str:
        return f"{self.stage}: {self.text}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a rollout ended."""

    release: Release
    result: Result
    reason: str
    edges: tuple[EdgeState, ...] = field(repr=False)
    """as they were at the end"""
    waiting: tuple[str, ...]
    """edges that were not connected, and get what holds for them when they come back"""
    verdict: Verdict | None = field(default=None, repr=False)
    steps: tuple[Step, ...] = field(default=(), repr=False)
    seconds: float = 0.0

    @property
    def promoted(self) -> bool:
        """Whether the fleet has it."""
        return self.result == "promoted"

    def __repr__(self) -> str:
        return f"Outcome({self.release} {self.result}: {self.reason})"

    def _repr_html_(self) -> str:
        steps = "".join(f"<li>{html.escape(str(each))}</li>" for each in self.steps)
        return f"<p>{html.escape(f'{self.release} {self.result}: {self.reason}')}</p><ol>{steps}</ol>"
