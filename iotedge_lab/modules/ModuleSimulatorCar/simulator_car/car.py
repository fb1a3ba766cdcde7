"""The module: takes what is due from its feed and sends it until the edge hub has acknowledged it.

Threads: `edge hub` keeps the connection, `twin` takes desired properties and reports, `drive` sends the rows one
after another; the SDK calls methods on threads of its own. What they share is guarded by one condition. While the
edge hub is away a recording waits at its row, and rows of a live bus queue up; nothing is skipped.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

from azure.iot.device import IoTHubModuleClient, MethodResponse

from iotedge_lab.car.device.edge import EdgeHub
from iotedge_lab.car.device.program import guarded
from iotedge_lab.car.device.twin import reported
from iotedge_lab.errors import LabError
from simulator_car import methods
from simulator_car.feeds import open_feed, prepare
from simulator_car.reading import Reading, alerts, to_message
from simulator_car.report import difference
from simulator_car.settings import (
    FEED,
    PLACE,
    RATE,
    Settings,
    changed,
    desired_settings,
    differing,
    merged,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from simulator_car.feeds import Feed

OUTPUT: Final = "output-simulator-car"
RETRY: Final = 1.0  # s between two attempts to send, or to have the twin
TWIN_PATIENCE: Final = 10.0  # s that the first row waits for the twin's settings
LAST_ROW: Final = 3.0  # s that the row under way has when the module is stopped
LOG_EVERY: Final = 1.0  # s between two lines about rows

log = logging.getLogger("ModuleSimulatorCar")


class SimulatorCar:
    """One car. Raises UsageError, DataError or EnvironmentProblem where its rows cannot be had."""

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        *,
        create: Callable[[], Any] = IoTHubModuleClient.create_from_edge_environment,
        failed: Callable[[int], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        """`folder`: what paths are relative to. `failed`: gets the exit code, on any thread, where it cannot go on."""
        self._base = self._settings = settings
        self._folder = folder
        self._failed = failed
        self._clock = clock
        self._new_id = new_id
        self._turn = threading.Condition(threading.RLock())
        self._stopping = threading.Event()
        self._ready = threading.Event()  # the twin has been looked at
        self._attention = threading.Event()  # the twin's thread has something to do
        self._patches: list[Mapping[str, Any]] = []
        self._twin_wanted = True
        self._desired: dict[str, Any] = {}
        self._version = 0
        self._errors: dict[str, str] = {}
        self._known: dict[str, Any] = {}  # what the hub has been told
        self._row = self._lap = self._sent = self._alerts = self._retries = 0
        self._logged = -LOG_EVERY
        self._unlogged = 0
        self._feed = open_feed(settings, folder, self._wake, clock())
        handlers = {
            "on_method_request_received": self._on_method,
            "on_twin_desired_properties_patch_received": self._on_patch,
            "on_connection_state_change": self._on_connection,
        }
        self._hub = EdgeHub(create, failed, log)
        self._hub.handlers = handlers
        self._threads = [
            threading.Thread(target=guarded(work, failed, log), name=name, daemon=True)
            for name, work in (("edge hub", self._hub.run), ("twin", self._attend), ("drive", self._drive))
        ]

    def start(self) -> None:
        """Set off, in the background."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let the row under way be acknowledged, disconnect, and end; within seconds, whatever the hub does."""
        self._stopping.set()
        self._ready.set()
        self._attention.set()
        self._wake()
        self._hub.release()
        self._threads[-1].join(LAST_ROW if self._hub.online else 0.0)
        self._hub.close()
        self._feed.close()
        log.info("Stopped; %d rows sent", self._sent)

    # -- what the methods act on -----------------------------------------------------------------------

    def set_speed(self, speed: float) -> None:
        """Replay faster or slower. Raises UsageError."""
        with self._turn:
            self._feed.set_speed(speed, self._clock())
            self._turn.notify_all()
        self._attention.set()

    def set_paused(self, *, paused: bool) -> None:
        """Hold the drive, or go on."""
        with self._turn:
            if paused:
                self._feed.pause()
            else:
                self._feed.resume(self._clock())
            self._turn.notify_all()
        self._attention.set()

    def status(self) -> dict[str, Any]:
        """What is reported, as it is now."""
        with self._turn:
            settings, feed = self._settings, self._feed
            progress = feed.progress(self._clock()) | {
                "row": self._row,
                "lap": self._lap,
                "sent": self._sent,
                "alerts": self._alerts,
                "retries": self._retries,
            }
            progress["laps"] = max(0, self._lap - 1) + (self._lap > 0 and self._row == progress.get("rows"))
            return settings.told() | {
                "speed": feed.speed,
                "messagesPerSecond": settings.rate * feed.speed,
                "paused": feed.paused,
                "progress": progress,
                "errors": dict(self._errors),
                "desiredVersion": self._version,
            }

    # -- the drive -------------------------------------------------------------------------------------

    def _drive(self) -> None:
        self._hub.connected.wait()
        self._ready.wait(TWIN_PATIENCE)
        while (taken := self._next()) is not None:
            reading, settings, sequence = taken
            message = to_message(reading, settings, sequence, self._new_id())
            if not self._send(message):
                return
            with self._turn:
                self._sent = sequence
                self._row, self._lap = reading.number, reading.lap
                self._alerts += bool(alerts(reading.row, settings))
            self._tell(reading, message)

    def _next(self) -> tuple[Reading, Settings, int] | None:
        """The reading that is due next, with the settings of that moment; None when the module is stopped."""
        with self._turn:
            while not self._stopping.is_set():
                got = self._feed.take(self._clock())
                if isinstance(got, Reading):
                    return got, self._settings, self._sent + 1
                self._turn.wait(min(got, threading.TIMEOUT_MAX))
        return None

    def _send(self, message: Any) -> bool:
        """Send it until it is acknowledged; False when the module is stopped before that."""
        failed = False
        while not self._stopping.is_set():
            try:
                self._hub.client.send_message_to_output(message, OUTPUT)
            except Exception as error:  # noqa: BLE001 - whatever it is, the row is not lost for it
                if self._stopping.is_set():
                    break
                if not failed:
                    log.warning("Not sent, trying until it is: %s", error)
                failed = True
                with self._turn:
                    self._retries += 1
                self._stopping.wait(RETRY)
            else:
                return True
        return False

    def _tell(self, reading: Reading, message: Any) -> None:
        """A line in the log for each row, or one a second for all that came in it."""
        self._unlogged += 1
        now = self._clock()
        if now - self._logged < LOG_EVERY * 0.9:
            return
        if self._unlogged == 1:
            log.info("Sent row %d of lap %d: %s", reading.number, reading.lap, message)
        else:
            log.info(
                "Sent %d rows; row %d of lap %d: %s", self._unlogged, reading.number, reading.lap, message
            )
        self._logged, self._unlogged = now, 0

    # -- the twin --------------------------------------------------------------------------------------

    def _attend(self) -> None:
        """Take desired properties, and report; until the module is stopped."""
        self._hub.connected.wait()
        troubled = False
        while not self._stopping.is_set():
            self._attention.clear()
            failed = False
            try:
                if self._hub.online:
                    self._take_desired()
                    self._ready.set()
                    self._report()
                    troubled = False
            except Exception as error:  # noqa: BLE001 - the connection's errors: the twin is looked at again
                self._ready.set()  # a twin that cannot be had does not hold up the drive
                if not (troubled or self._stopping.is_set()):
                    log.warning("The twin cannot be reached, trying again: %s", error)
                troubled = failed = True
            self._attention.wait(RETRY if failed else self._settings.report_seconds)

    def _take_desired(self) -> None:
        with self._turn:
            wanted, self._twin_wanted = self._twin_wanted, False
        if wanted:
            try:
                twin = self._hub.client.get_twin()
            except BaseException:
                self._twin_wanted = True
                raise
            self._known = reported(twin)
            self.configure(twin["desired"], whole=True)
        with self._turn:
            patches, self._patches = self._patches, []
        for patch in patches:
            self.configure(patch)

    def _report(self) -> None:
        status = self.status()
        patch = difference(self._known, status)
        if patch:
            self._hub.client.patch_twin_reported_properties(patch)
            self._known = status

    def configure(self, desired: Mapping[str, Any], *, whole: bool = False) -> None:
        """Take desired properties: all of the twin's (`whole`), or a patch. On the twin's thread alone."""
        version = desired.get("$version", 0)
        if not whole and version <= self._version:
            return  # the twin that was read meanwhile had it already
        self._desired = merged({} if whole else self._desired, desired)
        before = self._settings
        values, errors = desired_settings(self._base, self._desired)
        feed_values = {name: values.pop(name) for name in FEED if name in values}
        after, change, refused = self._prepared(changed(before, values), feed_values)
        errors |= refused
        with self._turn:
            old = self._feed
            self._feed = change(self._clock())
            if self._feed is not old:
                self._row = self._lap = 0
            fresh = {name: reason for name, reason in errors.items() if self._errors.get(name) != reason}
            self._settings, self._errors, self._version = after, errors, version
            self._turn.notify_all()
        if old is not self._feed:
            old.close()
        for name, reason in fresh.items():
            log.error("The desired property %s is refused: it %s", name, reason)
        if after != before:
            log.info("Settings: %s", after)

    def _prepared(
        self, settings: Settings, wanted: Mapping[str, Any]
    ) -> tuple[Settings, Callable[[float], Feed], dict[str, str]]:
        """`settings` with what is wanted of the feed, how it becomes so, and what of it is refused.

        A source, its file and the like go together or not at all; a rate that fits is taken without them, and they
        without a rate that does not.
        """
        reason = ""
        for names in (FEED, PLACE, (RATE,), ()):
            after = changed(settings, {name: value for name, value in wanted.items() if name in names})
            try:
                change = prepare(
                    self._feed,
                    self._settings,
                    after,
                    folder=self._folder,
                    wake=self._wake,
                    now=self._clock(),
                )
            except LabError as error:
                reason = reason or str(error)
                continue
            whole = changed(settings, wanted)
            return after, change, dict.fromkeys(differing(after, whole), f"cannot be: {reason}")
        raise AssertionError("what is in force can be")

    # -- what the SDK calls ----------------------------------------------------------------------------

    def _on_patch(self, patch: Mapping[str, Any]) -> None:
        with self._turn:
            self._patches.append(patch)
        self._attention.set()

    def _on_connection(self) -> None:
        """Connected or not: what the twin was told meanwhile is asked for, as the hub does not tell it again."""
        if self._stopping.is_set():
            return
        if self._hub.online:
            log.info("Connected to the edge hub")
            self._twin_wanted = True
            self._attention.set()
        else:
            log.warning("The edge hub is lost; rows wait for it")

    def _on_method(self, request: Any) -> None:
        status, payload = methods.answer(self, request.name, request.payload)
        log.info("Method %s: %d", request.name, status)
        response = MethodResponse.create_from_method_request(request, status, payload)
        try:
            self._hub.client.send_method_response(response)
        except Exception as error:  # noqa: BLE001 - the caller has its time-out
            log.warning("The answer to %s was not sent: %s", request.name, error)

    # -- small things ----------------------------------------------------------------------------------

    def _wake(self) -> None:
        with self._turn:
            self._turn.notify_all()
