"""What an edge device asks of its hub over REST, by its own token: its modules' identities, and its scope.

Azure: IoT Hub REST, "Modules" (rest/api/iothub/service/modules), and the calls by which the open-source edgeHub
reads its scope (Azure/iotedge, `DeviceScopeApiClient`), in the version in which it makes them.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlencode

from iotedge_lab.edge.errors import UpstreamAway, UpstreamRefused
from iotedge_lab.edge.upstream.cloud import segment
from iotedge_lab.edge.upstream.http import HttpCalls
from iotedge_lab.edge.upstream.registered import SAS, Registered, Scope
from iotedge_lab.errors import (
    DeviceNotFound,
    EnvironmentProblem,
    ModuleAlreadyExists,
    ModuleNotFound,
    PreconditionFailed,
    ProtocolViolation,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from iotedge_lab.clock import Clock
    from iotedge_lab.edge.upstream.cloud import Cloud, CloudIdentity
    from iotedge_lab.edge.upstream.gate import Gate
    from iotedge_lab.edge.upstream.patience import Patience

API_VERSION: Final = "2021-04-12"
SCOPE_API_VERSION: Final = "2018-08-30-preview"
_EDGE_HUB: Final = "$edgeHub"
_PAGE: Final = 100  # devices, with all their modules
_MOST_PAGES: Final = 10_000
_TRIES: Final = 5  # against others who change the same identity
_KEY_BYTES: Final = 32
_WHERE: Final = "IoT Hub REST, device scope"
_Result = TypeVar("_Result")


class CloudRest:
    """The registry of the hub, as far as an edge device's own token opens it. Belongs to one loop.

    Every call raises UpstreamAway (or UpstreamOffline) where trying again may help, UpstreamUntrusted for a
    certificate that is not trusted, Unauthorized with what to check, DeviceNotFound where the edge device is gone,
    and other ServiceErrors as the hub answers.
    """

    def __init__(
        self, cloud: Cloud, edge: CloudIdentity, clock: Clock, gate: Gate, patience: Patience | None = None
    ) -> None:
        self._edge = edge
        self._clock = clock
        self._http = HttpCalls(cloud, edge, clock, gate, patience)
        self._modules = f"/devices/{segment(edge.device)}/modules"

    def __repr__(self) -> str:
        return f"<CloudRest of {self._edge.device!r}>"

    # -- modules ---------------------------------------------------------------------------------------

    async def modules(self) -> list[Registered]:
        """The module identities of the edge device, $edgeAgent and $edgeHub among them."""
        return self._read(await self._call("GET", self._modules), _listed)

    async def module(self, module: str) -> Registered | None:
        """One module identity, or None."""
        try:
            found = await self._call("GET", self._path(module))
        except ModuleNotFound:
            return None
        return self._read(found, Registered.from_json)

    async def create_module(self, module: str, managed_by: str = "IotEdge") -> Registered:
        """The module identity, made if there is none, with keys of the hub's making.

        One that is there is kept as it is; one that cannot authenticate at all, as a deployment makes it on Azure,
        gets keys. Raises EnvironmentProblem for one that authenticates by certificate.
        """
        body = {
            "deviceId": self._edge.device,
            "moduleId": module,
            "managedBy": managed_by,
            "authentication": {"type": SAS},
        }
        for _ in range(_TRIES):
            try:
                return self._read(await self._call("PUT", self._path(module), body), Registered.from_json)
            except (ModuleAlreadyExists, UpstreamRefused) as error:
                if isinstance(error, UpstreamRefused) and error.http_status != 409:
                    raise
            found = await self.module(module)
            if found is None:  # deleted in between
                continue
            if found.has_key:
                return found
            if found.auth_type not in (SAS, "none"):
                raise EnvironmentProblem(
                    f"The module identity {found.device}/{module} authenticates by {found.auth_type}, and this runtime "
                    "signs with keys. Delete the identity at the hub: the runtime then makes it anew."
                )
            try:
                return await self._give_keys(found, body)
            except (PreconditionFailed, ModuleNotFound):
                continue
        raise UpstreamAway(
            f"The identity of the module {module!r} was changed by others each time that it was to be made."
        )

    async def _give_keys(self, found: Registered, body: dict[str, Any]) -> Registered:
        keys = [base64.b64encode(self._clock.token(_KEY_BYTES)).decode() for _ in range(2)]
        auth = {"type": SAS, "symmetricKey": {"primaryKey": keys[0], "secondaryKey": keys[1]}}
        changed = {**body, "authentication": auth, "managedBy": found.managed_by or body["managedBy"]}
        path = self._path(found.module)
        return self._read(
            await self._call("PUT", path, changed, if_match=found.etag or "*"), Registered.from_json
        )

    async def delete_module(self, module: str) -> bool:
        """Delete a module identity, whatever it was changed to; False if there was none."""
        for _ in range(_TRIES):
            try:
                await self._call("DELETE", self._path(module), if_match="*")
            except ModuleNotFound:
                return False
            except PreconditionFailed:  # a hub that takes no `*`, or is changing it at this moment
                continue
            return True
        raise UpstreamAway(
            f"The identity of the module {module!r} was changed by others each time that it was to be deleted."
        )

    # -- the scope -------------------------------------------------------------------------------------

    async def scope(self) -> Scope:
        """All that the edge device may act for, page by page."""
        devices: dict[str, Registered] = {}
        modules: dict[tuple[str, str], Registered] = {}
        query = urlencode({"deviceCount": _PAGE, "continuationToken": "", "api-version": SCOPE_API_VERSION})
        link = f"{self._path(_EDGE_HUB)}/devicesAndModulesInDeviceScope?{query}"
        for _ in range(_MOST_PAGES):
            page, following = self._read(await self._http.call("GET", link), _page)
            devices |= {each.device: each for each in page.devices}
            modules |= {(each.device, each.module): each for each in page.modules}
            if following is None:
                return Scope(tuple(devices.values()), tuple(modules.values()))
            link = following
        raise UpstreamAway("The hub's answer for the device scope has no end.")

    async def member(self, device: str, module: str = "") -> Scope | None:
        """One identity of the scope (a module with its device), or None."""
        query = urlencode(
            {"targetDeviceId": device, "targetModuleId": module, "api-version": SCOPE_API_VERSION}
        )
        path = f"{self._path(_EDGE_HUB)}/deviceAndModuleInDeviceScope?{query}"
        try:
            page, _ = self._read(await self._http.call("GET", path), _page)
        except (DeviceNotFound, ModuleNotFound):
            return None
        return page if page.modules or (page.devices and not module) else None

    # -- inside ----------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Close its connections; a second call does nothing."""
        await self._http.close()

    async def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, if_match: str | None = None
    ) -> Any:
        return await self._http.call(method, f"{path}?api-version={API_VERSION}", body, if_match=if_match)

    def _path(self, module: str) -> str:
        return f"{self._modules}/{segment(module)}"

    @staticmethod
    def _read(body: Any, reader: Callable[[Any], _Result]) -> _Result:
        try:
            return reader(body)
        except ProtocolViolation as error:
            raise UpstreamAway(
                f"The hub answered with {error}; what answers there may be no IoT Hub."
            ) from error


def _listed(body: Any) -> list[Registered]:
    if not isinstance(body, list):
        raise ProtocolViolation("a list of identities that is none", _WHERE)
    return [Registered.from_json(each) for each in body]


def _page(body: Any) -> tuple[Scope, str | None]:
    """A page of a scope, and the path of the next one."""
    if not isinstance(body, dict):
        raise ProtocolViolation("a page of a scope that is no JSON object", _WHERE)
    link = body.get("continuationLink") or None
    if link is not None and not (isinstance(link, str) and link.startswith("/devices/")):
        raise ProtocolViolation("a continuationLink that leads nowhere", _WHERE)
    devices, modules = _listed(body.get("devices") or []), _listed(body.get("modules") or [])
    return Scope(tuple(devices), tuple(modules)), link
