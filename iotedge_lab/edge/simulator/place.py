"""Where a lab's simulator keeps what it is, and what it was told.

<state>/simulator/
    runtime.lock          held by the running simulator
    runtime.json   0600   its process, control port and token
    setup.json     0600   the edge device that it acts as, with its connection string
    run.json       0600   what was started last: one module's inputs, or a solution
    simulator.log         what it did; rotated
    <device>/             the simulated edge device: store, logs, modules, mounts
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from iotedge_lab.edge.runtime.place import RuntimeFolder
from iotedge_lab.edge.simulator.messages import DEFAULT_PORT
from iotedge_lab.errors import UsageError
from iotedge_lab.serve import keyfiles


@dataclass(frozen=True, slots=True)
class Setup:
    """The edge device that the simulator acts as. `gateway`: see `runtime.gateway.Gateway`.

    `local`: the lab has made it at its own hub. `ca_file`, `https_port`: how to trust and reach the hub.
    """

    connection_string: str = field(repr=False)
    gateway: str | None = None
    local: bool = False
    ca_file: Path | None = None
    https_port: int | None = None

    def to_json(self) -> dict[str, Any]:
        """For `setup.json`, the key included."""
        return {
            "connectionString": self.connection_string,
            "gatewayhost": self.gateway,
            "local": self.local,
            "caFile": str(self.ca_file) if self.ca_file else None,
            "httpsPort": self.https_port,
        }

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Self:
        """From `to_json`'s; raises KeyError or TypeError for what is none."""
        return cls(
            str(found["connectionString"]),
            found.get("gatewayhost"),
            bool(found.get("local")),
            Path(found["caFile"]) if found.get("caFile") else None,
            found.get("httpsPort"),
        )


@dataclass(frozen=True, slots=True)
class SingleRun:
    """One module, which runs by itself: the inputs that messages can be posted to, and the port to post at (0: any)."""

    inputs: tuple[str, ...] = ("input1",)
    port: int = DEFAULT_PORT

    def to_json(self) -> dict[str, Any]:
        """For `run.json`."""
        return {"mode": "single", "inputs": list(self.inputs), "port": self.port}


@dataclass(frozen=True, slots=True)
class SolutionRun:
    """A whole solution. `content` is its manifest (`DeploymentManifest.content`), placeholders replaced."""

    content: dict[str, Any]
    module_folders: tuple[Path, ...] = ()
    source: str = ""
    """the manifest's file, for a person"""

    def to_json(self) -> dict[str, Any]:
        """For `run.json`."""
        return {
            "mode": "solution",
            "content": self.content,
            "moduleFolders": [str(folder) for folder in self.module_folders],
            "source": self.source,
        }


Run = SingleRun | SolutionRun


def run_from_json(found: dict[str, Any]) -> Run:
    """From `to_json`'s; raises KeyError or TypeError for what is none."""
    if found["mode"] == "solution":
        folders = tuple(Path(folder) for folder in found["moduleFolders"])
        return SolutionRun(found["content"], folders, str(found["source"]))
    return SingleRun(tuple(found["inputs"]), int(found["port"]))


class SimulatorFolder(RuntimeFolder):
    """The files of a simulator, and its lock. Its devices are not those of the lab's edge runtime."""

    name: ClassVar[str] = "simulator"

    @property
    def log_file(self) -> Path:
        """What the simulator did."""
        return self.path / "simulator.log"

    def taken(self) -> str:
        """Who has the lock, and what to do."""
        running = self.read()
        who = f" (process {running.pid})" if running else ""
        return (
            f"The simulator runs already{who}. Stop it with 'iotedge-lab simulator stop', or use it as it is: "
            "'iotedge-lab simulator status'."
        )

    def write_setup(self, setup: Setup) -> None:
        """Keep which edge device it acts as."""
        self.prepare()
        keyfiles.write(self.path / "setup.json", json.dumps(setup.to_json(), indent=2).encode())

    def read_setup(self) -> Setup | None:
        """The edge device that it acts as; None where there was no setup. Raises UsageError for a damaged one."""
        try:
            return Setup.from_json(json.loads((self.path / "setup.json").read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"Invalid config file {self.path / 'setup.json'}. Please run 'iotedge-lab simulator setup' again."
            ) from error

    def write_run(self, run: Run) -> None:
        """Keep what is to be started."""
        self.prepare()
        keyfiles.write(self.path / "run.json", json.dumps(run.to_json(), indent=2).encode())

    def read_run(self) -> Run:
        """What is to be started; raises UsageError where that cannot be read."""
        try:
            return run_from_json(json.loads((self.path / "run.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{self.path / 'run.json'} cannot be read ({error!r}). Start the simulator with 'iotedge-lab "
                "simulator start', which writes it."
            ) from error
