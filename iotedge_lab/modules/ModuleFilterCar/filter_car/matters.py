"""Which predictions are sent, and what that saves.

A prediction that is right tells the hub nothing that its model does not know already. `threshold` lets through what is
further off, `everyNth` one of so many rows of a drive, so that somebody sees that all is well. While a challenger runs
beside the champion, rows are not chosen by the champion's error: that would show the one its worst side and not the
other. Then `everyNth` counts alone, and where it is unset every row is sent.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from filter_car.serving import Answer
    from filter_car.settings import Settings

CARS: Final = 64


class Choice:
    """Which answers are sent; counts the rows of each car."""

    def __init__(self) -> None:
        self._counts: OrderedDict[tuple[str, str], int] = OrderedDict()

    def sends(self, answer: Answer, settings: Settings) -> bool:
        """Whether this one is. To be asked once for each answer, in their order."""
        car = answer.arrival.car
        count = self._counts.get(car, 0)
        self._counts[car] = count + 1
        self._counts.move_to_end(car)
        if len(self._counts) > CARS:
            self._counts.popitem(last=False)
        threshold = None if answer.challenger_version else settings.threshold
        if threshold is None and settings.every_nth is None:
            return True
        if threshold is not None and abs(answer.error) > threshold:
            return True
        return settings.every_nth is not None and count % settings.every_nth == 0


@dataclass(slots=True)
class Counters:
    """What came and what went, in messages and bytes (bodies and properties); `health` tells them."""

    rows: int = 0
    dropped: int = 0
    """rows whose prediction was not sent, as it told nothing new"""
    unreadable: int = 0
    errors: int = 0
    """rows for which the model had no number"""
    repeated: int = 0
    """messages that came twice"""
    bytes_in: int = 0

    def told(self, sent: int, bytes_sent: int) -> dict[str, Any]:
        """By their reported names; sent: messages that were acknowledged, and their bytes."""
        return {
            "rows": self.rows,
            "sent": sent,
            "dropped": self.dropped,
            "unreadable": self.unreadable,
            "errors": self.errors,
            "duplicates": self.repeated,
            "bytesIn": self.bytes_in,
            "bytesSent": bytes_sent,
            "savedMessages": self.dropped,
            "savedBytes": self.bytes_in - bytes_sent,
        }
