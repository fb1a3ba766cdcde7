"""Reading the built-in endpoint with the vendor's azure-eventhub, all partitions, again after each failure.

A session is one client: it asks which log this is, starts where the tables are, and ends with the first error. The
SDK's own retries are off: after a retry the endpoint may be another hub's (a folder that was deleted, a hub made
anew), and numbers of one log say nothing in another. So each session asks first, and once more when the first messages
have come.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from iotedge_lab.errors import ConnectionStringError, LabError
from iotedge_lab.lake import libraries

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from iotedge_lab.lake.place import CaptureSettings

log = logging.getLogger(__name__)

_PREFETCH: Final = 1000  # a partition; the SDK waits 0.05 s after so many
_WAITS: Final = (0.5, 1.0, 2.0)  # s between sessions; the last one goes on
_LOOK: Final = 3.0  # s between looks at where the partitions end
_IDLE: Final = 2  # looks in a row at which messages are there and none comes


@dataclass(frozen=True, slots=True)
class Ends:
    """The number of each partition's last message, -1 for one that never had any; and which partitions are empty.

    One that is empty may have had messages, that are gone by age or by a reset.
    """

    last: Mapping[str, int]
    empty: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class LogFacts:
    """Which log it is, and where its partitions end."""

    log: str
    ends: Ends


class Sink(Protocol):
    """Where messages go. What it raises ends the reading, except for `OtherLog`."""

    async def begin(self, facts: LogFacts) -> Mapping[str, int]:
        """The last message of each partition that need not come."""
        ...

    async def take(self, partition: str, events: Sequence[Any]) -> None:
        """Messages of one partition, in order; more come when it returns."""
        ...

    def ends(self, ends: Ends) -> set[str]:
        """Where the partitions end now; those of which there is more than has been taken."""
        ...

    def retrying(self, word: str) -> None:
        """The endpoint does not answer, or refuses; it is tried again."""
        ...


class OtherLog(Exception):
    """The endpoint is another log's than the one that the session began with."""


class Reader:
    """Reads until it is cancelled, or the sink raises."""

    def __init__(self, settings: CaptureSettings, sink: Sink) -> None:
        self._settings = settings
        self._sink = sink
        self._fine = False
        self._fatal: LabError | None = None
        self._arrivals: Counter[str] = Counter()  # by partition

    async def run(self) -> None:
        """Session after session. Raises what the sink raised, and `ConnectionStringError`."""
        failures = 0
        while True:
            self._fine = False
            try:
                await self._session()
            except (asyncio.CancelledError, LabError):
                raise
            except Exception as error:  # the SDK raises errors of its own, OSError, and others
                if self._fatal is not None:
                    raise self._fatal from error
                failures = 0 if self._fine else failures + 1
                word = _word(error, self._settings)
                log.info("the session ended: %s", word)
                self._sink.retrying(word)
                await asyncio.sleep(_WAITS[min(failures, len(_WAITS) - 1)])

    def _client(self) -> Any:
        from azure.eventhub.aio import EventHubConsumerClient

        try:
            return EventHubConsumerClient.from_connection_string(
                self._settings.events,
                consumer_group=self._settings.group,
                eventhub_name=self._settings.events_name or None,
                retry_total=0,
            )
        except ValueError as error:  # its words do not show the key
            raise ConnectionStringError(
                f"The connection string of the built-in endpoint cannot be used: {libraries.told(error)}"
            ) from error

    async def _session(self) -> None:
        client = self._client()
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        tasks: list[asyncio.Task[Any]] = []
        try:
            facts = await _facts(client)
            places = await self._sink.begin(facts)
            sure: set[str] = set()
            taking: set[str] = set()

            async def take(context: Any, events: Sequence[Any]) -> None:
                if over.done():
                    return
                taking.add(context.partition_id)
                self._arrivals[context.partition_id] += 1
                if context.partition_id not in sure:
                    if await _log_id(client) != facts.log:
                        raise OtherLog("the hub was made anew")
                    sure.add(context.partition_id)
                    self._fine = True
                try:
                    await self._sink.take(context.partition_id, events)
                except LabError as error:
                    self._fatal = error
                    raise
                taking.discard(context.partition_id)

            async def fail(_: Any, error: Exception) -> None:
                if not over.done():
                    over.set_exception(error)

            tasks.append(
                loop.create_task(
                    client.receive_batch(
                        take,
                        on_error=fail,
                        starting_position={name: ("-1" if at < 0 else at) for name, at in places.items()},
                        max_batch_size=_PREFETCH,
                        prefetch=_PREFETCH,
                    )
                )
            )
            tasks.append(loop.create_task(self._look(client, facts, taking)))
            done, _ = await asyncio.wait({over, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
            raise ConnectionError("the receiver has ended")
        finally:
            if not over.done():
                over.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await client.close()

    async def _look(self, client: Any, facts: LogFacts, taking: AbstractSet[str]) -> None:
        """Where the partitions end, now and then. Raises ConnectionError where messages are there and none comes.

        The SDK does not say that a link was refused (no such consumer group); it waits.
        """
        idle: Counter[str] = Counter()
        while True:
            before = Counter(self._arrivals)
            await asyncio.sleep(_LOOK)
            behind = self._sink.ends(await ends_of(client, facts.ends.last))
            silent = {name for name in behind - taking if self._arrivals[name] == before[name]}
            idle = Counter({name: idle[name] + 1 for name in silent})
            if any(count >= _IDLE for count in idle.values()):
                raise ConnectionError(
                    f"The endpoint has messages and gives none of them to the consumer group {self._settings.group!r}."
                )
            self._fine = self._fine or not behind


async def _facts(client: Any) -> LogFacts:
    found = await client.get_eventhub_properties()
    return LogFacts(identity(found), await ends_of(client, found["partition_ids"]))


async def _log_id(client: Any) -> str:
    return identity(await client.get_eventhub_properties())


def identity(found: Mapping[str, Any]) -> str:
    """What tells this log from every other one: its name, and when it was created; a hub made anew has a later one."""
    created = found["created_at"].strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
    return f"{found['eventhub_name']}@{created}Z"


async def ends_of(client: Any, partitions: Iterable[str]) -> Ends:
    """Where these partitions end now, of a client of azure.eventhub.aio."""
    found = await asyncio.gather(*(client.get_partition_properties(name) for name in partitions))
    return Ends(
        {each["id"]: int(each["last_enqueued_sequence_number"]) for each in found},
        frozenset(each["id"] for each in found if each["is_empty"]),
    )


def _word(error: Exception, settings: CaptureSettings) -> str:
    """What stands in the way, and what helps."""
    said = libraries.told(error)
    kind = type(error).__name__
    if isinstance(error, OtherLog):
        return f"The log has changed: {said}."
    if kind == "AuthenticationError":
        return (
            f"The endpoint refuses the connection string; start the capture again with the hub's own. {said}"
        )
    if "consumer group" in said.lower():
        return (
            f"{said[:200]} Make the consumer group {settings.group!r} again, or start the capture with another "
            "one."
        )
    return f"The endpoint does not answer; it is tried again. {kind}: {said}"
