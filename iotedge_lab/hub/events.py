"""Reading the log: chunks become events, one message each, with their properties.

Stands for what a consumer of the built-in endpoint receives (learn.microsoft.com, IoT Hub,
iot-hub-devguide-messages-read-builtin): system properties, application properties, body, and who sent it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from iotedge_lab.wire.mqtt.runs import iter_publishes
from iotedge_lab.wire.topics import parse_telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from iotedge_lab.hub.log import Chunk, Log, Source

# How a chunk's raw bytes are to be read.
MQTT_PUBLISHES: Final = 0  # complete MQTT PUBLISH packets, one after another
HUB_EVENT: Final = 1  # one event of the hub's own: length of a JSON header (4 bytes), header, body
_TOPICS_KEPT = 512


@dataclass(frozen=True, slots=True)
class Event:
    """One device-to-cloud message. `enqueued` is in ms since 1970; `system` has the names of IoT Hub."""

    seq: int
    enqueued: int
    source: Source
    system: Mapping[str, str]
    properties: Mapping[str, str]
    body: bytes

    @property
    def offset(self) -> str:
        """The opaque mark that a consumer may start from."""
        return str(self.seq)


class _TopicCache:
    """Topics repeat from message to message: parse each once."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[Mapping[str, str], Mapping[str, str]]] = {}

    def __call__(self, topic: bytes) -> tuple[Mapping[str, str], Mapping[str, str]]:
        found = self._known.get(topic)
        if found is None:
            parsed = parse_telemetry(topic)
            found = (parsed.system, {name: value or "" for name, value in parsed.properties.items()})
            if len(self._known) >= _TOPICS_KEPT:
                self._known.clear()
            self._known[topic] = found
        return found


def encode_hub_event(system: Mapping[str, str], properties: Mapping[str, str], body: bytes) -> bytes:
    """A chunk of `HUB_EVENT`: what the hub itself has to say of an identity, as `iothub-message-source` tells."""
    header = json.dumps([dict(system), dict(properties)]).encode()
    return len(header).to_bytes(4, "big") + header + body


def decode_hub_event(raw: bytes) -> tuple[dict[str, str], dict[str, str], bytes]:
    """System properties, application properties and body of a chunk of `HUB_EVENT`."""
    end = 4 + int.from_bytes(raw[:4], "big")
    system, properties = json.loads(raw[4:end])
    return system, properties, raw[end:]


def events_of(chunk: Chunk, topics: _TopicCache | None = None) -> Iterator[Event]:
    """The messages of a chunk, in order."""
    if chunk.format == HUB_EVENT:
        yield Event(chunk.first_seq, chunk.enqueued, chunk.source, *decode_hub_event(chunk.raw))
        return
    parse = topics or _TopicCache()
    seq = chunk.first_seq
    for topic, body, _ in iter_publishes(chunk.raw):
        system, properties = parse(topic)
        yield Event(seq, chunk.enqueued, chunk.source, system, properties, body)
        seq += 1


class Cursor:
    """A place in a partition that moves forward as events are taken."""

    def __init__(self, log: Log, partition: int, seq: int) -> None:
        self._log = log
        self.partition = partition
        self.seq = seq
        self._chunks: list[Chunk] = []
        self._events: Iterator[Event] = iter(())
        self._topics = _TopicCache()

    def take(self, most: int) -> list[Event]:
        """Up to `most` events from here on; fewer, or none, at the end of the log."""
        taken: list[Event] = []
        while len(taken) < most:
            taken.extend(islice(self._events, most - len(taken)))
            if len(taken) == most:
                break
            if not self._chunks:
                following = taken[-1].seq + 1 if taken else self.seq
                if following >= self._log.next_seq(self.partition):
                    break
                self._chunks = self._log.read(self.partition, following)
                if not self._chunks:
                    break
            chunk = self._chunks.pop(0)
            self._events = events_of(chunk, self._topics)
            first = taken[-1].seq + 1 if taken else self.seq
            for _ in range(first - chunk.first_seq):
                next(self._events, None)
        if taken:
            self.seq = taken[-1].seq + 1
        return taken
