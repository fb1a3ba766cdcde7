"""Reading what edges send from the built-in endpoint, on a thread of its own, from now on.

By azure.eventhub's aio client: the synchronous one is late by 0.2 s a partition. A hub that goes away comes back at the
place where it was left; nothing is kept over a restart of this process, as edges ask again and live rows keep coming.
Leaves out: a checkpoint store (the lake has one) and several readers of one consumer group.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from typing import TYPE_CHECKING, Any, Final, Self

from iotedge_lab.errors import EnvironmentProblem, HubNotRunning
from iotedge_lab.rollout.messages import Prediction, Request, read

if TYPE_CHECKING:
    from collections.abc import Callable

    from azure.eventhub import EventData

log = logging.getLogger(__name__)

_AGAIN: Final = 1.0  # s after a failure
_PREFETCH: Final = 100


class Listener:
    """Gives each prediction and each request to its handler, in the order of its partition, on this one thread.

    A handler that raises is logged and hears the next message. `read` and `unread` count messages: those that were
    handed on, and those that said they were one of these and could not be read. `trouble` says why nothing comes, as
    far as the SDK tells it: to a hub that was away for a while it connects again without a word.
    """

    def __init__(
        self,
        connection_string: str,
        *,
        on_prediction: Callable[[Prediction], None],
        on_request: Callable[[Request], None],
        eventhub_name: str | None = None,
        consumer_group: str = "$Default",
    ) -> None:
        self._string = connection_string
        self._eventhub_name = eventhub_name
        self._group = consumer_group
        self._on_prediction = on_prediction
        self._on_request = on_request
        self._places: dict[str, str | int] = {}  # the SDK looks here whenever it opens a partition (again)
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None
        self.read = 0
        self.unread = 0
        self.trouble = ""

    def start(self, seconds: float = 60.0) -> Self:
        """Listen; once this returns, no message that is sent from now on is missed. Raises `HubNotRunning`."""
        try:
            import azure.eventhub.aio  # noqa: F401 - loaded here, not while the first messages come
        except ImportError as error:
            raise EnvironmentProblem(
                f"pip install azure-eventhub; it cannot be imported ({error})."
            ) from error
        self._thread = threading.Thread(target=self._run, name="rollout-listener", daemon=True)
        self._thread.start()
        if not self._ready.wait(seconds):
            trouble = self.trouble or "it does not answer"
            self.close()
            raise HubNotRunning(
                f"The built-in endpoint cannot be read: {trouble}. Is the hub up, and is the events connection string "
                "its own?"
            )
        return self

    def close(self) -> None:
        """Listen no more; waits until the connections are closed."""
        if self._thread is None:
            return
        if self._loop is not None and self._task is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(30.0)
        self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- on the thread ---------------------------------------------------------------------------------

    def _run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(self._listen())

    async def _listen(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        while True:
            try:
                await self._receive()
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told of and tried again
                self.trouble = str(error)[:200]
                log.warning("the built-in endpoint cannot be read: %s", self.trouble)
            await asyncio.sleep(_AGAIN)

    async def _receive(self) -> None:
        from azure.eventhub.aio import EventHubConsumerClient

        named: dict[str, Any] = {"eventhub_name": self._eventhub_name} if self._eventhub_name else {}
        client = EventHubConsumerClient.from_connection_string(
            self._string, consumer_group=self._group, retry_total=1, **named
        )
        async with client:
            partitions = await client.get_partition_ids()
            ends = await asyncio.gather(*map(client.get_partition_properties, partitions))
            for partition, end in zip(partitions, ends, strict=True):
                self._begin(partition, end)
            self._ready.set()
            self.trouble = ""
            failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

            async def on_error(_: Any, error: Exception) -> None:
                if not failed.done():
                    failed.set_exception(error)

            receiving = asyncio.create_task(
                client.receive(
                    on_event=self._event,
                    on_error=on_error,
                    starting_position=self._places,
                    prefetch=_PREFETCH,
                )
            )
            try:
                done, _ = await asyncio.wait({receiving, failed}, return_when=asyncio.FIRST_COMPLETED)
                for each in done:
                    each.result()
            finally:
                failed.cancel()
                receiving.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await receiving

    def _begin(self, partition: str, end: Any) -> None:
        """Where to read a partition from: behind what was read, else behind its end."""
        last = -1 if end["is_empty"] else int(end["last_enqueued_sequence_number"])
        place = self._places.get(partition)
        if place is None:
            self._places[partition] = "-1" if last < 0 else last
        elif isinstance(place, int) and place > last:
            self._places[partition] = "-1"  # the hub was reset, and counts anew

    async def _event(self, context: Any, event: EventData | None) -> None:
        if event is None:
            return
        place, number = self._places[context.partition_id], event.sequence_number or 0
        if isinstance(place, int) and number <= place:
            return  # opened again at an older place
        self._places[context.partition_id] = number
        try:
            message = read(event)
        except (ValueError, UnicodeDecodeError) as error:
            self.unread += 1
            log.info("a message was passed over: %s", error)
            return
        if message is None:
            return
        self.read += 1
        handler: Callable[[Any], None] = (
            self._on_prediction if isinstance(message, Prediction) else self._on_request
        )
        try:
            handler(message)
        except Exception:
            log.exception("a message could not be dealt with")
