"""The two servers: the lab's hub, and Mosquitto with TLS by the same authority."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import psutil

from benchmarks.setting import environment
from iotedge_lab.clock import SystemClock
from iotedge_lab.lab import Lab
from iotedge_lab.serve.addresses import free_address
from iotedge_lab.serve.certificates import Authority
from iotedge_lab.wire import sas
from iotedge_lab.wire.connection_string import ConnectionString
from iotedge_lab.wire.topics import telemetry_topic, username

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

PORT = 8883
_KEY = "bm90IGEgc2VjcmV0"  # Mosquitto admits anyone; the SDK wants a key to sign with


@dataclass(frozen=True, slots=True)
class Usage:
    """What a server has used since it started (CPU seconds), and holds now (bytes)."""

    cpu: float
    memory: int


class Server(Protocol):
    """What a load needs to know of a server."""

    name: str

    def connection_string(self, device: str) -> str:
        """For the SDK."""
        ...

    def login(self, device: str) -> dict[str, str]:
        """For a raw client: client id, user name, password, and the topic of its telemetry."""
        ...

    def to(self) -> dict[str, Any]:
        """Host, port and the file of the authority."""
        ...

    def usage(self) -> Usage:
        """Of its process."""
        ...


def usage_of(pid: int) -> Usage:
    """CPU and memory of a process; memory is what would be free again if it ended (USS)."""
    process = psutil.Process(pid)
    times = process.cpu_times()
    return Usage(times.user + times.system, process.memory_full_info().uss)


def _login(connection_string: str) -> dict[str, str]:
    parsed = ConnectionString.parse(connection_string)
    assert parsed.host_name
    assert parsed.device_id
    assert parsed.shared_access_key
    resource = f"{parsed.host_name}/devices/{parsed.device_id}"
    return {
        "client_id": parsed.device_id,
        "username": username(parsed.host_name, parsed.device_id),
        "password": sas.build(resource, parsed.shared_access_key, int(time.time()) + 3600),
        "topic": telemetry_topic(parsed.device_id),
    }


class HubServer:
    """A hub of its own, as `Lab.open` starts it for anyone."""

    name = "hub"

    def __init__(self, folder: Path) -> None:
        self.lab = Lab.open(folder, ephemeral=True)
        self._strings: dict[str, str] = {}

    def register(self, device: str) -> None:
        """Make sure that a device is there."""
        if device not in self._strings:
            self.lab.rest().call("PUT", f"/devices/{device}", {"deviceId": device})
            self._strings[device] = self.lab.device_connection_string(device)

    def connection_string(self, device: str) -> str:
        """As the portal would show it."""
        self.register(device)
        return self._strings[device]

    def login(self, device: str) -> dict[str, str]:
        """As the SDK makes it."""
        return _login(self.connection_string(device))

    def to(self) -> dict[str, Any]:
        """Where it listens."""
        folder = self.lab.state_dir / "certificates"
        return {"host": self.lab.hostname, "port": PORT, "ca": str(folder / "lab-ca.pem")}

    @property
    def pid(self) -> int:
        """Its process."""
        told = self.lab._told  # noqa: SLF001 - the measurement wants the process, which nobody else needs
        assert told is not None
        return told.pid

    def usage(self) -> Usage:
        """Of the hub's process."""
        return usage_of(self.pid)

    def close(self) -> None:
        """Stop it."""
        self.lab.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def mosquitto_file() -> str | None:
    """Where Mosquitto is installed, or None; servers often lie beside a user's PATH."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


MOSQUITTO_SAID = (
    "`persistence true` (its default intervals: it writes its file every 1,800 s and when it stops, so an "
    "acknowledged message is in memory), TLS, `allow_anonymous`, no limit on messages in flight or queued, no "
    "subscriber"
)


class MosquittoServer:
    """Mosquitto on a loopback address of its own, with TLS."""

    name = "mosquitto"

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._authority = Authority.open(folder / "certificates", SystemClock())
        server = self._authority.issue("mosquitto")
        self._host = free_address([PORT], 100)
        lines = [
            f"listener {PORT} {self._host}",
            f"certfile {server}",
            f"keyfile {server}",
            "allow_anonymous true",
            "persistence true",
            f"persistence_location {folder}/",
            "max_inflight_messages 0",
            "max_queued_messages 0",
            "log_type error",
        ]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            lines.append(f"user {getpass.getuser()}")  # else it becomes a user who may not read the key
        config = folder / "mosquitto.conf"
        config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        program = mosquitto_file()
        assert program is not None
        self._process = subprocess.Popen(
            [program, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment()
        )
        self._wait()

    def _wait(self) -> None:
        for _ in range(100):
            if self._process.poll() is not None:
                assert self._process.stderr is not None
                raise RuntimeError(f"Mosquitto did not start: {self._process.stderr.read().decode()[-500:]}")
            with contextlib.suppress(OSError), socket.create_connection((self._host, PORT), timeout=1):
                return
            time.sleep(0.05)
        raise RuntimeError("Mosquitto does not listen after 5 s")

    @classmethod
    def installed_version(cls) -> str | None:
        """`mosquitto version 2.0.11`, or None where it is not installed."""
        program = mosquitto_file()
        if program is None:
            return None
        said = subprocess.run([program, "-h"], capture_output=True, text=True, check=False).stdout
        return said.partition("\n")[0].strip() or "mosquitto"

    def connection_string(self, device: str) -> str:
        """Of a device that nobody registered: Mosquitto admits anyone."""
        return f"HostName={self._host};DeviceId={device};SharedAccessKey={_KEY}"

    def login(self, device: str) -> dict[str, str]:
        """As for the hub."""
        return _login(self.connection_string(device))

    def to(self) -> dict[str, Any]:
        """Where it listens."""
        return {"host": self._host, "port": PORT, "ca": str(self._authority.ca_file)}

    def usage(self) -> Usage:
        """Of its process."""
        return usage_of(self._process.pid)

    def close(self) -> None:
        """Stop it."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.communicate(timeout=10)
        if self._process.returncode is None:
            self._process.kill()
            self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
