"""What arrives at the built-in endpoint, in a line: who sent it, and what it says.

Stands for the output of VS Code's Azure IoT Hub extension, without its clock: the blog's
`Message received from [device/EchoModule]: "..."`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iotedge_lab.event_text import ShownEvent, readable
from iotedge_lab.show.documents import Document

if TYPE_CHECKING:
    from azure.eventhub import EventData


def sender(event: EventData) -> str:
    """Who sent an event: `device`, or `device/module`. The hub wrote it there."""
    return ShownEvent.of("", event).sender


def line(event: EventData) -> Document:
    """An event in a line; a text stands in quotes, JSON as it is, other bytes as base64."""
    shown = ShownEvent.of("", event)
    kind, value = readable(shown.body)
    body = shown.body.decode() if kind == "json" else f'"{value}"' if kind == "text" else f"{value} (base64)"
    return Document(f"Message received from [{shown.sender}]: {body}")
