"""A capture's process: takes its lock and the lake's, captures until told to stop, and says how it is."""

from __future__ import annotations

import asyncio
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final

import psutil

from iotedge_lab.errors import LabError
from iotedge_lab.lake import status, upkeep
from iotedge_lab.lake.engine import Engine
from iotedge_lab.lake.place import CaptureFolder, CaptureSettings
from iotedge_lab.lake.status import Status
from iotedge_lab.lake.tables import Tables
from iotedge_lab.serve.daemon import keep_errors, serve_in, stop_events, tell

if TYPE_CHECKING:
    from pathlib import Path

    from iotedge_lab.clock import Clock

log = logging.getLogger(__name__)

_REPORT: Final = 0.5  # s


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """What the command line says; the rest is in the folder's settings.json."""

    state: Path
    until_eof: bool = False


def run(asked: ProcessSettings, clock: Clock, ready: IO[str]) -> int:
    """Capture until SIGTERM or SIGINT; the exit status. Says ready, or the error, on `ready`."""
    folder = CaptureFolder(asked.state)
    for name in ("azure.eventhub", "azure.eventhub._pyamqp"):
        logging.getLogger(name).setLevel(logging.ERROR)  # each failed try is said by us, in one line
    return serve_in(folder, lambda: _capture(folder, asked, clock, ready), "the capture", ready)


async def _capture(folder: CaptureFolder, asked: ProcessSettings, clock: Clock, ready: IO[str]) -> None:
    settings = folder.load()
    with settings.lake.claimed():
        await _Process(folder, settings, clock).run(asked, ready)


class _Process:
    def __init__(self, folder: CaptureFolder, settings: CaptureSettings, clock: Clock) -> None:
        self._folder = folder
        self._settings = settings
        self._clock = clock
        self._started = clock.now()
        self._process = psutil.Process()

    async def run(self, asked: ProcessSettings, ready: IO[str]) -> None:
        loop = asyncio.get_running_loop()
        stop, _ = stop_events(loop, until_eof=asked.until_eof)
        settings = self._settings
        tables = Tables(settings.lake)
        engine = Engine(settings, tables, self._clock)
        self._say(engine.report())
        log.info("capturing into %s (process %d)", settings.lake.uri, os.getpid())
        tell(ready, {"ready": True, "pid": os.getpid()})
        keep_errors(self._folder.path / "capture.err")
        reporting = loop.create_task(self._report(engine, stop))
        tending = loop.create_task(self._tend())
        try:
            await engine.run(stop)
        except Exception as error:
            word = str(error) if isinstance(error, LabError) else f"A fault of the lab's own: {error!r}"
            self._say({**engine.report(), "state": status.FAILED, "word": word})
            raise
        else:
            log.info("the capture stops")
            self._say({**engine.report(), "state": status.STOPPED, "word": "It was stopped."})
        finally:
            reporting.cancel()
            tending.cancel()
            await asyncio.gather(reporting, tending, return_exceptions=True)

    async def _report(self, engine: Engine, stop: asyncio.Event) -> None:
        while True:
            await asyncio.sleep(_REPORT)
            if not self._folder.path.is_dir():
                log.warning("the state folder is gone: nobody can find this capture any more, so it ends")
                stop.set()
                return
            self._say(engine.report())

    async def _tend(self) -> None:
        keeper = upkeep.Upkeep(
            self._settings.lake, keep_versions=self._settings.keep_versions, now=self._clock.now
        )
        thread = ThreadPoolExecutor(1, "upkeep")
        try:
            while True:
                await asyncio.sleep(upkeep.EVERY)
                await asyncio.get_running_loop().run_in_executor(thread, keeper.tend)
        finally:
            thread.shutdown(wait=True, cancel_futures=True)

    def _say(self, report: dict[str, Any]) -> None:
        """Into the file. A disk that is full for it is full for the tables too, and they say so."""
        said = Status(
            pid=os.getpid(),
            started=self._started,
            updated=self._clock.now(),
            lake=self._settings.lake.uri,
            group=self._settings.group,
            memory=round(self._process.memory_info().rss / 2**20, 1),
            **report,
        )
        try:
            said.write(self._folder.status_file)
        except OSError as error:
            log.warning("%s cannot be written: %s", self._folder.status_file, error.strerror)
