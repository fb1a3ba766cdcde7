"""Offline at will: whatever leads to the hub passes a gate, and a gate that closes cuts it off.

One gate stands for the uplink of one edge device (its antenna, say). Closing it is no pretence: the sockets are
closed, so that the hub sees the device go, and nothing comes through until it opens again.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from iotedge_lab.edge.errors import UpstreamOffline

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from typing import Any

_Result = TypeVar("_Result")
_OFFLINE: Final = "This edge device is offline on purpose. What it sends is kept until it goes online again."


class Gate:
    """Open at first. All methods belong to one loop.

    `close` cuts every connection, fails every call that is under way and each that comes with UpstreamOffline;
    `open` lets them in, and links connect at once. Either twice does nothing.
    """

    def __init__(self) -> None:
        self._opened = asyncio.Event()
        self._opened.set()
        self._closed = asyncio.Event()
        self._clear = asyncio.Event()  # nothing is inside
        self._clear.set()
        self.closings = 0
        """how often it was closed; see `wait_closing`"""
        self._inside: dict[object, Callable[[], None]] = {}

    def __repr__(self) -> str:
        return f"<Gate {'open' if self.is_open else 'closed'}, {len(self._inside)} inside>"

    @property
    def is_open(self) -> bool:
        """Whether the hub may be reached."""
        return self._opened.is_set()

    def close(self) -> None:
        """Go offline: cut what is connected, refuse what comes. `wait_clear` tells when the sockets are gone."""
        if self.is_open:
            self.closings += 1
        self._opened.clear()
        self._closed.set()
        for cut in tuple(self._inside.values()):
            cut()

    def open(self) -> None:
        """Go online."""
        self._closed.clear()
        self._opened.set()

    async def wait_open(self) -> None:
        """Until it is open."""
        await self._opened.wait()

    async def wait_closing(self, since: int) -> None:
        """Until it has been closed once more than `since`, though it may be open again."""
        while self.closings == since:
            await self._closed.wait()

    async def wait_clear(self) -> None:
        """Until nothing is connected through it any more."""
        await self._clear.wait()

    def check(self) -> None:
        """Raise UpstreamOffline unless it is open."""
        if not self.is_open:
            raise UpstreamOffline(_OFFLINE)

    @contextmanager
    def holding(self, cut: Callable[[], None]) -> Iterator[None]:
        """For as long as the block lasts `cut` is called when the gate closes. Raises UpstreamOffline if it is."""
        self.check()
        mark = object()
        self._inside[mark] = cut
        self._clear.clear()
        try:
            yield
        finally:
            del self._inside[mark]
            if not self._inside:
                self._clear.set()

    async def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """What `work` gives. UpstreamOffline if the gate is closed, or closes meanwhile: then it is cancelled."""
        if not self.is_open:
            work.close()
            self.check()
        task = asyncio.ensure_future(work)
        was_cut = False

        def cut() -> None:
            nonlocal was_cut
            was_cut = True
            task.cancel()

        with self.holding(cut):
            try:
                return await task
            except (Exception, asyncio.CancelledError) as error:
                if was_cut and not _is_cancelling():
                    raise UpstreamOffline(_OFFLINE) from error
                raise


def _is_cancelling() -> bool:
    """Whether somebody wants the task that runs now to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
