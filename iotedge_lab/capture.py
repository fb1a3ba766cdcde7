"""The capture as a notebook, a test or the terminal handles it: started, asked, waited for, stopped.

    capture = Capture(lab.state_dir).open(lab.events_connection_string)
    capture.wait()                        # all that the hub has acknowledged is in the tables
    capture.status().rows, capture.status().lag
    capture.stop()

The process (`python -m iotedge_lab.lake`) outlives the notebook as the hub does. Stopping it, or killing it, loses
nothing: started again, it goes on where the tables are.
"""

from __future__ import annotations

import contextlib
import time
from html import escape
from typing import TYPE_CHECKING, Any, Final, Self

import psutil

from iotedge_lab import launch
from iotedge_lab.errors import EnvironmentProblem, HubFailed, HubNotRunning
from iotedge_lab.lake import status as words
from iotedge_lab.lake.place import GROUP, KEPT, CaptureFolder, CaptureSettings, LakePlace
from iotedge_lab.lake.status import Status

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

__all__ = ["Capture"]

_POLL: Final = 0.05
_ONE_WAIT: Final = 60.0


class Capture:
    """The capture of a state folder. `ephemeral`: one that is started here ends with this process, or `close`."""

    def __init__(self, state: Path, *, ephemeral: bool = False) -> None:
        self.folder = CaptureFolder(state)
        self._ephemeral = ephemeral
        self._child: launch.Child | None = None

    # -- starting ------------------------------------------------------------------------------------------

    def open(
        self,
        events: str,
        *,
        lake: str | os.PathLike[str] | None = None,
        storage_options: Mapping[str, str] | None = None,
        events_name: str = "",
        group: str = GROUP,
        seconds: float = 1.0,
        keep_versions: int = KEPT,
    ) -> Self:
        """Have it capture from the endpoint with the connection string `events`; one that does so already goes on.

        lake: a folder, or the URL of an object store that Delta knows, with `storage_options`; by default the folder
        `lake` of the state folder. group: the consumer group that it reads as. seconds: after which a batch is
        written, and with it a version of a table. keep_versions: how many of the newest can be read.

        Raises `StateLocked` where another capture has the lake, `UsageError` for a lake of another shape, and
        `EnvironmentProblem` for one that cannot be written to. A hub that does not answer is no error: it is tried
        until it does, and `status` says so.
        """
        place = LakePlace.of(lake if lake is not None else self.folder.lake, storage_options)
        wanted = CaptureSettings(
            events, place, events_name=events_name, group=group, seconds=seconds, keep_versions=keep_versions
        )
        if self.is_running:
            if self.folder.load() == wanted:
                return self
            self.stop()
        self.folder.save(wanted)
        return self.start()

    def start(self) -> Self:
        """Start it as it ran last; nothing if it runs. Raises as `open`."""
        if self.is_running:
            return self
        self._ended()  # one that ended by itself
        self.folder.load()  # raises what is wrong with it
        child = launch.spawn(
            ["-m", "iotedge_lab.lake", "--state", str(self.folder.state)],
            "the capture",
            self.folder.log_file,
            until_eof=self._ephemeral,
        )
        self._child = child if self._ephemeral else None
        return self

    # -- how it is -----------------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether its process lives."""
        return self.folder.locked()

    @property
    def lake(self) -> LakePlace:
        """Where it writes. Raises `EnvironmentProblem` where none was ever started."""
        return self.folder.load().lake

    def status(self) -> Status:
        """What it said of itself last, half a second ago if it runs. Raises `HubNotRunning` before its first word.

        A process that was killed said that it runs: see `is_running`.
        """
        found = Status.read(self.folder.status_file)
        if found is None:
            raise HubNotRunning("No capture has run here. Start it: 'iotedge-lab capture start'.")
        return found

    def wait(self, timeout: float = _ONE_WAIT) -> Status:
        """Until all that the hub has now is in the tables. Raises `HubFailed` where it ends, or does not come to that.

        What arrives while it waits is not waited for.
        """
        deadline = time.monotonic() + timeout
        log, ends = self._ends(timeout)
        while True:
            running = self.is_running  # before the status: what it says when it ends is its last word
            found = self.status()
            places = found.partitions
            if found.log == log and all(
                name in places and places[name].stored >= ends[name] for name in ends
            ):
                return found
            if not running:
                word = found.word if found.state == words.FAILED else "it was stopped, or killed."
                raise HubFailed(f"The capture does not run: {word} Its log is {self.folder.log_file}.")
            if time.monotonic() > deadline:
                raise HubFailed(
                    f"The capture is {found.state} and {found.behind} messages behind after {timeout:g} s. {found.word}"
                )
            time.sleep(_POLL)

    def _ends(self, timeout: float) -> tuple[str, dict[str, int]]:
        """Which log the hub has, and where its partitions end."""
        from azure.eventhub import EventHubConsumerClient
        from azure.eventhub.exceptions import EventHubError

        from iotedge_lab.lake.endpoint import identity

        settings = self.folder.load()
        try:
            with EventHubConsumerClient.from_connection_string(
                settings.events,
                consumer_group=settings.group,
                eventhub_name=settings.events_name or None,
                retry_total=1,
                retry_backoff_factor=0.2,
                auth_timeout=timeout,
            ) as client:
                found = client.get_eventhub_properties()
                partitions = [client.get_partition_properties(name) for name in found["partition_ids"]]
                # What is gone from the hub, by age or by a reset, does not come.
                ends = {
                    each["id"]: int(each["last_enqueued_sequence_number"])
                    for each in partitions
                    if not each["is_empty"]
                }
                return identity(found), ends
        except (EventHubError, OSError) as error:
            said = " ".join(str(error).split())[:300]
            raise HubNotRunning(f"The built-in endpoint does not answer: {said}") from error

    # -- ending --------------------------------------------------------------------------------------------

    def stop(self) -> bool:
        """Stop it in order: what it has read is written first. False if it did not run."""
        if not self.is_running:
            return False
        with self._process() as process:
            process.terminate()
            if not launch.gone(self.folder):
                process.kill()
                launch.gone(self.folder)
        self._ended()
        return True

    def kill(self) -> None:
        """Kill it (SIGKILL), as a power cut would, and wait until it is gone."""
        if not self.is_running:
            raise HubNotRunning("there is no capture to kill: it does not run.")
        with self._process() as process:
            process.kill()
            if not launch.gone(self.folder):
                raise EnvironmentProblem(
                    f"process {process.pid} was killed and still holds {self.folder.path}."
                )
        self._ended()

    def close(self) -> None:
        """End it if it may not outlive this process, else only let go of it."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def _ended(self) -> None:
        if self._child is not None:
            self._child.wait()
            self._child = None

    @contextlib.contextmanager
    def _process(self) -> Iterator[psutil.Process]:
        told = Status.read(self.folder.status_file)
        process = None
        if told is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(told.pid)
        # One that is younger than the file says has been given the number of one that is gone.
        if told is None or process is None or process.create_time() > told.started + 1.0:
            raise EnvironmentProblem(
                f"{self.folder.path} is locked, and not by the process that its status names: a capture is just "
                "starting, or runs in a container that shares the folder. Try again in a moment, or stop it there."
            )
        with launch.our_own(process):
            yield process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        found = Status.read(self.folder.status_file)
        state = "not running" if found is None or not self.is_running else found.state
        return f"Capture({state}, {found.lake if found else self.folder.lake})"

    def _repr_html_(self) -> str:
        found = Status.read(self.folder.status_file)
        rows: dict[str, Any] = {"capture": found.state if found and self.is_running else "not running"}
        if found is not None:
            rows |= {"lake": found.lake, **{name: f"{count:,} rows" for name, count in found.rows.items()}}
            if found.lag is not None:
                rows["late"] = f"{found.lag.p50:.1f} s (99 of 100 within {found.lag.p99:.1f} s)"
        cells = "".join(
            f"<tr><th style='text-align:left'>{escape(name)}</th><td>{escape(str(value))}</td></tr>"
            for name, value in rows.items()
        )
        return f"<table>{cells}</table>"
