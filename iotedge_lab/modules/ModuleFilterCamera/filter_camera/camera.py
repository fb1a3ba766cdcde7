"""The module: follows the folder of videos, looks through each one, and sends what it finds as small messages.

Threads: `edge hub` keeps the connection, `twin` takes desired properties and reports, `outbox` sends, draws pictures
and reads plates, `watch` reads and looks; the SDK calls methods on threads of its own. Settings are put in force by
`watch`, between two frames. While the edge hub is away messages wait; when a thousand do, `watch` waits with them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from azure.iot.device import IoTHubModuleClient, MethodResponse

from filter_camera import telling
from filter_camera.gallery import Gallery
from filter_camera.ledger import Ledger
from filter_camera.settings import TABLE, Settings
from filter_camera.sight import Sight
from filter_camera.videos import Video, Videos, percentiles
from iotedge_lab.camera.codecs import VIDEO_SUFFIXES
from iotedge_lab.camera.plates import VEHICLES
from iotedge_lab.camera.video import LOOK_EVERY, FolderReader
from iotedge_lab.car.device.edge import EdgeHub
from iotedge_lab.car.device.outbox import Outbox, Parcel
from iotedge_lab.car.device.program import guarded
from iotedge_lab.car.device.twin import Twin, handlers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from iotedge_lab.camera.events import Event
    from iotedge_lab.camera.video import Problem, VideoFrame

OUTPUT: Final = "output-filter-camera"
TWIN_PATIENCE: Final = 10.0  # s that the first video waits for the twin's settings
LATEST: Final = 500  # messages whose way to the edge hub is reported
LAST_WORDS: Final = 2.0  # s that messages under way have when the module is stopped

log = logging.getLogger("ModuleFilterCamera")


class FilterCamera:
    """One filter."""

    def __init__(
        self,
        settings: Settings,
        base: Path,
        *,
        create: Callable[[], Any] = IoTHubModuleClient.create_from_edge_environment,
        failed: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`base`: what paths are relative to. `failed`: gets the exit code, on any thread, where it cannot go on."""
        self._environment = self._settings = self._wanted = settings
        self._base = base
        self._stopping = threading.Event()
        self._attention = threading.Event()  # `watch` has something to do
        self._guard = threading.Lock()
        self._again: set[str] = set()
        self._errors: dict[str, str] = {}
        self._videos = Videos()
        self._video: Video | None = None
        self._last: dict[str, Any] | None = None
        self._count = self._unreadable = self._events = 0
        self._video_bytes = self._sent_bytes = 0
        self._accepted: deque[float] = deque(maxlen=LATEST)
        self._problem: str | None = None
        self._sight = Sight(settings)
        self._reader, self._gallery, self._ledger = self._opened(settings)
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
            ("watch", self._watch),
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
        """Let messages under way be acknowledged, and end; within seconds, whatever the hub does."""
        self._stopping.set()
        self._attention.set()
        self._twin.release()
        self._threads[-1].join(LAST_WORDS)
        if self._hub.online:
            self._outbox.drained(LAST_WORDS)
        self._remember()
        self._outbox.close()
        self._hub.close()
        log.info("Stopped; %d videos looked through, %d messages sent", self._count, self._outbox.sent)

    # -- what methods and the twin act on --------------------------------------------------------------

    def again(self, video: str | None) -> int:
        """Look through that video again, or through all that are there; how many."""
        try:
            names = {each.name for each in self._reader.folder.iterdir()}
        except OSError:
            names = set()
        names = {name for name in names if name.lower().endswith(VIDEO_SUFFIXES) and name[0] != "."}
        wanted = names if video is None else names & {video}
        with self._guard:
            self._again |= wanted
        self._attention.set()
        return len(wanted)

    @property
    def report_seconds(self) -> float:
        """How often the status is reported."""
        return self._wanted.report_seconds

    def status(self) -> dict[str, Any]:
        """What is reported, as it is now."""
        counts = self._sight.looker.counts
        return TABLE.told(self._settings) | {
            "detector": self._sight.told(),
            "counters": {
                "videos": self._count,
                "unreadable": self._unreadable,
                "frames": counts.frames,
                "looked": counts.looked,
                "still": counts.still,
                "skipped": counts.skipped,
                "events": self._events,
                "sent": self._outbox.sent,
                "waiting": self._outbox.waiting,
                "videoBytes": self._video_bytes,
                "sentBytes": self._sent_bytes,
                "savedBytes": self._video_bytes - self._sent_bytes,
            },
            "last": self._last,
            "acceptedMs": percentiles(self._accepted.copy()),
            "problem": self._problem,
            "errors": dict(self._errors),
            "desiredVersion": self._twin.version,
        }

    def configure(self, desired: Mapping[str, Any]) -> None:
        """Take desired properties; what cannot be used leaves what is in force. On the twin's thread."""
        after, errors = TABLE.desired(self._environment, self._wanted, desired)
        fresh = {name: reason for name, reason in errors.items() if self._errors.get(name) != reason}
        self._errors = errors
        for name, reason in fresh.items():
            log.error("The desired property %s is refused: it %s", name, reason)
        if after != self._wanted:
            log.info("Settings: %s", after)
        self._wanted = after
        self._attention.set()

    # -- watching --------------------------------------------------------------------------------------

    def _watch(self) -> None:
        self._twin.ready.wait(TWIN_PATIENCE)
        while not self._stopping.is_set():
            self._attention.clear()
            self._take_settings()
            self._take_again()
            self._sight.look_for_detector()
            before = self._count, self._unreadable
            begun = time.perf_counter()
            for frame in self._reader.poll():
                if self._stopping.is_set():
                    return
                if self._settings is not self._wanted:
                    self._take_settings()
                begun = self._look(frame, begun)
            self._finish()
            self._remember()
            self._look_for_problems()
            if before != (self._count, self._unreadable):
                self._twin.report_now()
            self._attention.wait(LOOK_EVERY)

    def _look(self, frame: VideoFrame, begun: float) -> float:
        """One frame, which was asked for at `begun`; when it was done with."""
        if frame.number == 0 or self._video is None or self._video.name != frame.path.name:
            self._finish()
            self._video = self._begin(frame)
        video = self._video
        look = self._sight.looker.look(frame)
        video.frames += 1
        video.skipped += look.fate is look.fate.SKIPPED
        video.detector += look.spent.get("detector", 0.0)
        if self._settings.tell == "both":
            self._tell(video, look.began, "begin")
        self._tell(video, look.ended, "end")
        done = time.perf_counter()
        if look.fate is look.fate.LOOKED:
            video.looked += 1
            video.took.append(done - begun)
        return done

    def _begin(self, frame: VideoFrame) -> Video:
        name = frame.path.name
        self._sight.look_for_detector()
        height, width = frame.image.shape[:2]
        state = self._reader.done.get(name, (0, 0, 0))
        return Video(name, state, width, height, self._videos.rounds(name))

    def _finish(self) -> None:
        """The video that was read, if there was one, is at its end."""
        video, self._video = self._video, None
        if video is None:
            return
        self._tell(video, self._sight.looker.end().ended, "end")
        self._count += 1
        self._video_bytes += video.state[1]
        self._videos.read(video)
        took = max(1e-6, time.perf_counter() - video.began)
        self._last = {
            "video": video.name,
            "frames": video.frames,
            "looked": video.looked,
            "skipped": video.skipped,
            "events": video.events,
            "framesPerSecond": round(video.frames / took, 1),
            "detectorMs": round(video.detector / max(1, video.looked) * 1000.0, 1),
            "frameMs": percentiles(video.took),
        }
        log.info("Looked through %s", self._last)

    def _unread(self, problem: Problem) -> None:
        """A file that cannot be read, or not to its end. What was seen of it until then is told."""
        self._unreadable += 1
        if self._video is None or self._video.name != problem.path.name:
            self._videos.known(problem.path.name, self._reader.done[problem.path.name])

    def _tell(self, video: Video, events: Iterable[Event], state: str) -> None:
        by = "motion" if self._sight.detector is None else "detector"
        for event in events:
            if state == "end":
                self._events += 1
                video.events += 1
            identity = telling.event_id(f"{video.name}|{video.round}", video.state[0], event)
            told = telling.about(event, video.name, (video.width, video.height), by, identity)
            self._videos.put(video)
            self._outbox.put(self._parcel(video, event, told, state, time.perf_counter()), wait=True)

    def _parcel(self, video: Video, event: Event, told: dict[str, Any], state: str, put: float) -> Parcel:
        picture, large, gallery = event.picture, event.large, self._gallery
        plates = self._sight.plates

        def make() -> Any:
            if state == "end":
                plate = ""
                if plates is not None and large is not None and event.label in VEHICLES:
                    plate = plates.read(large)
                if plate:
                    told["plate"] = plate
                if picture is not None:
                    gallery.hang(event.label, picture, plate)
            return telling.to_message(told, state)

        def sent(message: Any) -> None:
            self._sent_bytes += len(message.data) + sum(
                len(name) + len(value) for name, value in message.custom_properties.items()
            )
            self._accepted.append(time.perf_counter() - put)
            self._videos.acknowledged(video)

        return Parcel(make, sent)

    # -- settings, and what is wrong -------------------------------------------------------------------

    def _opened(self, settings: Settings) -> tuple[FolderReader, Gallery, Ledger]:
        """All that depends on folders."""
        reader = FolderReader(self._base / settings.folder, self._unread)
        pictures = self._base / settings.pictures
        ledger = Ledger(pictures)
        known = ledger.read()
        reader.remember(known)
        for name, state in known.items():
            self._videos.known(name, state)
        return reader, Gallery(pictures, settings.keep), ledger

    def _take_settings(self) -> None:
        """Put in force what is wanted. Other folders wait until the video that is read is at its end."""
        before, after = self._settings, self._wanted
        if before is after:
            return
        places = (before.folder, before.pictures), (after.folder, after.pictures)
        if places[0] != places[1]:
            if self._video is not None:
                return
            self._remember()
            self._videos = Videos()
            self._reader, self._gallery, self._ledger = self._opened(after)
        elif before.keep != after.keep:
            self._gallery = Gallery(self._base / after.pictures, after.keep)
        self._sight.set(after)
        self._settings = after

    def _take_again(self) -> None:
        with self._guard:
            names, self._again = self._again, set()
        for name in names:
            self._videos.again(name)
            self._reader.forget(name)

    def _remember(self) -> None:
        """Enter in the ledger what is done with."""
        done = self._videos.fresh(self._reader.done)
        if done is not None:
            self._ledger.write(done)

    def _look_for_problems(self) -> None:
        """Say at once what a person should mend, and that it is mended."""
        folder = self._reader.folder
        missing = (
            None
            if folder.is_dir()
            else (
                f"The folder {folder} does not exist; mount the camera's folder there, or name another one."
            )
        )
        found = [missing, self._gallery.problem, self._ledger.problem, self._sight.problem]
        problem = " ".join(each for each in found if each) or None
        if problem != self._problem or self._sight.changed():
            if problem is not None and problem != self._problem:
                log.error("%s", problem)
            self._problem = problem
            self._twin.report_now()
