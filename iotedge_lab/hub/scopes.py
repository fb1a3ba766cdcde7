"""Device scopes: which identities an edge device may act for.

Stands for "Understand Azure IoT Edge limits and parent/child relationships" (learn.microsoft.com, IoT Edge,
iot-edge-as-gateway; device scope) and for what the open-source edgeHub asks its hub. An edge device has a scope
of its own. In it lie the device and its modules, the devices whose `deviceScope` it is (with their modules) and
the edge devices that have it among their `parentScopes`; theirs are scopes of their own, below it.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.errors import ArgumentInvalid, DeviceNotFound

if TYPE_CHECKING:
    from iotedge_lab.hub.identities import Identities, Identity

PAGE: Final = 1000
_DEEPEST: Final = 5  # the documented most of a hierarchy


@dataclass(frozen=True, slots=True)
class Members:
    """A page of a scope. `following`: the mark to ask for the next page with, '' at the end."""

    devices: list[Identity]
    modules: list[Identity]
    following: str = ""

    def to_json(self, identities: Identities, link: str | None = None) -> dict[str, Any]:
        """As edgeHub reads it: identities with their keys and thumbprints."""
        return {
            "devices": [identities.to_json(each) for each in self.devices],
            "modules": [identities.to_json(each) for each in self.modules],
            "continuationLink": link or self.following or None,
        }


def members(identities: Identities, edge: Identity, size: int, mark: str) -> Members:
    """Up to `size` devices of the scope of `edge`, itself among them, and their modules, from `mark` on.

    Raises `ArgumentInvalid` for a mark that is none.
    """
    found = identities.in_scope(edge, _unmarked(mark), size + 1)
    page = found[:size]
    modules = [
        module
        for device in page
        if device.device == edge.device or not device.iot_edge
        for module in identities.modules(device.device)
    ]
    return Members(page, modules, _marked(page[-1].device) if len(found) > size else "")


def member(identities: Identities, edge: Identity, device: str, module: str) -> Members:
    """One identity in the scope of `edge` or in one below it.

    Raises `DeviceNotFound` or `ModuleNotFound`, the former also for a device that is elsewhere.
    """
    found = identities.get(device)
    if not is_below(identities, found, edge):
        raise DeviceNotFound(f"device {device!r} is not in the scope of {edge.device!r}.")
    return Members([found], [identities.get(device, module)] if module else [])


def is_below(identities: Identities, device: Identity, edge: Identity) -> bool:
    """Whether `device` is `edge`, or lies in its scope or in one below it."""
    if device.device == edge.device:
        return True
    level = set(device.parent_scopes)
    for _ in range(_DEEPEST):
        if edge.device_scope in level:
            return True
        level = {scope for parent in identities.of_scopes(level) for scope in parent.parent_scopes}
    return False


def page_size(value: Any) -> int:
    """The number of devices asked for; 0 or none is the most. Raises `ArgumentInvalid`."""
    if value is None:
        return PAGE
    text = "" if isinstance(value, bool) else str(value)
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and int(text) <= PAGE):
        raise ArgumentInvalid(f"the page size is a whole number from 0 to {PAGE}, not {text[:20]!r}.")
    return int(text) or PAGE


def _marked(device: str) -> str:
    return base64.urlsafe_b64encode(device.encode()).decode()


def _unmarked(mark: str) -> str:
    try:
        return base64.b64decode(mark.encode(), b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise ArgumentInvalid("the continuation token is none of this hub's; begin without one.") from error
