"""Cloud-to-device messages on their way through the edge to one leaf device.

Stands for what edgeHub does with them ("Understand Azure IoT Edge as a gateway", learn.microsoft.com, IoT Edge,
iot-edge-as-gateway): it relays and stores none. A message is settled at the hub when the device has acknowledged it;
until then it is the hub's, and of this edge only what the hub has sent on the present connection and will not send
again on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Deliver = Callable[[str, bytes, Callable[[], None]], bool]


class Relay:
    """The messages of one device that it has not acknowledged yet, by the receipt that the link knows them by.

    `deliver(bag, body, acknowledged)` sends to the device, and says no where it is away or not subscribed;
    `settle(receipt)` has the hub forget a message.
    """

    def __init__(self, deliver: Deliver, settle: Callable[[int], None]) -> None:
        self._deliver = deliver
        self._settle = settle
        self._held: dict[int, tuple[str, bytes]] = {}  # in the order in which they came
        self._sent: set[int] = set()  # on the device's present connection

    def __len__(self) -> int:
        return len(self._held)

    def came(self, bag: str, body: bytes, receipt: int) -> None:
        """The hub has sent a message; one that it sends again has its receipt of before."""
        self._held[receipt] = (bag, body)
        self._send(receipt)

    def listening(self) -> None:
        """The device is there and subscribed: it gets what it did not get, or did not acknowledge."""
        for receipt in tuple(self._held):
            self._send(receipt)

    def left(self) -> None:
        """The device's connection has ended: what it did not acknowledge is sent again on the next."""
        self._sent.clear()

    def lost(self) -> None:
        """The link has ended: the hub sends again what is unsettled. What the device has in hand it may finish."""
        self._held = {receipt: held for receipt, held in self._held.items() if receipt in self._sent}

    def clear(self) -> None:
        """The link was closed for good: nothing that came over it can be settled any more."""
        self._held.clear()
        self._sent.clear()

    def _send(self, receipt: int) -> None:
        if receipt in self._sent:
            return
        bag, body = self._held[receipt]
        self._sent.add(receipt)
        if not self._deliver(bag, body, lambda: self._acknowledged(receipt)):
            self._sent.discard(receipt)

    def _acknowledged(self, receipt: int) -> None:
        self._sent.discard(receipt)
        if self._held.pop(receipt, None) is not None:
            self._settle(receipt)
