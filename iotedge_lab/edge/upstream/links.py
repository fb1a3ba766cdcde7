"""The links of one edge device: its own, its modules' and its leaf devices'."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iotedge_lab.clock import Clock
    from iotedge_lab.edge.upstream.cloud import Cloud, CloudIdentity
    from iotedge_lab.edge.upstream.gate import Gate
    from iotedge_lab.edge.upstream.link import CloudLink, LinkListener
    from iotedge_lab.edge.upstream.patience import Patience


class Links:
    """One link an identity. Of many that connect at once, `at_once` do so at a time."""

    def __init__(
        self, cloud: Cloud, clock: Clock, gate: Gate, *, patience: Patience | None = None, at_once: int = 8
    ) -> None: ...

    def open(self, identity: CloudIdentity, listener: LinkListener) -> CloudLink:
        """A link for `identity`, which begins to connect. Raises UsageError where there is one."""
        raise NotImplementedError

    def get(self, device: str, module: str = "") -> CloudLink | None:
        """The link of an identity, or None."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[CloudLink]:
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

    async def close(self, device: str, module: str = "", *, at_once: bool = False) -> int:
        """Close the link of an identity (see `CloudLink.close`); 0 where there is none."""
        raise NotImplementedError

    async def close_all(self, *, at_once: bool = False) -> int:
        """Close all: with DISCONNECT once all is acknowledged that will be, or at once."""
        raise NotImplementedError
