"""The module: makes a video every so many seconds, bounded on disk, and tells about each one.

Threads: `edge hub` keeps the connection, `twin` takes desired properties and reports, `outbox` sends, `film` makes the
videos; the SDK calls methods on threads of its own. What they share is guarded by one condition. A camera films
whether its edge hub is there or not: messages wait, and of more than a thousand the oldest are let go and counted.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from azure.iot.device import IoTHubModuleClient, MethodResponse

from iotedge_lab.camera.video import Recorder
from iotedge_lab.car.device.edge import EdgeHub
from iotedge_lab.car.device.outbox import Outbox, Parcel
from iotedge_lab.car.device.program import guarded
from iotedge_lab.car.device.twin import Twin, handlers
from iotedge_lab.errors import LabError
from simulator_camera import telling
from simulator_camera.film import open_film
from simulator_camera.settings import PLACE, TABLE, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from simulator_camera.film import Film, Frame

OUTPUT: Final = "output-simulator-camera"
TWIN_PATIENCE: Final = 10.0  # s that the first video waits for the twin's settings
AT_ONCE: Final = 1.0  # s between videos from which on each one is reported when it is there
LAST_WORDS: Final = 2.0  # s that messages under way have when the module is stopped
MEGABYTE: Final = 1_000_000

log = logging.getLogger("ModuleSimulatorCamera")


class _StoppedError(Exception):
    """The module is stopped in the middle of a video."""


class SimulatorCamera:
    """One camera. Raises UsageError, DataError or EnvironmentProblem where its frames cannot be had."""

    def __init__(
        self,
        settings: Settings,
        base: Path,
        *,
        create: Callable[[], Any] = IoTHubModuleClient.create_from_edge_environment,
        failed: Callable[[int], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        """`base`: what paths are relative to. `failed`: gets the exit code, on any thread, where it cannot go on."""
        self._environment = self._settings = settings
        self._base, self._clock, self._new_id = base, clock, new_id
        self._turn = threading.Condition(threading.RLock())
        self._stopping = threading.Event()
        self._wanted = 0  # videos that were asked for by the method
        self._filming = False
        self._paused = False
        self._errors: dict[str, str] = {}
        self._problem: str | None = None
        self._videos = self._bytes = 0
        self._last: dict[str, Any] | None = None
        self._film: Film | None = None
        self._film, self._recorder = self._opened(settings)
        self._recorder.sweep()
        self._making = self._film, 1, settings
        self._hub = EdgeHub(create, failed, log)
        self._twin = Twin(self._hub, self, log)
        self._outbox = Outbox(self._hub, OUTPUT, log)
        self._hub.handlers = handlers(
            self._hub,
            self._twin,
            lambda name, payload: telling.answer(self, name, payload),
            MethodResponse.create_from_method_request,
            log,
        )
        works = (
            ("edge hub", self._hub.run),
            ("twin", self._twin.run),
            ("outbox", self._outbox.run),
            ("film", self._run),
        )
        self._threads = [
            threading.Thread(target=guarded(work, failed, log), name=name, daemon=True)
            for name, work in works
        ]

    def start(self) -> None:
        """Set off, in the background."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Leave no half video, let the last message be acknowledged, and end; within seconds."""
        self._stopping.set()
        self._twin.release()
        self._wake()
        self._threads[-1].join(LAST_WORDS)
        if self._hub.online:
            self._outbox.drained(LAST_WORDS)
        self._outbox.close()
        self._hub.close()
        log.info("Stopped; %d videos written", self._videos)

    # -- what methods and the twin act on --------------------------------------------------------------

    def record_now(self) -> str:
        """Make a video as soon as the one under way is there; its name, if none fails before."""
        with self._turn:
            self._wanted += 1
            number = self._recorder.next_number() + self._wanted - 1 + self._filming
            name = self._recorder.path(number).name
        self._wake()
        return name

    def set_paused(self, *, paused: bool) -> None:
        """Make no more videos, or go on."""
        with self._turn:
            self._paused = paused
        self._wake()
        self._twin.report_now()

    @property
    def report_seconds(self) -> float:
        """How often the status is reported."""
        return self._settings.report_seconds

    def status(self) -> dict[str, Any]:
        """What is reported, as it is now."""
        with self._turn:
            settings = self._settings
            return TABLE.told(settings) | {
                "rate": settings.rate_in,
                "fps": settings.fps_out,
                "seconds": settings.longest,
                "paused": self._paused,
                "progress": {
                    "videos": self._videos,
                    "bytes": self._bytes,
                    "sent": self._outbox.sent,
                    "waiting": self._outbox.waiting,
                    "dropped": self._outbox.dropped,
                },
                "last": self._last,
                "problem": self._problem,
                "errors": dict(self._errors),
                "desiredVersion": self._twin.version,
            }

    def configure(self, desired: Mapping[str, Any]) -> None:
        """Take desired properties; what cannot be used leaves what is in force. On the twin's thread."""
        before = self._settings
        after, errors = TABLE.desired(self._environment, before, desired)
        opened = None
        if after != before:
            try:
                opened = self._opened(after)
            except LabError as error:
                whole = after
                after = replace(after, **{name: getattr(before, name) for name in PLACE})
                errors |= dict.fromkeys(TABLE.differing(after, whole), f"cannot be: {error}")
                opened = self._opened(after)
        with self._turn:
            fresh = {name: reason for name, reason in errors.items() if self._errors.get(name) != reason}
            self._settings, self._errors = after, errors
            if opened is not None:
                self._film, self._recorder = opened
            self._turn.notify_all()
        for name, reason in fresh.items():
            log.error("The desired property %s is refused: it %s", name, reason)
        if after != before:
            log.info("Settings: %s", after)

    def _opened(self, settings: Settings) -> tuple[Film, Recorder]:
        """Film and recorder of these settings; a road that stays the same is not made again."""
        film = self._film
        if film is None or settings.film != self._settings.film:
            film = open_film(settings, self._base)
        recorder = Recorder(
            self._base / settings.folder,
            self._frames,
            prefix=settings.name,
            keep=settings.keep,
            most_bytes=settings.most_megabytes * MEGABYTE,
            rate=settings.rate_in,
            fps=settings.fps_out,
            codec_name=settings.codec,
        )
        return film, recorder

    # -- the film --------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._twin.ready.wait(TWIN_PATIENCE)
        begun = -self._settings.every + self._clock()
        while self._due(begun):
            begun = self._clock()
            self._record()

    def _due(self, begun: float) -> bool:
        """Wait until a video is due; False when the module is stopped."""
        with self._turn:
            while not self._stopping.is_set():
                if self._wanted:
                    self._wanted -= 1
                    return True
                left = begun + self._settings.every - self._clock()
                if left <= 0.0 and not self._paused:
                    return True
                self._turn.wait(None if self._paused else left)
        return False

    def _record(self) -> None:
        with self._turn:
            assert self._film is not None
            recorder, settings = self._recorder, self._settings
            film = self._film
            self._making = film, recorder.next_number(), settings
            self._filming = True
        problem = None
        try:
            video = recorder.record()
        except _StoppedError:
            return
        except LabError as error:
            problem = str(error)
        finally:
            self._filming = False
        if problem is None:
            told = telling.about(video, settings, film.about())
            with self._turn:
                self._videos += 1
                self._bytes += video.size
                self._last = told
            message_id = self._new_id()
            self._outbox.put(Parcel(lambda: telling.to_message(told, message_id)), wait=False)
            log.info("Video %s: %d frames, %d bytes", told["video"], video.frames, video.size)
        else:
            log.error("No video this time: %s", problem)
        changed, self._problem = problem != self._problem, problem
        if changed or settings.every >= AT_ONCE:
            self._twin.report_now()

    def _frames(self) -> Iterator[Frame]:
        """The frames of the video under way; it ends in the middle when the module is stopped."""
        film, number, settings = self._making
        for frame in film.frames(number, settings):
            if self._stopping.is_set():
                raise _StoppedError
            yield frame

    def _wake(self) -> None:
        with self._turn:
            self._turn.notify_all()
