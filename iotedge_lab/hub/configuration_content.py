"""The content of a configuration: what the desired properties of a device's and its modules' twins shall be.

Stands for the body of "Configuration - Apply On Edge Device" (learn.microsoft.com, rest/api/iothub/service) and the
deployment manifest of "Learn how to deploy modules and establish routes" (IoT Edge, module-composition):

    {"modulesContent": {"$edgeAgent": {"properties.desired": {..}},
                        "$edgeHub":   {"properties.desired.routes.up": "FROM /* INTO $upstream"},
                        "filter":     {}}}

`properties.desired` replaces a twin's desired properties; a path below it is merged into them, as a PATCH of the twin
merges. A module for which nothing is given keeps its twin as it is. What $edgeAgent and $edgeHub are told is the edge
runtime's to understand: it is stored as given.

What Azure does, and how it is known:
- modulesContent is required, deviceContent may come with it, moduleContent does not apply (Azure's SDK for C#,
  ApplyConfigurationContentOnDeviceAsync); a content of deviceContent alone is refused, by the word
  InvalidConfigurationContent (azure-iot-sdk-csharp, issue 2419), and so is one without $edgeAgent (seen with
  configurations; taken to hold here too). The page asks for $edgeHub as well; no refusal is known, and there is none.
- Modules of the content that do not exist are made (the open-source edgeAgent, ModuleIdentityLifecycleManager), at
  most 50 beside the two of the runtime. Azure makes them without keys, and the runtime asks for some; here they come
  with keys. Modules that the content no longer names stay: the runtime deletes those that it manages.

Where the documents are silent: other keys beside the three are ignored (a template has `$schema-template`); null and {}
are as if left out; twins whose desired properties do not change get a new version all the same, as by a PUT; where
`properties.desired` and paths below it are given together, the longer path has the last word at its place.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from iotedge_lab.broker.twin import DEPTH_LIMIT
from iotedge_lab.errors import ArgumentInvalid, InvalidConfigurationContent
from iotedge_lab.hub.identities import EDGE_MODULES, MODULES_PER_DEVICE
from iotedge_lab.wire.topics import check_module_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from iotedge_lab.hub.identities import Identities, Identity
    from iotedge_lab.hub.store import Store
    from iotedge_lab.hub.twins import Twin, TwinChange, Twins

Json = dict[str, Any]
AGENT: Final = EDGE_MODULES[0]
MANAGED_BY: Final = "IotEdge"  # by this the runtime knows the identities that it may delete
_DESIRED: Final = "properties.desired"


@dataclass(frozen=True, slots=True)
class TwinContent:
    """What is said of one twin: its desired properties as a whole, a patch of them, or nothing (None).

    `settings` are the same, path by path from the shortest on; () is the whole.
    """

    desired: Json | None = None
    whole: bool = False
    settings: tuple[tuple[tuple[str, ...], Any], ...] = field(default=(), compare=False)

    @classmethod
    def read(cls, said: object, where: str) -> Self:
        """From the object with `properties.desired` or paths below it; raises `InvalidConfigurationContent`."""
        if not isinstance(said, dict):
            raise InvalidConfigurationContent(f"{where} is a JSON object, not {json.dumps(said)[:40]}.")
        # A copy where paths may lead into what another key gives.
        given: Json = said if len(said) < 2 else json.loads(json.dumps(said))
        desired: Json = {}
        settings: list[tuple[tuple[str, ...], Any]] = []
        # A path comes after what it leads through, whatever the order in the body.
        for key in sorted(given, key=lambda key: key.count(".")):
            if key == _DESIRED:
                if not isinstance(given[key], dict):
                    raise InvalidConfigurationContent(
                        f"{where}: {_DESIRED!r} is a JSON object, not {json.dumps(given[key])[:40]}."
                    )
                desired = given[key]
                settings.append(((), said[key]))
            elif key.startswith(f"{_DESIRED}."):
                path = key.removeprefix(f"{_DESIRED}.").split(".")
                _put_at(desired, path, given[key], f"{where}: {key[:120]!r}")
                settings.append((tuple(path), said[key]))
            else:
                raise InvalidConfigurationContent(
                    f"{where}: {key[:120]!r} cannot be set; {_DESIRED!r} can, and a path below it such as "
                    f"'{_DESIRED}.routes.up'."
                )
        return cls(desired if given else None, _DESIRED in given, tuple(settings))

    def change(self, twins: Twins, identity: Identity, twin: Twin) -> TwinChange:
        """The change of the twin, worked out; raises `ArgumentInvalid` as a twin's PUT does."""
        body: Json = {"properties": {"desired": self.desired}}
        if self.whole:
            body["tags"] = twin.tags
        return twins.plan(identity, twin, body, whole=self.whole)


