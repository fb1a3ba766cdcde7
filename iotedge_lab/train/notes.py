"""What training did to its input, told twice: as a warning now, and as a note that stays with the result."""

from __future__ import annotations

import sys
import warnings

__all__ = ["Notes", "TrainWarning"]


class TrainWarning(UserWarning):
    """Something about the data or the search was not as it should be, and was dealt with as it says."""


class Notes:
    """Collects what was done; each entry is warned of where it happens."""

    def __init__(self) -> None:
        self.entries: list[str] = []

    def add(self, text: str) -> None:
        """Warn of it, for the line that called into this package, and keep it."""
        self.entries.append(text)
        level, frame = 1, sys._getframe()  # noqa: SLF001 - as `warnings` itself does
        while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith("iotedge_lab"):
            level, frame = level + 1, frame.f_back
        warnings.warn(text, TrainWarning, stacklevel=level)
