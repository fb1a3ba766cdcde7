"""A frame on the bus at its moment, and how it becomes python-can's message."""

from __future__ import annotations

from typing import NamedTuple

import can


class Frame(NamedTuple):
    """`time` in seconds since the trip (or the log) began; `data` of 0 to 8 bytes."""

    time: float
    arbitration_id: int
    data: bytes
    extended: bool = False
    """whether the identifier has 29 bits"""

    def message(self, timestamp: float) -> can.Message:
        """The frame as python-can sends it, stamped with seconds since 1970."""
        return can.Message(
            timestamp=timestamp,
            arbitration_id=self.arbitration_id,
            is_extended_id=self.extended,
            data=self.data,
        )

    @classmethod
    def of(cls, message: can.Message, time: float) -> Frame:
        """A received message as a frame at this time."""
        return cls(time, message.arbitration_id, bytes(message.data), message.is_extended_id)
