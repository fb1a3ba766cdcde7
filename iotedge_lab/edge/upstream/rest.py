"""What an edge device asks of its hub over REST, by its own token."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from iotedge_lab.clock import Clock
    from iotedge_lab.edge.upstream.cloud import Cloud, CloudIdentity
    from iotedge_lab.edge.upstream.gate import Gate
    from iotedge_lab.edge.upstream.patience import Patience
    from iotedge_lab.edge.upstream.registered import Registered, Scope


class CloudRest:
    """The registry of the hub, as far as an edge device's own token opens it.

    Every call raises UpstreamAway (or UpstreamOffline) where trying again may help, UpstreamUntrusted for a
    certificate that is not trusted, Unauthorized with what to check, and other ServiceErrors as the hub answers.
    """

    def __init__(
        self, cloud: Cloud, edge: CloudIdentity, clock: Clock, gate: Gate, patience: Patience | None = None
    ) -> None: ...

    async def modules(self) -> list[Registered]:
        """The module identities of the edge device, $edgeAgent and $edgeHub among them."""
        raise NotImplementedError

    async def module(self, module: str) -> Registered | None:
        """One module identity, or None."""
        raise NotImplementedError

    async def create_module(self, module: str, managed_by: str = "IotEdge") -> Registered:
        """The module identity, made if there is none, with keys of the hub's making; one that is there is kept."""
        raise NotImplementedError

    async def delete_module(self, module: str) -> bool:
        """Delete a module identity; False if there was none."""
        raise NotImplementedError

    async def scope(self) -> Scope:
        """All that the edge device may act for, page by page."""
        raise NotImplementedError

    async def member(self, device: str, module: str = "") -> Scope | None:
        """One identity of the scope (a module with its device), or None."""
        raise NotImplementedError

    async def close(self) -> None:
        """Close its connections; a second call does nothing."""
        raise NotImplementedError
