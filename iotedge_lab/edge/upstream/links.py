"""The links of one edge device: its own, its modules' and its leaf devices'."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from iotedge_lab.edge.upstream.link import CloudLink
from iotedge_lab.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iotedge_lab.clock import Clock
    from iotedge_lab.edge.upstream.cloud import Cloud, CloudIdentity
    from iotedge_lab.edge.upstream.gate import Gate
    from iotedge_lab.edge.upstream.listener import LinkListener
    from iotedge_lab.edge.upstream.patience import Patience


class Links:
    """One link an identity, as an IoT Hub has one connection for each.

    Of many that connect, `at_once` do so at a time: fifty modules that are back after an outage shall not keep each
    other, and the edge device's own processor, busy with handshakes.
    """

    def __init__(
        self, cloud: Cloud, clock: Clock, gate: Gate, *, patience: Patience | None = None, at_once: int = 8
    ) -> None:
        self._cloud = cloud
        self._clock = clock
        self._gate = gate
        self._patience = patience
        self._turns = asyncio.Semaphore(at_once)
        self._links: dict[tuple[str, str], CloudLink] = {}
        self._closed = False

    def __repr__(self) -> str:
        return f"<Links {self.connected} of {len(self)} connected to {self._cloud.hostname}>"

    def open(self, identity: CloudIdentity, listener: LinkListener) -> CloudLink:
        """A link for `identity`, which begins to connect.

        Raises UsageError where there is one already (`CloudLink.rekey` gives it another key), or all were closed.
        """
        key = (identity.device, identity.module)
        if self._closed:
            raise UsageError("These links were closed: make new ones.")
        if key in self._links:
            raise UsageError(f"{identity.name!r} has a link to the hub already; close it first, or use it.")
        made = CloudLink(
            self._cloud,
            identity,
            self._clock,
            listener=listener,
            gate=self._gate,
            patience=self._patience,
            turns=self._turns,
        )
        self._links[key] = made
        return made.start()

    def get(self, device: str, module: str = "") -> CloudLink | None:
        """The link of an identity, or None."""
        return self._links.get((device, module))

    @property
    def connected(self) -> int:
        """How many are connected now."""
        return sum(link.connected for link in self)

    def __iter__(self) -> Iterator[CloudLink]:
        return iter(tuple(self._links.values()))

    def __len__(self) -> int:
        return len(self._links)

    async def close(self, device: str, module: str = "", *, at_once: bool = False) -> int:
        """Close the link of an identity (see `CloudLink.close`); 0 where there is none."""
        link = self._links.pop((device, module), None)
        return await link.close(at_once=at_once) if link is not None else 0

    async def close_all(self, *, at_once: bool = False) -> int:
        """Close all: each with DISCONNECT once it has had time for what is in flight, or at once.

        How many messages were left without acknowledgement, over all. No link can be opened afterwards.
        """
        self._closed = True
        links, self._links = self._links, {}
        return sum(await asyncio.gather(*(link.close(at_once=at_once) for link in links.values())))
