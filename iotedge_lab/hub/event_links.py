"""Receivers on the built-in endpoint: a link reads one partition for one consumer group.

Stands for the consumers of an Event Hub (learn.microsoft.com, event-hubs, event-hubs-features): start by
offset, sequence number or time; at most five readers a partition and group; a reader with an epoch is alone,
and one with a higher epoch takes over (`amqp:link:stolen`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from iotedge_lab.hub.events import Cursor, Event
from iotedge_lab.wire.amqp import conditions
from iotedge_lab.wire.amqp.codec import encode_value
from iotedge_lab.wire.amqp.composite import encode_composite
from iotedge_lab.wire.amqp.link import SND_SETTLED
from iotedge_lab.wire.amqp.message import EventEncoder
from iotedge_lab.wire.amqp.performatives import Error, Properties
from iotedge_lab.wire.amqp.types import Described, Symbol, Timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from iotedge_lab.hub.amqp_front import AmqpFront
    from iotedge_lab.hub.hub import Hub
    from iotedge_lab.hub.log import Source

READERS = 5  # without an epoch, a partition and group
_TURN = 256  # events a link sends before others have their turn
_SELECTOR = "apache.org:selector-filter:string"
_POSITION = re.compile(
    r"\s*amqp\.annotation\.x-opt-(offset|sequence-number|enqueued-time)\s*(>=|>)\s*'([^']*)'\s*"
)
_PATH = re.compile(
    r"/?(?P<hub>.+?)/ConsumerGroups/(?P<group>[^/]+)/Partitions/(?P<partition>[^/]+)/?", re.IGNORECASE
)
_METRICS = "com.microsoft:enable-receiver-runtime-metric"
# System properties that AMQP has a field for (part 3, 3.2.4); the others become message annotations.
_FIELDS = {
    "message-id": "message_id",
    "correlation-id": "correlation_id",
    "user-id": "user_id",
    "content-type": "content_type",
    "content-encoding": "content_encoding",
    "to": "to",
}


@dataclass(frozen=True, slots=True)
class Place:
    """A partition as one consumer group sees it."""

    group: str
    partition: int

    def path(self, events_name: str) -> str:
        """Its address at the built-in endpoint."""
        return f"{events_name}/ConsumerGroups/{self.group}/Partitions/{self.partition}"


def parse_address(hub: Hub, address: str) -> Place:
    """`{name}/ConsumerGroups/{group}/Partitions/{n}`; raises `LookupError` with a word for what is not there."""
    path = address.partition("://")[2].partition("/")[2] if "://" in address else address
    match = _PATH.fullmatch(path)
    if match is None:
        raise LookupError(f"nothing to read at {address!r}")
    if match["hub"].strip("/").lower() != hub.events_name.lower():
        raise LookupError(
            f"there is no event hub {match['hub']!r}; the built-in endpoint is {hub.events_name!r}"
        )
    group = hub.consumer_group(match["group"])
    if group is None:
        raise LookupError(
            f"there is no consumer group {match['group']!r}; there are {', '.join(hub.consumer_groups())}. "
            "Make one with 'iotedge-lab consumer-group create'."
        )
    number = match["partition"]
    if not (number.isascii() and number.isdigit() and int(number[:9]) < hub.log.partitions):
        raise LookupError(f"there is no partition {number[:20]!r}; there are 0 to {hub.log.partitions - 1}")
    return Place(group, int(number))


def start_position(hub: Hub, partition: int, filters: Mapping[Any, Any]) -> int:
    """The first sequence number that a link's filter asks for; raises `ValueError` for a filter of another kind."""
    selector = next((value for name, value in filters.items() if str(name) == _SELECTOR), None)
    if isinstance(selector, Described):
        selector = selector.value
    begin, end = hub.log.info(partition).begin_seq, hub.log.next_seq(partition)
    if selector is None:
        return begin
    match = _POSITION.fullmatch(selector) if isinstance(selector, str) else None
    if match is None:
        raise ValueError(
            f"the filter {str(selector)[:120]!r} is not one of offset, sequence-number, enqueued-time"
        )
    kind, operator, value = match.groups()
    if value == "@latest":
        return end
    try:
        number = int(value)
    except ValueError:
        raise ValueError(f"the filter compares {kind} with {value[:40]!r}, which is no number") from None
    after = operator == ">"
    if kind == "enqueued-time":
        return hub.log.first_seq_enqueued(partition, number, after=after)
    return max(number + after, begin)


