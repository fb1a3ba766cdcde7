"""What a check says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """How much it matters."""

    OK = "OK"
    """As it should be."""
    WARN = "WARN"
    """Something does not work or soon will not; the rest does."""
    FAIL = "FAIL"
    """The lab does not work until this is mended."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`name`: what was examined. `said`: what was found. `fix`: what to do, a command where one does it."""

    name: str
    level: Level
    said: str
    fix: str = ""

    def to_json(self) -> dict[str, str]:
        """As one object of `iotedge-lab doctor --json`."""
        return {"name": self.name, "level": self.level.value, "said": self.said, "fix": self.fix}


def ok(name: str, said: str) -> Finding:
    """A finding that asks for nothing."""
    return Finding(name, Level.OK, said)


def warn(name: str, said: str, fix: str) -> Finding:
    """A finding that leaves a part out of action."""
    return Finding(name, Level.WARN, said, fix)


def fail(name: str, said: str, fix: str) -> Finding:
    """A finding that stops the lab."""
    return Finding(name, Level.FAIL, said, fix)
