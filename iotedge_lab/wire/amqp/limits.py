"""What one connection may hold: the bounds of memory and of ids."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a connection; sizes in bytes.

    `max_frame_size`, `channel_max`, `handle_max` and `max_message_size` are told to the peer.
    `incoming_window` is the number of transfer frames that a session may get before it hears of us again.
    `max_unsettled` bounds the unsettled deliveries that a session remembers, each direction; a sender's
    credit counts as used up while it is reached. `max_partial_bytes` bounds all messages of the connection
    that have begun and not ended. `first_id` is where delivery and transfer ids begin.
    """

    max_frame_size: int = 65536
    channel_max: int = 255
    handle_max: int = 1023
    incoming_window: int = 5000
    max_message_size: int = 1024 * 1024
    max_unsettled: int = 20_000
    max_partial_bytes: int = 16 * 1024 * 1024
    first_id: int = 0
