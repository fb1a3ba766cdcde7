"""Where a lab's storage account keeps its blobs and keys, and how its server and the hub find each other.

<state>/storage/           0700
    account.json    0600  the account's name and its two keys; made once, and kept when a lab is reset
    server.lock           held by the running server
    server.json     0600  its process (`ServerFile`)
    server.log            what it did; rotated
    blobs.db        0600  containers, blobs and their blocks
    content/              what is in them, a file for each block
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from iotedge_lab.errors import EnvironmentProblem
from iotedge_lab.serve import keyfiles
from iotedge_lab.serve.held import HeldFolder
from iotedge_lab.wire.storage.account import StorageAccount

if TYPE_CHECKING:
    from iotedge_lab.clock import Clock

ACCOUNT: Final = "iotedgelab"
#: The azure-storage-blob SDK takes the account from the path for this address (and `localhost`), and no other.
HOST: Final = "127.0.0.1"
UPLOADS: Final = "uploads"  # devices' files
MODELS: Final = "models"  # on their way to the edge
#: Made when a server starts; others are made by their users.
CONTAINERS: Final = (UPLOADS, MODELS)
#: Below those that the kernel gives to outgoing connections, so that a port is still free when its hub comes back.
PORTS: Final = range(20_000, 32_000)


@dataclass(frozen=True, slots=True)
class Keys:
    """The account and its two keys (base64); either opens it."""

    account: str
    primary: str = field(repr=False)
    secondary: str = field(repr=False)

    def at(self, port: int) -> StorageAccount:
        """The account as clients on this machine reach it."""
        return StorageAccount(self.account, self.primary, endpoint(port, self.account))


@dataclass(frozen=True, slots=True)
class ServerFile:
    """What a running server says of itself."""

    pid: int
    port: int
    started: float
    version: str


def endpoint(port: int, account: str = ACCOUNT) -> str:
    """The URL of the account's blobs, without a slash at the end."""
    return f"https://{HOST}:{port}/{account}"


class StorageFolder(HeldFolder):
    """The files of a storage account, and the lock of its server."""

    def __init__(self, state: Path) -> None:
        super().__init__(state / "storage", "server.lock")
        self.state = state

    @property
    def account_file(self) -> Path:
        """The keys."""
        return self.path / "account.json"

    @property
    def file(self) -> Path:
        """The running server's process."""
        return self.path / "server.json"

    @property
    def log_file(self) -> Path:
        """What the server did."""
        return self.path / "server.log"

    def taken(self) -> str:
        """Who has the lock, and how that ends."""
        return f"Another storage server runs on {self.path}; it ends with its hub ('iotedge-lab down')."

    def keys(self, clock: Clock) -> Keys:
        """The account's keys, made if there are none. Raises `EnvironmentProblem` for a file that is damaged."""
        self.prepare()
        made = {
            "account": ACCOUNT,
            "primary": base64.b64encode(clock.token(64)).decode(),
            "secondary": base64.b64encode(clock.token(64)).decode(),
        }
        if not self.account_file.exists():
            keyfiles.write_new(self.account_file, json.dumps(made, indent=2).encode())
        try:
            found = json.loads(self.account_file.read_text(encoding="utf-8"))
            return Keys(str(found["account"]), str(found["primary"]), str(found["secondary"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EnvironmentProblem(
                f"{self.account_file} cannot be read ({type(error).__name__}). Mend its rights, or delete it: new keys "
                "are made then, and URLs that were signed with the old ones end."
            ) from error

    def write(self, told: ServerFile) -> None:
        """Say who serves: written beside and moved over, so that no reader sees half of it."""
        keyfiles.write(self.file, json.dumps(asdict(told), indent=2).encode())

    def read(self) -> ServerFile | None:
        """What the last server here said of itself, or None; it may have ended since (`locked`)."""
        with contextlib.suppress(OSError, ValueError, TypeError):
            return ServerFile(**json.loads(self.file.read_text(encoding="utf-8")))
        return None

    def size(self) -> int:
        """How many bytes its content takes on the disk; 0 where there is none."""
        total = 0
        for folder, _, files in os.walk(self.path / "content"):
            for name in files:
                with contextlib.suppress(OSError):
                    total += (Path(folder) / name).stat().st_size
        return total
