"""What the hub sends to one identity: told to its listener, and acknowledged when that is right.

Azure: "Communicate with an IoT hub using the MQTT protocol": direct methods, changes of the desired properties, the
answers to twin requests, cloud-to-device messages. Whatever else comes is passed over, and ends no connection.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from iotedge_lab.edge.upstream.receipts import Receipts
from iotedge_lab.errors import ProtocolViolation
from iotedge_lab.wire import topics

if TYPE_CHECKING:
    from collections.abc import Callable

    from iotedge_lab.edge.upstream.listener import LinkListener
    from iotedge_lab.edge.upstream.twin_requests import TwinRequests

log = logging.getLogger(__name__)


class Inbox:
    """Of one link, over all its connections. `tell` calls the listener, and has its faults logged."""

    def __init__(
        self, name: str, listener: LinkListener, twin: TwinRequests, tell: Callable[..., None]
    ) -> None:
        self.receipts = Receipts()
        self._name = name
        self._listener = listener
        self._twin = twin
        self._tell = tell
        self._called: set[str] = set()  # methods of this connection that are not answered
        self._listening = False  # to cloud-to-device messages
        self._unheard: dict[int, tuple[str, bytes]] = {}  # messages that came while nobody listened

    @property
    def quiet(self) -> bool:
        """Whether no method waits for its answer, and no message for whom it is for."""
        return not self._called and not len(self.receipts)

    def listen(self, on: bool) -> None:
        """The listener wants cloud-to-device messages, or no more; those that came before are told now."""
        self._listening = on
        if on:
            unheard, self._unheard = self._unheard, {}
            for receipt, told in unheard.items():
                self._tell(self._listener.command, *told, receipt)

    def answered(self, request_id: str) -> bool:
        """A method is being answered; False if nobody waits for that.

        Ids of an earlier connection are not known any more: a hub that was restarted counts its calls anew, and
        would take the answer for that to another.
        """
        if request_id not in self._called:
            return False
        self._called.discard(request_id)
        return True

    def lost(self) -> None:
        """The connection has ended."""
        self.receipts.lost()
        self._unheard.clear()
        self._called.clear()

    def came(self, topic: bytes, body: bytes, packet_id: int, *, dup: bool) -> None:
        """A PUBLISH has come; what may be acknowledged is in `receipts.acks` afterwards."""
        receipt, done_before = self.receipts.came(packet_id, topic, body, dup=dup)
        try:
            parsed: topics.HubTopic | None = topics.parse_hub_topic(topic)
        except ProtocolViolation as error:
            log.warning("%s: passed over what the hub sent: %s", self._name, error)
            parsed = None
        if isinstance(parsed, topics.CloudMessage):
            if not done_before:
                self._command(topic, body, receipt)
            return
        self.receipts.done(receipt)  # only a message to the device waits for more than having come
        match parsed:
            case topics.TwinResponse():
                self._twin.answered(parsed, body)
            case topics.DesiredPatch():
                self._desired(body)
            case topics.MethodCall():
                self._called.add(parsed.request_id)
                self._tell(self._listener.method, parsed.name, parsed.request_id, body)
            case _:  # inputs are an edge hub's, and no IoT Hub has them
                pass

    def _command(self, topic: bytes, body: bytes, receipt: int) -> None:
        bag = topic.decode().split("/", 4)[4:]
        told = (bag[0] if bag else "", body)
        if self._listening:
            self._tell(self._listener.command, *told, receipt)
        else:  # from the session of before: kept, for the hub does not send it again on this connection
            self._unheard[receipt] = told

    def _desired(self, body: bytes) -> None:
        try:
            patch = json.loads(body)
        except (ValueError, RecursionError):
            patch = None
        if isinstance(patch, dict):
            self._tell(self._listener.desired, patch)
        else:
            log.warning("%s: passed over a change of desired properties that is no JSON object", self._name)
