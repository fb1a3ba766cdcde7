"""Asking the hub about somebody who wants to connect and is not let in by what is known here.

Stands for the refresh of a single identity in the open-source edgeHub's device scope cache, when a client's
authentication fails (Azure/iotedge, `DeviceScopeIdentitiesCache`): an identity may have been made, enabled or given
another key a moment ago. Whoever can open a connection can have the hub asked, so that is done seldom.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from iotedge_lab.clock import Clock

    Ask = Callable[[str, str], Coroutine[None, None, None]]

AGAIN: Final = 3.0
"""Seconds until the hub is asked about the same identity again."""
AT_ONCE: Final = 16
"""More strangers than that at a time are turned away without a question."""
_REMEMBERED: Final = 4096


class Asking:
    """Who was asked about and when. `ask(device, module)` brings what is known of an identity up to date.

    It never raises, and takes no longer than a call over REST may.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._asked: dict[tuple[str, str], float] = {}
        self._under_way: dict[tuple[str, str], asyncio.Task[None]] = {}
        self.ask: Ask | None = None

    def worth(self, device: str, module: str) -> bool:
        """Whether the hub is to be asked now, or is being asked."""
        who = (device, module)
        if who in self._under_way:
            return True
        if self.ask is None or len(self._under_way) >= AT_ONCE:
            return False
        asked = self._asked.get(who)
        return asked is None or self._clock.monotonic() - asked >= AGAIN

    async def about(self, device: str, module: str) -> None:
        """Ask; returns when what the hub says is known here."""
        who = (device, module)
        task = self._under_way.get(who)
        if task is None:
            assert self.ask is not None
            self._note(who)
            task = self._under_way[who] = asyncio.ensure_future(self.ask(device, module))
            task.add_done_callback(lambda _: self._under_way.pop(who, None))
        await asyncio.wait({task})

    def forget(self) -> None:
        """The hub can be reached again, or was read anew: what it did not know then it may know now."""
        self._asked.clear()

    async def close(self) -> None:
        """Ask no more."""
        self.ask = None
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _note(self, who: tuple[str, str]) -> None:
        now = self._clock.monotonic()
        if len(self._asked) >= _REMEMBERED:
            self._asked = {each: when for each, when in self._asked.items() if now - when < AGAIN}
        if len(self._asked) >= _REMEMBERED:
            self._asked.clear()
        self._asked[who] = now
