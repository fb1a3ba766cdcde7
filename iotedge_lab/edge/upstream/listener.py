"""Who is told what comes from the hub over a link, and how a link is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


class LinkListener(Protocol):
    """Who is told what comes from the hub. All are called on the loop, and must not block or raise."""

    def connected(self, session_present: bool) -> None:
        """The hub has let the identity in, and what was in flight is on its way again.

        Changes of desired properties may have been missed meanwhile: ask for the twin.
        """

    def disconnected(self, reason: str) -> None:
        """A connection has ended, on purpose or not; the link connects again by itself unless it was closed."""

    def refused(self, reason: str) -> None:
        """The hub does not let the identity in. Told once for each reason; tried again slowly."""

    def writable(self) -> None:
        """`send` has said False, and would take a message now."""

    def desired(self, patch: dict[str, Any]) -> None:
        """Desired properties have changed; `$version` is among them."""

    def method(self, name: str, request_id: str, body: bytes) -> None:
        """A direct method is called: `CloudLink.answer_method(request_id, ...)` answers."""

    def command(self, bag: str, body: bytes, receipt: int) -> None:
        """A cloud-to-device message; `bag` is its properties, as in its topic.

        `CloudLink.command_done(receipt)` once whom it is for has it. A receipt that comes a second time is the same
        message, sent again after a reconnect.
        """


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
