"""The module twins of a solution: their desired properties as the manifest has them, set at the hub.

`iotedgehubdev` does so where it was given the hub's connection string; the lab has that of its own hub.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iotedge_lab.broker.twin import difference
from iotedge_lab.rest import RestError, quote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from iotedge_lab.rest import RestClient


def set_twins(rest: RestClient, device: str, twins: Mapping[str, Mapping[str, Any]]) -> None:
    """Make the desired properties of these modules what is given; identities that are not there are made.

    Raises RestError with what the hub refuses.
    """
    for module, wanted in twins.items():
        path = f"/devices/{quote(device)}/modules/{quote(module)}"
        body = {
            "deviceId": device,
            "moduleId": module,
            "managedBy": "IotEdge",
            "authentication": {"type": "sas", "symmetricKey": {"primaryKey": None, "secondaryKey": None}},
        }
        try:
            rest.call("PUT", path, body)
        except RestError as error:
            if error.http_status != 409:  # it is there
                raise
        twin = f"/twins/{quote(device)}/modules/{quote(module)}"
        desired = rest.call("GET", twin)["properties"]["desired"]
        now = {name: value for name, value in desired.items() if not name.startswith("$")}
        patch = difference(now, dict(wanted))
        if patch:
            rest.call("PATCH", twin, {"properties": {"desired": patch}})