class EventLink:
    """One reader: from a place in the log to an AMQP link with credit."""

    def __init__(self, front: AmqpFront, link: Any, place: Place) -> None:
        self._front = front
        self._link = link
        # Reading takes nothing away, so there is nothing to settle. azure-eventhub asks for unsettled
        # deliveries and then settles none: they would pile up until the link stands still.
        link.snd_settle_mode = SND_SETTLED
        self.place = place
        self.path = place.path(front.hub.events_name)
        self._cursor = Cursor(
            front.hub.log, place.partition, start_position(front.hub, place.partition, link.filters)
        )
        epoch = link.properties.get(Symbol("com.microsoft:epoch"))
        if epoch is not None and not isinstance(epoch, int):
            raise ValueError(f"com.microsoft:epoch is a number, not {str(epoch)[:40]!r}")
        self.epoch = epoch
        self._metrics = _METRICS in {str(one) for one in link.desired_capabilities}
        self._deaf = front.hub.log.listen(place.partition, self.pump)
        self._closed = False
        self._scheduled = False
        self._encoder: tuple[tuple[Source, int, tuple[tuple[str, str], ...]], EventEncoder] | None = None
        self._properties: dict[tuple[tuple[str, str], ...], tuple[bytes | None, dict[str, str]]] = {}

    def claim(self) -> bool:
        """Take the place among its readers; False, with the link refused, if another's epoch forbids it."""
        readers = self._front.hub.readers.setdefault((self.place.group, self.place.partition), set())
        ruling = max((reader.epoch for reader in readers if reader.epoch is not None), default=None)
        if ruling is not None and (self.epoch is None or self.epoch < ruling):
            self._refuse(
                conditions.LINK_STOLEN,
                f"a receiver with the higher epoch {ruling} reads this partition; "
                f"epoch {'none' if self.epoch is None else self.epoch} cannot",
            )
            return False
        if self.epoch is None and len(readers) >= READERS:
            self._refuse(
                conditions.RESOURCE_LIMIT_EXCEEDED,
                f"{READERS} receivers read partition {self.place.partition} in {self.place.group!r} already, the "
                "most there may be; close one, or use another consumer group",
            )
            return False
        if self.epoch is not None:
            for reader in tuple(readers):
                reader.end(
                    conditions.LINK_STOLEN,
                    f"New receiver with higher epoch of '{self.epoch}' is created hence current receiver is getting "
                    "disconnected.",
                )
        readers.add(self)
        return True

    def _refuse(self, condition: str, description: str) -> None:
        self.close()
        self._link.refuse(condition, description)

    def end(self, condition: str, description: str) -> None:
        """Detach the link with an error."""
        self.close()
        self._link.detach(error=Error(Symbol(condition), description))
        self._front.flush()

    def close(self) -> None:
        """Read no more. Again does nothing."""
        if self._closed:
            return
        self._closed = True
        self._deaf()
        readers = self._front.hub.readers.get((self.place.group, self.place.partition))
        if readers is not None:
            readers.discard(self)

    def pump(self) -> None:
        """Send as the credit and the socket allow, in this turn of the loop or the next."""
        if not (self._closed or self._scheduled):
            self._scheduled = True
            self._front.hub.call_soon(self._send)

    def _send(self) -> None:
        self._scheduled = False
        link = self._link
        if self._closed or not self._front.writable or not link.attached:
            return
        room = min(link.credit, _TURN)
        if room <= 0:
            return
        events = self._cursor.take(room)
        if not events:
            return
        head = self._metrics_section() if self._metrics else b""
        send = link.send
        for event in events:
            send(head + self._encode(event))
        self._front.flush()
        if len(events) == room:
            self.pump()

    def _encode(self, event: Event) -> bytes:
        system = tuple(event.system.items())
        known = self._properties.get(system)
        if known is None:
            fields: dict[str, Any] = {_FIELDS[name]: value for name, value in system if name in _FIELDS}
            if "user_id" in fields:
                fields["user_id"] = fields["user_id"].encode()
            for name in ("content_type", "content_encoding"):
                if name in fields:
                    fields[name] = Symbol(fields[name])
            section = encode_composite(Properties(**fields)) if fields else None
            known = (section, {name: value for name, value in system if name not in _FIELDS})
            if len(self._properties) > 256:
                self._properties.clear()
            self._properties[system] = known
        section, others = known
        key = (event.source, event.enqueued, tuple(others.items()))
        if self._encoder is None or self._encoder[0] != key:
            self._encoder = (key, EventEncoder(_annotations(event.source, event.enqueued, others)))
        return self._encoder[1].encode(
            event.seq,
            event.offset,
            event.enqueued,
            event.body,
            application_properties=event.properties,
            properties=section,
        )

    def _metrics_section(self) -> bytes:
        """Delivery annotations for `track_last_enqueued_event_properties`: where the partition ends now."""
        info = self._front.hub.log.info(self.place.partition)
        now = int(self._front.hub.clock.now() * 1000)
        return b"\x00\x53\x71" + encode_value(
            {
                Symbol("last_enqueued_sequence_number"): info.last_seq,
                Symbol("last_enqueued_offset"): str(info.last_seq),
                Symbol("last_enqueued_time_utc"): Timestamp(info.last_enqueued),
                Symbol("runtime_info_retrieval_time_utc"): Timestamp(now),
            }
        )


def _annotations(source: Source, enqueued: int, others: Mapping[str, str]) -> dict[str, Any]:
    made: dict[str, Any] = {"iothub-connection-device-id": source.device}
    if source.module:
        made["iothub-connection-module-id"] = source.module
    if source.auth_method:  # what the hub itself says of an identity came over no connection
        made["iothub-connection-auth-method"] = source.auth_method
        made["iothub-connection-auth-generation-id"] = source.generation_id
    made |= {
        "iothub-enqueuedtime": Timestamp(enqueued),
        "iothub-message-source": "Telemetry",
    }
    return made | dict(others)
