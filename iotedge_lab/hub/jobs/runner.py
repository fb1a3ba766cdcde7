"""Carries jobs out, beside the messages: in slices between which they have their turn.

A job's devices are those that meet its condition when it begins; they are noted before anything is done. Twins are
updated some at a time, each change in one transaction with the note that it is done, so that a hub that is killed goes
on where it was and does nothing twice. Direct methods are called `AT_ONCE` at a time and job; that one is called is
stored before, so that one whose answer a killed hub has not stored is not called again (its outcome is an error).

Where the documents are silent: a job is `completed` when each device has had its turn, however that went
(deviceJobStatistics and devices.jobs tell), and when its time is up; it is `failed` if its condition cannot be worked
out. What a device answers to a method, with whatever status, is a success of the job.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.broker.methods import Call
from iotedge_lab.errors import ArgumentInvalid, RequestTimedOut, ServiceError, StoreUnavailable
from iotedge_lab.hub.jobs import targets
from iotedge_lab.hub.jobs.book import MOST_ACTIVE
from iotedge_lab.hub.jobs.job import Job, Kind, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from iotedge_lab.broker.methods import Methods
    from iotedge_lab.clock import Clock
    from iotedge_lab.hub.jobs.book import Jobs
    from iotedge_lab.hub.jobs.targets import Json, Key
    from iotedge_lab.hub.query.queries import Queries
    from iotedge_lab.hub.store import Store
    from iotedge_lab.hub.twins import TwinChange, Twins

log = logging.getLogger(__name__)

AT_ONCE: Final = 50  # calls of methods that a job has under way
_PAGE: Final = 250  # devices that are noted at once
_TWINS: Final = 10  # twins of one slice, at most
_SLICE: Final = 0.001  # s, about which a slice may take
_PAUSE: Final = 4  # turns of the loop between two slices: a request needs a few
_PRUNE_EVERY: Final = 60.0  # s


@dataclass(slots=True, eq=False)
class _Run:
    """A job that is being carried out. `over` is set when it was cancelled, or its time is up."""

    job: Job
    over: asyncio.Event = field(default_factory=asyncio.Event)
    calls: dict[asyncio.Task[Json | ServiceError], Key] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None

    def out_of_time(self) -> None:
        """End the calls that are under way too."""
        for call in self.calls:
            call.cancel()


class Runner:
    """Begins jobs when their time has come, and ends them when it is up. `start` it on a loop."""

    def __init__(
        self, store: Store, book: Jobs, *, queries: Queries, twins: Twins, methods: Methods, clock: Clock
    ) -> None:
        self._store = store
        self._book = book
        self._queries = queries
        self._twins = twins
        self._methods = methods
        self._clock = clock
        self._runs: dict[int, _Run] = {}
        self._started = False
        self._turn = asyncio.Lock()  # one slice at a time, whichever job's
        self._ticked = asyncio.Event()
        self._prune_at = clock.monotonic()
        book.on_change.append(self._changed)

    def start(self) -> None:
        """Go on with what was under way, and begin what is due, on the loop that runs."""
        with self._store.transaction() as db:
            targets.lose(db, self._clock.now())
        self._started = True
        self._look()

    def tick(self) -> None:
        """Once a second: what is due begins, what is out of time ends, what is old goes."""
        if not self._started:
            return
        try:
            self._look()
            if self._clock.monotonic() >= self._prune_at:
                self._prune_at = self._clock.monotonic() + _PRUNE_EVERY
                self._book.prune()
            self._book.sweep()
        except StoreUnavailable as error:
            log.warning("jobs wait: %s", error)
        ticked, self._ticked = self._ticked, asyncio.Event()
        ticked.set()

    async def idle(self) -> None:
        """Until nothing is under way that could go on now."""
        while self._runs:
            await asyncio.wait([run.task for run in self._runs.values() if run.task is not None])
            await asyncio.sleep(0)

    def clear(self) -> None:
        """Forget what is under way (all jobs are gone)."""
        for run in tuple(self._runs.values()):
            run.over.set()
            run.out_of_time()
            if run.task is not None:
                run.task.cancel()
        self._runs.clear()

    def close(self) -> None:
        """Do nothing any more."""
        self._started = False
        self.clear()

    # -- which jobs ------------------------------------------------------------------------------------

    def _changed(self) -> None:
        with suppress(StoreUnavailable):  # what was asked for is stored; this goes on at the next tick
            self._look()

    def _look(self) -> None:
        if not self._started:
            return
        now = self._clock.now()
        for run in self._runs.values():
            self._check(run, now)
        for job in self._book.unfinished:
            if job.start > now or job.serial in self._runs:
                continue
            if job.status is Status.SCHEDULED:
                job = self._book.change(job, status=Status.QUEUED)  # noqa: PLW2901 - as it is now
            if sum(not run.over.is_set() for run in self._runs.values()) < MOST_ACTIVE:
                run = _Run(self._book.change(job, status=Status.RUNNING, begun=job.begun or now))
                self._runs[job.serial] = run
                run.task = asyncio.get_running_loop().create_task(self._carry_out(run))

    def _check(self, run: _Run, now: float) -> None:
        """Whether a job that is under way was cancelled, or its time is up."""
        if run.over.is_set():
            return
        current = self._book.find(run.job.id)
        if current is None or current.serial != run.job.serial or current.status.ended:
            run.over.set()
        elif now >= run.job.deadline:
            self._finish(run, f"the {run.job.seconds} s of maxExecutionTimeInSeconds have passed.")
            run.over.set()
            run.out_of_time()

    def _finish(self, run: _Run, reason: str = "", status: Status = Status.COMPLETED) -> None:
        run.job = self._book.change(run.job, status=status, ended=self._clock.now(), reason=reason)

    # -- one job ---------------------------------------------------------------------------------------

    async def _carry_out(self, run: _Run) -> None:
        try:
            if not run.job.counted:
                await self._note_targets(run)
            await (self._update_twins if run.job.kind is Kind.TWIN else self._call_methods)(run)
            if not run.over.is_set():
                await self._stored(partial(self._finish, run))
        except (ArgumentInvalid, RequestTimedOut) as error:  # the condition
            await self._stored(partial(self._finish, run, error.message, Status.FAILED))
        except Exception as error:
            log.exception("job %s", run.job.id)
            fault = f"a fault of the hub ({type(error).__name__}); its log says more."
            await self._stored(partial(self._finish, run, fault, Status.FAILED))
        finally:
            run.over.set()
            if self._runs.get(run.job.serial) is run:
                del self._runs[run.job.serial]
            self._changed()

    async def _stored(self, write: Callable[[], Any]) -> Any:
        """What `write` answers, as soon as the store takes it; between two slices."""
        while True:
            try:
                async with self._turn:
                    answer = write()
                    for _ in range(_PAUSE):
                        await asyncio.sleep(0)
                return answer
            except StoreUnavailable as error:
                log.warning("a job waits: %s", error)
                await self._ticked.wait()

    async def _note_targets(self, run: _Run) -> None:
        """Find whom the job is for, page by page. A hub that was killed meanwhile goes on behind the last one."""
        after = targets.last(self._store.db, run.job)
        while not run.over.is_set():
            try:
                keys = await self._queries.targets(run.job.condition, after, _PAGE)
            except StoreUnavailable as error:
                log.warning("job %s waits: %s", run.job.id, error)
                await self._ticked.wait()
                continue
            await self._stored(partial(self._note, run, keys))
            if len(keys) < _PAGE:
                run.job = await self._stored(partial(self._book.change, run.job, counted=True))
                return
            after = keys[-1]

    def _note(self, run: _Run, keys: Sequence[Key]) -> None:
        with self._store.transaction() as db:
            targets.add(db, run.job, keys)

    # -- twins -----------------------------------------------------------------------------------------

    async def _update_twins(self, run: _Run) -> None:
        after: Key | None = targets.START
        while after is not None and not run.over.is_set():
            after = await self._stored(partial(self._update_some, run, after))

    def _update_some(self, run: _Run, after: Key) -> Key | None:
        """A slice of the twins behind a key; the last of them, None where there are no more."""
        until = self._clock.monotonic() + _SLICE
        changes: list[TwinChange] = []
        outcomes: list[tuple[Key, Json | ServiceError]] = []
        if run.over.is_set():
            return None
        for key in targets.pending(self._store.db, run.job, after, _TWINS):
            try:
                change = self._twins.plan(*self._twins.get(*key), run.job.content, whole=False)
            except ServiceError as error:
                outcomes.append((key, error))
            else:
                changes.append(change)
                outcomes.append((key, {"deviceMethodResponse": None}))
            if self._clock.monotonic() >= until:
                break
        if not outcomes:
            return None
        with self._store.transaction() as db:
            for change in changes:
                self._twins.write(db, change)
            targets.settle(db, run.job, outcomes, self._clock.now())
        for change in changes:
            self._twins.tell(change)
        return outcomes[-1][0]

    # -- methods ---------------------------------------------------------------------------------------

    async def _call_methods(self, run: _Run) -> None:
        call = Call.read(run.job.content)
        after: Key | None = targets.START
        over = asyncio.get_running_loop().create_task(run.over.wait())
        try:
            while True:
                room = AT_ONCE - len(run.calls)
                if after is not None and room and not run.over.is_set():
                    keys = await self._stored(partial(self._begin, run, after, room))
                    after = keys[-1] if keys else None
                    for key in keys:
                        run.calls[asyncio.ensure_future(self._call(key, call))] = key
                if not run.calls:
                    return
                waiting = [*run.calls] if run.over.is_set() else [*run.calls, over]
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                done = [(key, _result(each)) for each, key in run.calls.items() if each.done()]
                run.calls = {each: key for each, key in run.calls.items() if not each.done()}
                if done:
                    await self._stored(partial(self._settle, run, done))
        finally:
            over.cancel()
            run.out_of_time()

    def _begin(self, run: _Run, after: Key, limit: int) -> list[Key]:
        if run.over.is_set():
            return []
        keys = targets.pending(self._store.db, run.job, after, limit)
        with self._store.transaction() as db:
            targets.begin(db, run.job, keys, self._clock.now())
        return keys

    async def _call(self, key: Key, call: Call) -> Json | ServiceError:
        """What the device answered, or why it did not."""
        try:
            status, payload = await self._methods.invoke(*key, call)
        except ServiceError as error:
            return error
        return {"deviceMethodResponse": {"status": status, "payload": payload}}

    def _settle(self, run: _Run, done: Sequence[tuple[Key, Json | ServiceError]]) -> None:
        with self._store.transaction() as db:
            targets.settle(db, run.job, done, self._clock.now())


def _result(call: asyncio.Task[Json | ServiceError]) -> Json | ServiceError:
    if call.cancelled():
        return RequestTimedOut("the job's maxExecutionTimeInSeconds had passed before the answer came.")
    return call.result()
