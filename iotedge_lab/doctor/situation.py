"""All that the checks look at, gathered once, so that a test can put any part of it differently."""

from __future__ import annotations

import importlib
import platform
import shlex
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from iotedge_lab.clock import Clock, SystemClock
from iotedge_lab.doctor.probe import probe
from iotedge_lab.errors import UsageError
from iotedge_lab.hub.state import HubFile, StateFolder, default_folder, file_system
from iotedge_lab.lab import is_local
from iotedge_lab.wire.connection_string import ConnectionString

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

SERVICE_VARIABLE = "IOTHUB_CONNECTION_STRING"
EVENTS_VARIABLE = "EVENTHUB_CONNECTION_STRING"


@dataclass(frozen=True, slots=True)
class Machine:
    """The Python and the hardware: `version` (3, 11, 7), `system` Linux, Darwin or Windows, `processor` x86_64."""

    version: tuple[int, int, int]
    system: str
    processor: str

    @classmethod
    def this(cls) -> Machine:
        """The one that this runs on."""
        return cls(
            (sys.version_info[0], sys.version_info[1], sys.version_info[2]),
            platform.system(),
            platform.machine(),
        )

    @property
    def has_uamqp(self) -> bool:
        """Whether uamqp, and with it azure-iot-hub, has a wheel here: CPython 3.9 to 3.13 on x86_64."""
        return (3, 9) <= self.version[:2] <= (3, 13) and self.processor.lower() in ("x86_64", "amd64")

    def __str__(self) -> str:
        return f"Python {'.'.join(map(str, self.version))} on {self.system} {self.processor}"


@dataclass(frozen=True, slots=True)
class Situation:
    """A state folder, a shell's variables, and the machine around them.

    `told`: what the last hub wrote; `running`: whether a process holds the folder's lock; `trouble`: why the
    running hub does not answer, '' if it does. `ports`: what a hub needs of its address. `importing`,
    `free_bytes` and `kind_of_file_system` are asked when a check needs them.
    """

    state: StateFolder
    environ: Mapping[str, str]
    machine: Machine
    clock: Clock
    told: HubFile | None
    running: bool
    trouble: str
    ports: tuple[int, ...]
    importing: Callable[[str], object]
    free_bytes: Callable[[Path], int]
    kind_of_file_system: Callable[[Path], str]

    @classmethod
    def look(cls, state: StateFolder, environ: Mapping[str, str]) -> Situation:
        """As it is."""
        try:
            running = state.locked()
        except OSError:
            running = False  # the folder's own check says what is wrong with it
        told = state.read()
        trouble = probe(state, told) if running and told is not None else ""
        return cls(
            state=state,
            environ=environ,
            machine=Machine.this(),
            clock=SystemClock(),
            told=told,
            running=running,
            trouble=trouble,
            ports=_ports(),
            importing=importlib.import_module,
            free_bytes=lambda path: shutil.disk_usage(path).free,
            kind_of_file_system=file_system,
        )

    # -- what several checks ask -----------------------------------------------------------------------

    @property
    def host(self) -> str:
        """The hub's address, or the one that it would take."""
        return self.told.host if self.told is not None else "127.0.0.1"

    @property
    def hostname(self) -> str:
        """The hub's HostName, or the one that it would have."""
        return self.told.hostname if self.told is not None else "localhost"

    @property
    def answering(self) -> bool:
        """Whether the hub runs and answers."""
        return self.running and self.told is not None and not self.trouble

    @property
    def ca_file(self) -> Path:
        """The lab's root alone."""
        return self.state.certificates / "lab-ca.pem"

    @property
    def bundle(self) -> Path:
        """The public roots and the lab's."""
        return self.state.certificates / "ca-bundle.pem"

    def command(self, words: str) -> str:
        """An `iotedge-lab` command line for this state folder."""
        named = (
            ""
            if self.state.path == default_folder().absolute()
            else f" --state {shlex.quote(str(self.state.path))}"
        )
        return f"iotedge-lab {words}{named}"

    def set_variables(self) -> str:
        """How to put the hub's variables into this shell; the hub must run for it."""
        how = f'eval "$({self.command("env")})"'
        return how if self.running else f"{self.command('up')} && {how}"

    def restart(self) -> str:
        """How to start the hub afresh."""
        return f"{self.command('down')} && {self.command('up')}"

    def service_host(self) -> str | None:
        """The HostName of IOTHUB_CONNECTION_STRING in lower case, port included; None if unset or unreadable."""
        try:
            return (ConnectionString.parse(self.environ[SERVICE_VARIABLE]).host_name or "").lower() or None
        except (KeyError, UsageError):
            return None

    def aims_elsewhere(self) -> bool:
        """Whether IOTHUB_CONNECTION_STRING names a hub beyond this machine."""
        try:
            return not is_local(self.environ[SERVICE_VARIABLE], self.told)
        except (KeyError, UsageError):
            return False


def _ports() -> tuple[int, ...]:
    from iotedge_lab.hub.process import PORTS

    return PORTS
