"""Which edge device the simulator acts as: one that the lab makes at its own hub, or one of a person's.

Stands for `iotedgehubdev setup -c "<edge device connection string>"`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from iotedge_lab.edge.simulator.place import Setup
from iotedge_lab.errors import UsageError
from iotedge_lab.rest import RestError, quote
from iotedge_lab.serve.addresses import is_loopback
from iotedge_lab.wire.connection_string import ConnectionString

if TYPE_CHECKING:
    from iotedge_lab.hub.state import StateFolder
    from iotedge_lab.lab import Lab

DEVICE: Final = "simulator"
_LAB_HTTPS: Final = 8443


def reach(connection_string: str, state: StateFolder) -> tuple[Path | None, int | None]:
    """How to trust and reach the hub of a connection string: the CA's file and the HTTPS port; None for Azure's.

    The hub of `state` has the lab's own authority. Another one on this machine (another state folder's) is trusted
    by SSL_CERT_FILE. Raises ConnectionStringError.
    """
    parsed = ConnectionString.parse(connection_string)
    told = state.read()
    if told is not None and parsed.host.lower() == told.hostname.lower():
        return state.certificates / "lab-ca.pem", parsed.port or told.https_port
    named = os.environ.get("SSL_CERT_FILE")
    if is_loopback(parsed.host):
        ours = state.certificates / "lab-ca.pem"
        return Path(named) if named else ours if ours.exists() else None, parsed.port or _LAB_HTTPS
    return Path(named) if named else None, None


def setup_of(connection_string: str, state: StateFolder, gateway: str | None = None) -> Setup:
    """The setup for an edge device of a person's. Raises ConnectionStringError for another kind of string."""
    from iotedge_lab.edge.upstream import Cloud

    ca_file, https_port = reach(connection_string, state)
    Cloud.from_connection_string(
        connection_string, ca_file, https_port=https_port
    )  # says what is wrong with it
    return Setup(connection_string, gateway, local=False, ca_file=ca_file, https_port=https_port)


def local_setup(lab: Lab, state: StateFolder, device: str = DEVICE, gateway: str | None = None) -> Setup:
    """The setup for an edge device of a lab's hub; at the local one it is made if it is not there.

    Raises UsageError for a device that is no edge device, RestError for one that is not there on Azure.
    """
    rest = lab.rest()
    path = f"/devices/{quote(device)}"
    try:
        found = rest.call("GET", path)
    except RestError as error:
        if error.http_status != 404 or not lab.is_local:
            raise
        keys = {"primaryKey": None, "secondaryKey": None}
        found = rest.call(
            "PUT",
            path,
            {
                "deviceId": device,
                "status": "enabled",
                "capabilities": {"iotEdge": True},
                "authentication": {"type": "sas", "symmetricKey": keys},
            },
        )
    if not (found.get("capabilities") or {}).get("iotEdge"):
        raise UsageError(
            f"{device!r} is no edge device, and the simulator acts as one. Delete it ('iotedge-lab device delete "
            f"{device}'), or set the simulator up with another: 'iotedge-lab simulator setup -c \"...\"'."
        )
    text = lab.device_connection_string(device)
    ca_file, https_port = reach(text, state)
    return Setup(text, gateway, local=lab.is_local, ca_file=ca_file, https_port=https_port)
