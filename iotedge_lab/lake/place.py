"""Where a capture keeps what it is, and what it says of itself; and where a lake is.

<state>/capture/           0700
    capture.lock           held by the running process
    settings.json    0600  what it was started with, connection string and storage options included
    status.json      0600  what it says of itself, twice a second (`status.Status`)
    capture.log            what it did; rotated
<state>/lake/              the lake, unless another place is named
    telemetry/ ...         a Delta table each
    .capture.lock          held by the process that writes there
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from filelock import FileLock, Timeout

from iotedge_lab.errors import EnvironmentProblem, StateLocked, UsageError
from iotedge_lab.serve import keyfiles
from iotedge_lab.serve.held import HeldFolder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

GROUP: Final = "$Default"
KEPT: Final = 3_000  # versions: with many more each commit takes its time, as it lists them
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # one letter is a drive of Windows


@dataclass(frozen=True, slots=True)
class LakePlace:
    """A folder, or the URL of an object store that Delta knows (`abfss://`, `s3://`, `gs://`, ...).

    `options`: what deltalake takes as `storage_options`; keys that the environment holds need not be there.
    """

    uri: str
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, where: str | os.PathLike[str], options: Mapping[str, str] | None = None) -> LakePlace:
        """From what a person gives. Raises `UsageError`."""
        text = os.fspath(where)
        if not text.strip():
            raise UsageError("A lake is a folder or a URL, not the empty text.")
        if not _SCHEME.match(text):
            return cls(str(Path(text).expanduser().absolute()), dict(options or {}))
        parts = urlsplit(text)
        if parts.password or parts.query:
            raise UsageError(
                "The lake's URL holds a secret or a query; give keys as storage options instead."
            )
        if parts.scheme == "file":
            return cls(str(Path(unquote(parts.path)).absolute()), dict(options or {}))
        return cls(text.rstrip("/"), dict(options or {}))

    @property
    def folder(self) -> Path | None:
        """The folder, or None for an object store."""
        return None if _SCHEME.match(self.uri) else Path(self.uri)

    def table(self, name: str) -> str:
        """Where a table is."""
        return str(self.folder / name) if self.folder is not None else f"{self.uri}/{name}"

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the lake as its only writer, where it is a folder. Raises `StateLocked`, `EnvironmentProblem`.

        In an object store there is nothing to hold; there the tables' own transactions let one of two go on
        (`tables.Writer`).
        """
        if self.folder is None:
            yield
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / ".capture.lock", timeout=1.0, mode=0o600)
            lock.acquire()
        except Timeout as error:
            raise StateLocked(
                f"Another capture writes to the lake {self.uri}. Read what it writes, stop it with 'iotedge-lab "
                "capture stop' and its --state, or name another lake."
            ) from error
        except OSError as error:
            raise EnvironmentProblem(
                f"The lake {self.uri} cannot be written to ({error.strerror or error}). Name another folder: --lake."
            ) from error
        try:
            yield
        finally:
            lock.release()


@dataclass(frozen=True, slots=True)
class CaptureSettings:
    """How a capture runs. A batch is written after `seconds`, or sooner with `rows` messages."""

    events: str = field(repr=False)
    """the connection string of the built-in endpoint"""
    lake: LakePlace
    events_name: str = ""
    """the endpoint's name; needed where the connection string has no EntityPath"""
    group: str = GROUP
    seconds: float = 1.0
    rows: int = 10_000
    keep_versions: int = KEPT
    """how many of the newest versions of a table can be read"""

    def __post_init__(self) -> None:
        if not self.events:
            raise UsageError("A capture needs the connection string of the built-in endpoint.")
        if not 0.05 <= self.seconds <= 3600.0:
            raise UsageError(f"A batch is written each 0.05 to 3600 s, not {self.seconds:g}.")
        if not 1 <= self.rows <= 1_000_000:
            raise UsageError(f"A batch has 1 to 1,000,000 messages, not {self.rows}.")
        if not 100 <= self.keep_versions <= 1_000_000:
            raise UsageError(f"100 to 1,000,000 versions can be kept, not {self.keep_versions}.")

    def to_json(self) -> dict[str, Any]:
        """As a file holds them."""
        return {**asdict(self), "lake": {"uri": self.lake.uri, "options": dict(self.lake.options)}}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> CaptureSettings:
        """From `to_json`'s. Raises KeyError or TypeError for what is none."""
        lake = found["lake"]
        return cls(**{**found, "lake": LakePlace(str(lake["uri"]), dict(lake["options"]))})


class CaptureFolder(HeldFolder):
    """The files of a capture, and the lock of its process."""

    def __init__(self, state: Path) -> None:
        super().__init__(state / "capture", "capture.lock")
        self.state = state

    @property
    def settings_file(self) -> Path:
        """What it is started with."""
        return self.path / "settings.json"

    @property
    def status_file(self) -> Path:
        """What it says of itself."""
        return self.path / "status.json"

    @property
    def log_file(self) -> Path:
        """What it did."""
        return self.path / "capture.log"

    @property
    def lake(self) -> Path:
        """The lake where no other is named."""
        return self.state / "lake"

    def taken(self) -> str:
        """Who has the lock, and what to do."""
        return (
            f"Another capture runs on {self.path}. See it with 'iotedge-lab capture status', or stop it with "
            "'iotedge-lab capture stop'."
        )

    def save(self, settings: CaptureSettings) -> None:
        """Keep what the process is to be started with; raises `EnvironmentProblem`."""
        self.prepare()
        keyfiles.write(self.settings_file, json.dumps(settings.to_json(), indent=2).encode())

    def load(self) -> CaptureSettings:
        """What `save` kept; raises `EnvironmentProblem` where it is missing or damaged."""
        try:
            return CaptureSettings.from_json(json.loads(self.settings_file.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EnvironmentProblem(
                f"{self.settings_file} cannot be read ({type(error).__name__}). Start the capture anew: 'iotedge-lab "
                "capture start'."
            ) from error
