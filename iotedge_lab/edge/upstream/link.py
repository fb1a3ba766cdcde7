"""One identity's MQTT connection to the hub, kept up until it is closed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from iotedge_lab.clock import Clock
    from iotedge_lab.edge.upstream.cloud import Cloud, CloudIdentity
    from iotedge_lab.edge.upstream.gate import Gate
    from iotedge_lab.edge.upstream.patience import Patience


class LinkListener(Protocol):
    """Who is told what comes from the hub. All are called on the loop, and must not block or raise."""

    def connected(self, session_present: bool) -> None:
        """The hub has let the identity in; what was in flight is on its way again. May have missed desired patches."""

    def disconnected(self, reason: str) -> None:
        """A connection has ended, on purpose or not; the link connects again by itself unless it was closed."""

    def refused(self, reason: str) -> None:
        """The hub does not let the identity in. Told once for each reason; tried again slowly."""

    def writable(self) -> None:
        """`send` has said False and would take a message now. Also follows `connected`."""

    def desired(self, patch: dict[str, Any]) -> None:
        """Desired properties have changed; `$version` is among them."""

    def method(self, name: str, request_id: str, body: bytes) -> None:
        """A direct method is called: `CloudLink.answer_method(request_id, ...)` answers."""

    def command(self, bag: str, body: bytes, receipt: int) -> None:
        """A cloud-to-device message; `bag` is its properties, as in its topic. `command_done(receipt)` when kept."""


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """How a link is. `trouble`: why it has no connection; `refusal`: why the hub does not let it in ('' each)."""

    identity: str
    connected: bool
    refusal: str
    trouble: str
    in_flight: int
    sent: int
    acknowledged: int
    connections: int
    renewals: int


class CloudLink:
    """The connection of one identity. `start` begins it, `close` ends it; in between it connects by itself.

    A message that `send` has taken is the link's until `done`: after a reconnect it is sent again, first and in
    order, so its caller must not give it again (`Pump.lost` is for an outlet that forgets; this one does not).
    """

    def __init__(
        self,
        cloud: Cloud,
        identity: CloudIdentity,
        clock: Clock,
        *,
        listener: LinkListener,
        gate: Gate,
        patience: Patience | None = None,
        window: int = 2048,
        window_bytes: int = 8 * 1024 * 1024,
        turns: asyncio.Semaphore | None = None,
    ) -> None: ...

    @property
    def connected(self) -> bool:
        """Whether the hub has let it in, and it is still there."""
        raise NotImplementedError

    def status(self) -> LinkStatus:
        """How it is."""
        raise NotImplementedError

    def start(self) -> Self:
        """Begin to connect; returns at once."""
        raise NotImplementedError

    async def wait_connected(self) -> None:
        """Until it is connected."""
        raise NotImplementedError

    async def close(self, *, at_once: bool = False) -> int:
        """End for good. How many messages were left without acknowledgement: their `done` is never called."""
        raise NotImplementedError

    def retry(self) -> None:
        """Connect now, rather than at the end of the present delay."""
        raise NotImplementedError

    def rekey(self, key: str) -> None:
        """The identity has another key: for the next connection, which is tried at once if there is none."""
        raise NotImplementedError

    def send(self, bag: str, body: bytes, done: Callable[[], None]) -> bool:
        """Telemetry: the property bag as in a topic, and the body; `done` once the hub has it.

        False when not connected, or too much is on its way: `LinkListener.writable` tells when to try again.
        Raises MessageTooLarge or ArgumentInvalid for a message that the hub would never take.
        """
        raise NotImplementedError

    async def twin(self) -> dict[str, Any]:
        """`{"desired": {...}, "reported": {...}}`, each with `$version`. Raises UpstreamAway."""
        raise NotImplementedError

    async def report(self, patch: dict[str, Any]) -> int:
        """Patch the reported properties; their new version.

        Raises UpstreamAway, ArgumentInvalid (the hub's 400, with its word), other ServiceErrors.
        """
        raise NotImplementedError

    def listen_methods(self, on: bool) -> None:
        """Subscribe to direct methods, or no more; kept over reconnects."""
        raise NotImplementedError

    def listen_desired(self, on: bool) -> None:
        """Subscribe to changes of the desired properties, or no more; kept over reconnects."""
        raise NotImplementedError

    def listen_commands(self, on: bool) -> None:
        """Subscribe to cloud-to-device messages, or no more; kept over reconnects. For devices only."""
        raise NotImplementedError

    async def wait_listening(self) -> None:
        """Until the hub has confirmed what is listened to. Raises UpstreamAway where there is no connection."""
        raise NotImplementedError

    def answer_method(self, request_id: str, status: int, body: bytes) -> bool:
        """Answer a direct method; False if nobody waits any more (its connection has ended, or it was answered)."""
        raise NotImplementedError

    def command_done(self, receipt: int) -> bool:
        """The message has been kept by whom it is for: the hub may forget it. False if it will come again."""
        raise NotImplementedError
