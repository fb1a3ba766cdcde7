"""The module: each row of the car gets a model's speed, and what matters goes to the hub.

Threads: `edge hub` keeps the connection, `twin` takes desired properties and reports, `serve` reads rows, puts them in
order and predicts, `outbox` sends, `model` and `challenger` bring models; the SDK calls handlers on threads of its own.
`serve` alone touches the models in use: a new one waits in the same queue as the rows, so it takes over between two.
While the edge hub is away rows and answers wait; it brings no further rows then.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import queue
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from azure.iot.device import IoTHubModuleClient, MethodResponse

from filter_car import leftovers, telling, trial
from filter_car.matters import Choice, Counters
from filter_car.model import BUNDLED, LOCAL, own
from filter_car.order import Order
from filter_car.outbox import Outbox
from filter_car.release import Release
from filter_car.rows import arrival
from filter_car.serving import Serving
from filter_car.settings import MODEL_FILE, MODELS, TABLE, Settings
from filter_car.shelf import Shelf
from filter_car.supply import Supply, Tools, latest
from iotedge_lab.car.device.edge import EdgeHub
from iotedge_lab.car.device.outbox import Outbox as Letters
from iotedge_lab.car.device.outbox import Parcel
from iotedge_lab.car.device.program import guarded
from iotedge_lab.car.device.twin import Twin, handlers
from iotedge_lab.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from filter_car.model import Model
    from filter_car.rows import Arrival
    from filter_car.serving import Answer, Slot
    from filter_car.trial import Verdict

INPUT: Final = "input-simulator-car"
LAST_WORDS: Final = (
    1.5  # s that rows, and then answers, have when the module is stopped; the edge agent kills after 10
)
LAST_MOMENT: Final = 8.5  # s after which a stop waits for nothing more
LOG_EVERY: Final = 1.0  # s between two lines about predictions
REQUESTS_WAITING: Final = 2
SEEN: Final = 4096  # messages that are remembered, as an edge hub may bring one twice

log = logging.getLogger("ModuleFilterCar")


class _Swap:
    """A model for a slot, on its way to `serve`."""

    def __init__(self, slot: Slot, model: Model | None) -> None:
        self.slot, self.model = slot, model
        self.done = threading.Event()


class _Flush:
    """`serve` is to wait for no more rows."""

    def __init__(self, *, end: bool) -> None:
        self.end = end
        self.done = threading.Event()


class FilterCar:
    """One filter. Raises DataError or EnvironmentProblem where the model that it comes with cannot be run."""

    def __init__(
        self,
        settings: Settings,
        base: Path,
        *,
        create: Callable[[], Any] = IoTHubModuleClient.create_from_edge_environment,
        failed: Callable[[int], None] = lambda _: None,
        attempt: Callable[[Path], Verdict] = trial.attempt,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`base`: what paths are relative to. `failed`: gets the exit code, on any thread, where it cannot go on."""
        self._environment = self._settings = settings
        self._create = create
        self._clock, self._now = clock, now
        self._stopping = threading.Event()
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._order = Order()
        self._choice = Choice()
        self._counters = Counters()
        self._seen: dict[tuple[str, bytes], None] = {}
        self._errors: dict[str, str] = {}
        self._unreadable: str | None = None
        self._logged, self._unlogged = -LOG_EVERY, 0
        self._health: dict[str, Any] = {}
        self._health_at = -1e9
        self._shelf = Shelf(base / settings.folder)
        version = BUNDLED if settings.model_file == MODEL_FILE else LOCAL
        bundled = own(base / settings.model_file, version, self._timestamp())
        turns = itertools.count(1)
        tools = Tools(
            ask=lambda release: self._requests.put(Parcel(lambda: telling.request(release)), wait=False),
            swap=self._swap,
            rows=self._rows,
            changed=self._changed,
            attempt=attempt,
            now=self._timestamp,
            turn=lambda: next(turns),
        )
        self._supplies: dict[Slot, Supply] = {
            "model": Supply("model", bundled, self._shelf, tools),
            "challenger": Supply("challenger", None, self._shelf, tools),
        }
        self._serving = Serving(self._supplies["model"].model or bundled)
        if self._supplies["challenger"].model is not None:
            self._serving.put("challenger", self._supplies["challenger"].model)
        self._hub = EdgeHub(self._client, failed, log)
        self._twin = Twin(self._hub, self, log)
        self._outbox = Outbox(self._hub, telling.OUTPUT)
        self._requests = Letters(self._hub, telling.REQUESTS, log, REQUESTS_WAITING)
        self._hub.handlers = handlers(
            self._hub,
            self._twin,
            lambda name, payload: telling.answer(self, name, payload),
            MethodResponse.create_from_method_request,
            log,
        )
        works: tuple[tuple[str, Callable[[], None]], ...] = (
            ("edge hub", self._hub.run),
            ("twin", self._twin.run),
            ("outbox", self._outbox.run),
            ("requests", self._requests.run),
            ("model", self._supplies["model"].run),
            ("challenger", self._supplies["challenger"].run),
            ("serve", self._serve),
        )
        self._threads = [
            threading.Thread(target=guarded(work, failed, log), name=name, daemon=True)
            for name, work in works
        ]

    def start(self) -> None:
        """Set off, in the background; what could not be sent the last time goes first."""
        left = leftovers.found(self._shelf.folder)
        if left:
            self._outbox.put_first(left, lambda: leftovers.forget(self._shelf.folder))
            log.info("%d answers of before the restart are sent now", len(left))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Answer what has come, keep what cannot be sent, and end; within seconds, whatever the hub does."""
        if self._stopping.is_set():
            return
        began = self._clock()
        self._stopping.set()
        for supply in self._supplies.values():
            supply.stop()
        self._twin.release()
        flush = _Flush(end=False)
        self._queue.put(flush)
        flush.done.wait(LAST_WORDS)
        if self._hub.online:
            self._outbox.drained(LAST_WORDS)
        self._outbox.close()
        self._requests.close()
        self._hub.close()
        # Rows that came until the connection was closed are acknowledged: they are answered at the next start.
        end = _Flush(end=True)
        self._queue.put(end)
        if not end.done.wait(max(LAST_WORDS, LAST_MOMENT - (self._clock() - began))):
            log.error(
                "%d rows are lost: there was no time to answer them", self._queue.qsize() + len(self._order)
            )
        kept = leftovers.keep(self._shelf.folder, self._outbox.left())
        log.info(
            "Stopped; %d rows read, %d predictions sent, %d kept",
            self._counters.rows,
            self._outbox.sent,
            kept,
        )

    # -- what methods and the twin act on --------------------------------------------------------------

    def offer(self, name: str, version: str, sha256: str, url: str) -> bool:
        """An address for a model; whether one of the slots wants it."""
        taken = [supply.offer(name, version, sha256, url) for supply in self._supplies.values()]
        return any(taken)

    @property
    def report_seconds(self) -> float:
        """How often the status is reported."""
        return self._settings.report_seconds

    def status(self, *, fresh: bool = False) -> dict[str, Any]:
        """What is reported, as it is now; figures are no older than `reportSeconds`, or `fresh`."""
        now = self._clock()
        if fresh:
            health = self._figures()
        else:
            if now - self._health_at >= self._settings.report_seconds * 0.95:
                self._health, self._health_at = self._figures(), now
            health = self._health
        model, challenger = self._supplies["model"].model, self._supplies["challenger"].model
        pending = latest(self._supplies.values())
        return TABLE.told(self._settings) | {
            "model": None if model is None else model.told(),
            "challenger": None if challenger is None else challenger.told(),
            "pending": None if pending is None else pending.told(),
            "health": health,
            "problem": self._shelf.problem,
            "errors": dict(self._errors),
            "desiredVersion": self._twin.version,
        }

    def configure(self, desired: Mapping[str, Any]) -> None:
        """Take desired properties; what cannot be used leaves what is in force. On the twin's thread."""
        wrong: dict[str, str] = {}
        for slot, supply in self._supplies.items():
            told = desired.get(slot)
            try:
                supply.want(None if told is None else Release.read(told))
            except ValueError as error:
                wrong[slot] = f"is {str(told)[:100]!r}; {error} belongs there"
                version = told.get("version", "") if hasattr(told, "get") else ""
                supply.refuse(str(version), f"the desired property {wrong[slot]}")
        plain = {name: value for name, value in desired.items() if name not in MODELS}
        after, errors = TABLE.desired(self._environment, self._settings, plain)
        errors |= wrong
        fresh = {name: reason for name, reason in errors.items() if self._errors.get(name) != reason}
        self._errors = errors
        for name, reason in fresh.items():
            log.error("The desired property %s is refused: it %s", name, reason)
        if after != self._settings:
            log.info("Settings: %s", after)
        self._settings = after

    def _figures(self) -> dict[str, Any]:
        records = dict(self._serving.records)
        champion, challenger = records.get("model"), records.get("challenger")
        counters = self._counters.told(self._outbox.sent, self._outbox.bytes_sent)
        counters["duplicates"] += self._serving.duplicates
        return counters | {
            "meanError": _rounded(champion and champion.mean),
            "challengerMeanError": _rounded(challenger and challenger.mean),
            "challengerErrors": 0 if challenger is None else challenger.failures,
            "swaps": self._serving.swaps,
            "waiting": self._queue.qsize() + len(self._order) + self._outbox.waiting,
            "retries": self._outbox.retries,
            "lastUnreadable": self._unreadable,
        }

    # -- rows ------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        """Rows, in their order; until it is told to end."""
        while True:
            wait = self._serve_due()
            with contextlib.suppress(queue.Empty):
                item = self._queue.get(timeout=min(wait, threading.TIMEOUT_MAX))
                if isinstance(item, _Swap):
                    self._serving.put(item.slot, item.model)
                    item.done.set()
                elif isinstance(item, _Flush):
                    for each in self._order.flush():
                        self._answer(each)
                    item.done.set()
                    if item.end:
                        return
                else:
                    self._read(*item)

    def _serve_due(self) -> float:
        """Serve what is due; the seconds until more may be."""
        while True:
            found = self._order.take(self._clock())
            if isinstance(found, float):
                return found
            self._answer(found)

    def _read(self, message: Any, at: float) -> None:
        """A message becomes a row that waits for its turn, unless it came before or is none."""
        if message.message_id:
            key = (message.message_id, message.data)
            if key in self._seen:
                self._counters.repeated += 1
                return
            self._seen[key] = None
            if len(self._seen) > SEEN:
                del self._seen[next(iter(self._seen))]
        try:
            found = arrival(message, at)
        except DataError as error:
            self._counters.unreadable += 1
            first = self._unreadable != str(error)
            self._unreadable = str(error)
            # A sender that errs once errs a thousand times: each fault is told once in a row.
            if first:
                log.warning("A message is dropped: %s", error)
            return
        self._counters.rows += 1
        self._counters.bytes_in += found.size
        if self._order.put(found):
            self._answer(found)

    def _answer(self, found: Arrival) -> None:
        try:
            said = self._serving.answer(found)
        except DataError:  # the model's failure; `serving` logs the first of each model
            self._counters.errors += 1
            return
        if said is None:
            return
        if not self._choice.sends(said, self._settings):
            self._counters.dropped += 1
            return
        self._tell(said)
        self._outbox.put(telling.to_message(said))

    def _tell(self, said: Answer) -> None:
        """The blog's line in the log for each prediction, or one a second for all that came in it."""
        self._unlogged += 1
        now = self._clock()
        if now - self._logged < LOG_EVERY * 0.9:
            return
        others = "" if self._unlogged == 1 else f" (the last of {self._unlogged})"
        log.info(
            "Sending Prediction: %.5f, Actual Speed: %.12g%s",
            said.prediction.speed,
            said.arrival.row.speed,
            others,
        )
        self._logged, self._unlogged = now, 0

    # -- models ----------------------------------------------------------------------------------------

    def _swap(self, slot: Slot, model: Model | None) -> None:
        """Have `serve` use another model from its next row on, and wait until it does."""
        swap = _Swap(slot, model)
        self._queue.put(swap)
        while not swap.done.wait(0.5) and not self._stopping.is_set():
            pass

    def _rows(self, slot: Slot) -> int:
        record = self._serving.records.get(slot)
        return 0 if record is None else record.rows

    def _changed(self) -> None:
        self._twin.report_now()

    # -- small things ----------------------------------------------------------------------------------

    def _client(self) -> Any:
        """The vendor's client. It gets its handler for rows first: what comes before there is one is dropped."""
        client = self._create()
        try:
            client.on_message_received = self._on_message
        except BaseException:
            with contextlib.suppress(Exception):
                client.shutdown()
            raise
        return client

    def _on_message(self, message: Any) -> None:
        if message.input_name != INPUT:
            log.warning("A message came to %s, where none is expected", message.input_name)
            return
        self._queue.put((message, self._clock()))

    def _timestamp(self) -> str:
        return self._now().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 4)