@dataclass(frozen=True, slots=True)
class ConfigurationContent:
    """A content for one edge device: its own twin, and its modules' by id, in the order given."""

    modules: Mapping[str, TwinContent]
    device: TwinContent

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> Self:
        """From the body of the call; raises `InvalidConfigurationContent` with the part that is wrong."""
        if _part(body, "moduleContent"):
            raise InvalidConfigurationContent(
                "moduleContent (singular) is for automatic configurations of modules of plain devices; for an edge "
                "device send modulesContent."
            )
        modules = _part(body, "modulesContent")
        if not modules:
            raise InvalidConfigurationContent(
                "modulesContent is missing or empty; it holds each module's 'properties.desired', $edgeAgent's "
                "among them. A deployment manifest has it at its top."
            )
        if AGENT not in modules:
            raise InvalidConfigurationContent(
                f"modulesContent has no {AGENT}, which tells the device what to run; to change one module's twin "
                "alone, update that twin."
            )
        count = sum(1 for module in modules if module not in EDGE_MODULES)
        if count > MODULES_PER_DEVICE:
            raise InvalidConfigurationContent(
                f"modulesContent has {count} modules beside those of the runtime, and {MODULES_PER_DEVICE} are the "
                "most."
            )
        read = {}
        for module, said in modules.items():
            try:
                check_module_id(module)
            except ArgumentInvalid as error:
                raise InvalidConfigurationContent(f"modulesContent: {error.message}") from error
            read[module] = TwinContent.read(said, f"modulesContent, {module}")
        device = TwinContent.read(_part(body, "deviceContent"), "deviceContent")
        return cls(read, device)


def apply_to_edge_device(
    content: ConfigurationContent, device: str, store: Store, identities: Identities, twins: Twins
) -> None:
    """Make the modules that are missing and change the twins, all in one transaction; then tell of each.

    Raises `DeviceNotFound`, `ArgumentInvalid` (no edge device; a twin over its limits, by the module's name),
    `QuotaExceeded`, `StoreUnavailable`; then nothing has changed.
    """
    edge = identities.get(device)
    if not edge.iot_edge:
        raise ArgumentInvalid(
            f"Not an Azure IoT Edge device: {device!r}. Set its capability iotEdge, or register another that has it."
        )
    missing = {
        module: {"managedBy": None if module in EDGE_MODULES else MANAGED_BY}
        for module in content.modules
        if identities.find(device, module) is None
    }
    made = {identity.module: identity for identity in identities.plan_modules(device, missing)}
    changes = []
    for module, said in (*content.modules.items(), ("", content.device)):
        if said.desired is None:
            continue
        identity, twin = (
            (made[module], twins.fresh(made[module])) if module in made else twins.get(device, module)
        )
        try:
            changes.append(said.change(twins, identity, twin))
        except ArgumentInvalid as error:
            where = f"modulesContent, {module}" if module else "deviceContent"
            raise ArgumentInvalid(f"{where}: {error.message}") from error
    with store.transaction() as db:
        for identity in made.values():
            identities.add(db, identity)
        for change in changes:
            twins.write(db, change)
    for identity in made.values():
        identities.tell_created(identity)
    for change in changes:
        twins.tell(change)


def _part(body: Mapping[str, Any], name: str) -> Json:
    """One of the three parts, {} where it is null or left out."""
    found = body.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InvalidConfigurationContent(f"{name} is a JSON object, not {json.dumps(found)[:40]}.")
    return found


def _put_at(values: Json, path: list[str], value: Any, where: str) -> None:
    """Put `value` at a path in `values`; raises `InvalidConfigurationContent`."""
    if not all(path) or len(path) > DEPTH_LIMIT:
        raise InvalidConfigurationContent(
            f"{where} is no path: its names are not empty, and there are {DEPTH_LIMIT} at most."
        )
    for name in path[:-1]:
        values = values.setdefault(name, {})
        if not isinstance(values, dict):
            raise InvalidConfigurationContent(
                f"{where} leads through {name[:80]!r}, which the same content makes no object."
            )
    values[path[-1]] = value
