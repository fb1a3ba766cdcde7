"""Where a lab's edge runtime keeps what it is, and says how to reach it.

<state>/edges/
    runtime.lock          held by the running process
    runtime.json   0600   its process, control port and token (`RuntimeFile`)
    edges.json     0600   the edge devices to run, with their connection strings
    runtime.log           what it did; rotated
    <device>/             one edge device: store, logs, modules, mounts
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from iotedge_lab.edge.runtime.settings import EdgeSettings
from iotedge_lab.serve.claims import release
from iotedge_lab.serve.held import HeldFolder

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RuntimeFile:
    """What a running runtime writes for those who want to reach it."""

    pid: int
    port: int
    token: str = field(repr=False)
    started: float
    version: str

    @property
    def url(self) -> str:
        """The control API."""
        return f"http://127.0.0.1:{self.port}"


class RuntimeFolder(HeldFolder):
    """The files of a runtime, and its lock."""

    name: ClassVar[str] = "edges"

    def __init__(self, state: Path) -> None:
        super().__init__(state / self.name, "runtime.lock")
        self.state = state

    @property
    def file(self) -> Path:
        """How to reach the runtime."""
        return self.path / "runtime.json"

    @property
    def log_file(self) -> Path:
        """What the runtime did."""
        return self.path / "runtime.log"

    def taken(self) -> str:
        """Who has the lock, and what to do."""
        return (
            f"Another edge runtime runs on {self.path}. Use it ('iotedge-lab edge status'), or stop it with "
            "'iotedge-lab edge down'."
        )

    def write(self, told: RuntimeFile) -> None:
        """Say how to reach the runtime."""
        _write_private(self.file, asdict(told))

    def read(self) -> RuntimeFile | None:
        """What the last runtime here said of itself, or None; it may have ended since (`locked`)."""
        with contextlib.suppress(OSError, ValueError, TypeError):
            return RuntimeFile(**json.loads(self.file.read_text(encoding="utf-8")))
        return None

    def save_edges(self, edges: dict[str, EdgeSettings]) -> None:
        """Keep which edge devices are to run; on a full disk that is only said in the log, for they do run."""
        try:
            _write_private(self.path / "edges.json", {name: to_json(each) for name, each in edges.items()})
        except OSError as error:
            log.warning(
                "%s cannot be written (%s): after a restart other edge devices run than now",
                self.path / "edges.json",
                error.strerror,
            )

    def load_edges(self) -> dict[str, EdgeSettings]:
        """The edge devices that are to run; none where the file is missing or damaged."""
        file = self.path / "edges.json"
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            return {name: from_json(each) for name, each in found.items()}
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("%s cannot be read (%s): start the edge devices again", file, type(error).__name__)
        return {}


def release_all(edges: Path) -> None:
    """The addresses of all edge devices in a folder are free for others: none of them comes back."""
    for owner in edges.glob("*/edge.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            release(str(json.loads(owner.read_text(encoding="utf-8"))["host"]), owner)


def to_json(settings: EdgeSettings) -> dict[str, Any]:
    """Settings as JSON, the connection string included."""
    return {
        "connectionString": settings.connection_string,
        "gateway": settings.gateway,
        "moduleFolders": [str(folder) for folder in settings.module_folders],
        "images": {pattern: str(folder) for pattern, folder in settings.images.items()},
        "caFile": str(settings.ca_file) if settings.ca_file else None,
        "httpsPort": settings.https_port,
        "fsync": settings.fsync,
    }


def from_json(found: dict[str, Any]) -> EdgeSettings:
    """Settings from `to_json`'s. Raises KeyError or TypeError for what is none."""
    return EdgeSettings(
        connection_string=found["connectionString"],
        gateway=found.get("gateway"),
        module_folders=tuple(Path(folder) for folder in found.get("moduleFolders") or ()),
        images={pattern: Path(folder) for pattern, folder in (found.get("images") or {}).items()},
        ca_file=Path(found["caFile"]) if found.get("caFile") else None,
        https_port=found.get("httpsPort"),
        fsync=bool(found.get("fsync")),
    )


def _write_private(file: Path, content: dict[str, Any]) -> None:
    """Written beside and moved over, so that no reader sees half of it."""
    beside = file.with_suffix(f".{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=2)
    beside.replace(file)
