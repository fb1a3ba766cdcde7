"""The state folder: where a hub keeps its store, keys and certificates, and says how to reach it.

<state>/            0700
hub.lock          held by the running hub
hub.json    0600  how to reach it: address, ports, policies with their keys (`HubFile`)
hub.db      0600  the store
hub.log           what it did; rotated
certificates/     the lab's own authority and the server's certificate
storage/          blobs, and the keys to them (`serve/storage`)
"""

from __future__ import annotations

import json
import os
import stat
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import platformdirs

from iotedge_lab.errors import EnvironmentProblem
from iotedge_lab.serve.held import HeldFolder

STATE_VARIABLE = "IOTEDGE_LAB_STATE"
NETWORK_FILE_SYSTEMS = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb2",
        "smb3",
        "smbfs",
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "davfs",
        "fuse.blobfuse",
        "fuse.blobfuse2",
        "fuse.ceph-fuse",
        "fuse.gcsfuse",
        "fuse.glusterfs",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.sshfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "vboxsf",
    }
)


@dataclass(frozen=True, slots=True)
class HubFile:
    """What a running hub writes for those who want to reach it. `keys`: policy name to primary key.

    `storage`: the connection string of the storage account, '' where it has no port (or the hub is of an older lab).
    """

    hub_id: str
    pid: int
    host: str
    hostname: str
    mqtt_port: int
    amqp_port: int
    plain_amqp_port: int
    https_port: int
    proxy_port: int
    port_443: bool
    started: float
    version: str
    keys: dict[str, str]
    storage: str = ""

    def __repr__(self) -> str:
        return f"HubFile(hostname={self.hostname!r}, pid={self.pid}, keys=***)"


def default_folder() -> Path:
    """`$IOTEDGE_LAB_STATE`, else the user's state folder."""
    named = os.environ.get(STATE_VARIABLE)
    return Path(named).expanduser() if named else platformdirs.user_state_path("iotedge-lab", appauthor=False)


class StateFolder(HeldFolder):
    """The paths in a state folder, and its lock."""

    def __init__(self, path: Path | str | None = None) -> None:
        super().__init__(
            Path(path if path is not None else default_folder()).expanduser().absolute(), "hub.lock"
        )

    @property
    def certificates(self) -> Path:
        """The folder of the lab's authority."""
        return self.path / "certificates"

    @property
    def hub_file(self) -> Path:
        """How to reach the hub."""
        return self.path / "hub.json"

    @property
    def log_file(self) -> Path:
        """What the hub did."""
        return self.path / "hub.log"

    def prepare(self) -> None:
        """Make the folder, private to its owner. Raises `EnvironmentProblem` where a hub cannot live in it."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if stat.S_IMODE(self.path.stat().st_mode) & 0o077 and sys.platform != "win32":
                self.path.chmod(0o700)
        except OSError as error:
            raise EnvironmentProblem(
                f"the state folder {self.path} cannot be made or made private ({error.strerror}). Name another "
                f"one with --state or {STATE_VARIABLE}."
            ) from error
        kind = file_system(self.path)
        if kind in NETWORK_FILE_SYSTEMS:
            raise EnvironmentProblem(
                f"the state folder {self.path} is on a network file system ({kind}), where the store's "
                f"write-ahead log does not work. Name a folder on a local disk with --state or {STATE_VARIABLE}."
            )

    def taken(self) -> str:
        """Who has the lock, and what to do."""
        running = self.read()
        who = f" (process {running.pid}, {running.hostname})" if running else ""
        return (
            f"another hub runs on {self.path}{who}. Use it ('iotedge-lab status'), stop it with "
            "'iotedge-lab down', or name another folder with --state."
        )

    def write(self, told: HubFile) -> None:
        """Say how to reach the hub: written beside and moved over, so that no reader sees half of it."""
        beside = self.path / f"hub.json.{os.getpid()}"
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(told), file, indent=2)
        beside.replace(self.hub_file)

    def read(self) -> HubFile | None:
        """What the last hub here said of itself, or None; it may have ended since (`locked`)."""
        try:
            return HubFile(**json.loads(self.hub_file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError):
            return None  # half a file or another version's: the next start writes it anew


def file_system(path: Path) -> str:
    """The type of file system that holds `path` ('' where the system does not tell)."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    best, kind = "", ""
    real = str(path.resolve())
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        where = fields[1].replace("\\040", " ")
        inside = real == where or real.startswith(where.rstrip("/") + "/")
        if inside and len(where) >= len(best):
            best, kind = where, fields[2]
    return kind
