"""What a module's process gets: its environment and its command line.

The environment is what the manifest says and `IOTEDGE_*`, no more: the runtime's own variables may hold service
keys (`IOTHUB_CONNECTION_STRING`), proxies and certificates that a module on a device would not have either. From
the runtime's environment come only `PASSED_ON`, without which a program does not run at all on this machine. What the
system's roots are to Azure Storage on a device, SSL_CERT_FILE and REQUESTS_CA_BUNDLE are here to the lab's storage.
`PYTHONPATH` is not among them: modules run in the runtime's own interpreter, so what is installed beside it can be
imported, `iotedge_lab.car` and `iotedge_lab.camera` too.

Stands for the variables that `aziot-edged` sets in a container (Azure/iotedge, edgelet, docker create options).
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from iotedge_lab.edge.manifest.model import ModuleSpec

PASSED_ON: Final = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
#: In each module's environment: which run of which runtime started it, so that a later run finds what was left.
RUN_VARIABLE: Final = "IOTEDGE_LAB_RUN"

_PYTHON: Final = re.compile(r"(?:.*/)?python(?:3(?:\.\d+)?)?")


@dataclass(frozen=True, slots=True)
class ModuleIdentity:
    """What `create_from_edge_environment()` of the SDKs reads. The key is not here: the workload API holds it.

    `gateway` is the edge hub's host name or address, `more` further variables of the runtime's (proxies, say).
    """

    hub: str
    device: str
    module: str
    generation_id: str
    gateway: str
    workload_uri: str
    api_version: str = "2020-10-10"
    more: Mapping[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """The variables."""
        return {
            **self.more,
            "IOTEDGE_IOTHUBHOSTNAME": self.hub,
            "IOTEDGE_DEVICEID": self.device,
            "IOTEDGE_MODULEID": self.module,
            "IOTEDGE_MODULEGENERATIONID": self.generation_id,
            "IOTEDGE_GATEWAYHOSTNAME": self.gateway,
            "IOTEDGE_WORKLOADURI": self.workload_uri,
            "IOTEDGE_APIVERSION": self.api_version,
            "IOTEDGE_AUTHSCHEME": "sasToken",
        }


def module_environment(
    spec: ModuleSpec, identity: ModuleIdentity, run: str, inherited: Mapping[str, str]
) -> dict[str, str]:
    """The whole environment of a module. What the identity says goes before what the manifest says."""
    return {
        **{name: inherited[name] for name in PASSED_ON if name in inherited},
        **spec.environment,
        **identity.environment(),
        RUN_VARIABLE: run,
    }


def module_command(spec: ModuleSpec) -> list[str]:
    """The command line, with the working folder as the current one.

    A module is `python -u main.py`, and `Cmd` are its arguments. A `Cmd` or `Entrypoint` that begins with
    `python` or `python3` is the whole command, in this interpreter; another `Entrypoint` is run as it stands,
    with `Cmd` as its arguments.
    """
    entrypoint, command = spec.create_options.entrypoint or (), spec.create_options.command or ()
    if not entrypoint and not (command and _PYTHON.fullmatch(command[0])):
        entrypoint = ("python", "-u", "main.py")
    words = [*entrypoint, *command]
    if _PYTHON.fullmatch(words[0]):
        words[0] = sys.executable
    return words
