"""What the portal shows and does, by the APIs that any service has: the hub's REST, the edge runtime's control API.

Every call here may wait for an answer and runs in a thread; nothing is kept between calls but the lab's handle. Keys
never leave: identities come without them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, TypeVar

from iotedge_lab.edge.runtime.client import edge_path
from iotedge_lab.edges import EdgeStatus, Runtime
from iotedge_lab.errors import HubNotRunning, LabError, UsageError
from iotedge_lab.portal import sending
from iotedge_lab.rest import quote

if TYPE_CHECKING:
    from collections.abc import Callable

    from iotedge_lab.lab import Lab
    from iotedge_lab.rest import RestClient

_Answer = TypeVar("_Answer")

MASK: Final = "***"
PAGE: Final = 50
_SEARCHED: Final = re.compile(
    r"[A-Za-z0-9\-:.+%_#*?!(),=@$]{1,128}"
)  # the characters of a device id, but for '
_COUNT: Final = "SELECT COUNT() AS total FROM devices"
_BRIEF: Final = (
    "SELECT deviceId, status, connectionState, lastActivityTime, capabilities, cloudToDeviceMessageCount, tags "
    "FROM devices"
)


_SHOWN: Final = {
    "": "",
    "connected": "connectionState = 'Connected'",
    "edge": "capabilities.iotEdge = true",
    "disabled": "status = 'disabled'",
}


class Source:
    """One lab. `attach` finds it again after its hub was started anew, on other ports perhaps; it starts nothing."""

    def __init__(self, lab: Lab, attach: Callable[[], Lab]) -> None:
        self.lab = lab
        self._attach = attach

    def overview(self) -> dict[str, Any]:
        """The hub, None with why (`trouble`) where it does not answer, and the edge devices that run here."""
        found: dict[str, Any] = {"hub": None, "trouble": ""}
        try:
            found["hub"] = self._hub("GET", "/lab/status" if self.lab.is_local else "/statistics/devices")
        except LabError as error:
            found["trouble"] = str(error)
        return found | {
            "hostname": self.lab.hostname,
            "local": self.lab.is_local,
            "edges": self.edges(),
        }

    def start_hub(self) -> None:
        """Start the local hub again. Raises `HubNotRunning` for one on Azure."""
        self.lab.start().activate()

    def devices(self, searched: str, shown: str = "", following: str | None = None) -> dict[str, Any]:
        """A page of devices, at most `PAGE`, with what leads to the next one (`next`, or None) and how many there are.

        `shown`: of all (''), or those that are `connected`, `edge` or `disabled`. `total` is of the first page alone.
        """
        if searched and not _SEARCHED.fullmatch(searched):
            raise UsageError("Look for a part of a device id: up to 128 letters, digits and -:.+%_#*?!(),=@$")
        if shown not in _SHOWN:
            raise UsageError(f"Show one of {', '.join(filter(None, _SHOWN))}, or all.")
        asked = [f"CONTAINS(deviceId, '{searched}')"] if searched else []
        condition = " AND ".join([*asked, *filter(None, [_SHOWN[shown]])])
        where = f" WHERE {condition}" if condition else ""
        rows, onward = self._query(_BRIEF + where, following)
        found: dict[str, Any] = {"items": rows, "next": onward}
        if following is None:
            # On Azure, too, a query may count; one page is its own count.
            counted = self._query(_COUNT + where, None)[0] if onward else [{"total": len(rows)}]
            found["total"] = counted[0].get("total", 0) if counted else 0
        return found

    def create(self, device: str, *, edge: bool) -> dict[str, Any]:
        """Register a device, an edge device if so wished; its identity without keys. 409 if there is one."""
        body = {"deviceId": device, "status": "enabled", "capabilities": {"iotEdge": edge}}
        body["authentication"] = {"type": "sas"}
        return without_keys(self._hub("PUT", f"/devices/{quote(device)}", body))

    def set_status(self, device: str, status: str) -> dict[str, Any]:
        """Enable or disable a device (`status`: enabled, disabled); its identity without keys."""
        if status not in ("enabled", "disabled"):
            raise UsageError("A device's status is enabled or disabled.")
        path = f"/devices/{quote(device)}"
        identity = self._hub("GET", path) | {"status": status}
        headers = {"If-Match": f'"{identity["etag"]}"'}
        return without_keys(self._hub("PUT", path, identity, headers=headers))

    def delete(self, device: str) -> None:
        """Delete a device, with its twin, its modules and what waits for it."""
        self._hub("DELETE", f"/devices/{quote(device)}", headers={"If-Match": "*"})

    def device(self, device: str) -> dict[str, Any]:
        """One device: its identity without keys, its twin, its modules, and what $edgeAgent says of them."""
        path = f"/devices/{quote(device)}"
        identity = without_keys(self._hub("GET", path))
        modules = [without_keys(each) for each in self._hub("GET", f"{path}/modules") or ()]
        found = {
            "identity": identity,
            "twin": self._hub("GET", f"/twins/{quote(device)}"),
            "modules": modules,
        }
        if (identity.get("capabilities") or {}).get("iotEdge"):
            agent = self._hub("GET", f"/twins/{quote(device)}/modules/{quote('$edgeAgent')}")
            found["deployed"] = deployed(agent.get("properties") or {})
            found["runtime"] = runtime_response(agent.get("properties") or {})
        return found

    def module_twin(self, device: str, module: str) -> Any:
        """A module's twin."""
        return self._hub("GET", _twin_path(device, module))

    def patch_twin(self, device: str, module: str | None, patch: Any, etag: str | None) -> Any:
        """Change tags and desired properties (null takes one away); the new twin. 412 if `etag` is not its own now."""
        if not isinstance(patch, dict) or not set(patch) <= {"tags", "properties"}:
            raise UsageError('A patch is an object with "tags" or "properties": {"desired": {...}}.')
        headers = {"If-Match": f'"{etag}"'} if etag else {"If-Match": "*"}
        return self._hub("PATCH", _twin_path(device, module), patch, headers=headers)

    def call_method(self, device: str, module: str | None, call: Any) -> Any:
        """Call a direct method: `{"methodName", "payload", "responseTimeoutInSeconds"}`; `{"status", "payload"}`."""
        if not isinstance(call, dict) or not isinstance(call.get("methodName"), str):
            raise UsageError('A call is an object with "methodName" and "payload".')
        wait = _seconds(call, "responseTimeoutInSeconds", 10, 5)
        patience = _seconds(call, "connectTimeoutInSeconds", 0, 0)
        body = {
            "methodName": call["methodName"],
            "payload": call.get("payload"),
            "responseTimeoutInSeconds": wait,
            "connectTimeoutInSeconds": patience,
        }
        path = f"{_twin_path(device, module)}/methods"
        return self._hub("POST", path, body, timeout=wait + patience + 10.0)

    def send(self, device: str, text: str, properties: dict[str, str]) -> int:
        """Send a cloud-to-device message; how many wait for the device then. See `sending.send`."""
        self._hub(
            "GET", f"/devices/{quote(device)}"
        )  # 404 for one that there is not, also of a hub that is gone
        sending.send(self.lab, device, text, properties)
        return int(self._hub("GET", _twin_path(device, None)).get("cloudToDeviceMessageCount") or 0)

    def purge(self, device: str) -> Any:
        """Take away the cloud-to-device messages that wait; `{"totalMessagesPurged", ...}`."""
        return self._hub("DELETE", f"/devices/{quote(device)}/commands")

    def configurations(self) -> list[dict[str, Any]]:
        """The automatic configurations and deployments, the first in priority first."""
        found = self._hub("GET", "/configurations", query={"top": "100"}) or []
        return sorted(found, key=lambda each: (-int(each.get("priority") or 0), str(each.get("id"))))

    def edges(self) -> list[dict[str, Any]]:
        """The edge devices that run on this machine, as `EdgeStatus.raw` with the portal's table (`rows`).

        One that could not be started has its `device` and the `failure` alone.
        """
        runtime = Runtime.find(self.lab.state_dir)
        if runtime is None:
            return []
        found = runtime.client.call("GET", "/edges")
        running = [{**each, "rows": EdgeStatus(each).rows} for each in found["edges"]]
        return running + [{"device": name, "failure": why} for name, why in found["failures"].items()]

    def switch(self, device: str, to: str) -> dict[str, Any]:
        """Cut an edge device off from the hub, or let it come back (`to`: offline, online)."""
        runtime = self._runtime()
        runtime.client.call("POST", edge_path(device, to))
        return EdgeStatus(runtime.client.call("GET", edge_path(device))).raw

    def log(self, device: str, module: str) -> str:
        """The last lines of a module's log."""
        found = self._runtime().client.call("GET", edge_path(device, "logs", f"{quote(module)}?tail=200"))
        return "\n".join(str(line["text"]) for line in found)

    def _runtime(self) -> Runtime:
        runtime = Runtime.find(self.lab.state_dir)
        if runtime is None:
            raise UsageError("No edge runtime runs on this machine; lab.edge(...) starts it.")
        return runtime

    def _hub(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        return self._asked(lambda rest: rest.call(method, path, body, **more))

    def _query(self, text: str, following: str | None) -> tuple[list[Any], str | None]:
        return self._asked(lambda rest: rest.query_page(text, size=PAGE, following=following))

    def _asked(self, ask: Callable[[RestClient], _Answer]) -> _Answer:
        """Ask the hub; if it does not answer, find out whether it does elsewhere by now."""
        try:
            return ask(self.lab.rest())
        except HubNotRunning:
            # The lab of before is not closed: that would take the new one's variables out of the environment.
            self.lab = self._attach()
            return ask(self.lab.rest())


def without_keys(identity: dict[str, Any]) -> dict[str, Any]:
    """An identity whose keys and thumbprints are hidden."""
    shown = dict(identity)
    authentication = dict(shown.get("authentication") or {})
    for name in ("symmetricKey", "x509Thumbprint"):
        if authentication.get(name):
            authentication[name] = {
                part: MASK if value else value for part, value in authentication[name].items()
            }
    shown["authentication"] = authentication
    return shown


def deployed(properties: dict[str, Any]) -> list[dict[str, Any]]:
    """The table of Azure's portal: each module as the deployment wants it and as the device reports it."""
    wanted, said = properties.get("desired") or {}, properties.get("reported") or {}
    rows = []
    for group, kind in (("systemModules", "IoT Edge System Module"), ("modules", "IoT Edge Module")):
        asked, found = wanted.get(group) or {}, said.get(group) or {}
        for name in sorted({*asked, *found}):
            one = found.get(name) or {}
            rows.append(
                {
                    "name": f"${name}" if group == "systemModules" else name,
                    "type": kind,
                    "specified": name in asked,
                    "reported": name in found,
                    "runtimeStatus": one.get("runtimeStatus", ""),
                    "exitCode": one.get("exitCode"),
                    "image": ((asked.get(name) or one).get("settings") or {}).get("image", ""),
                }
            )
    return rows


def runtime_response(properties: dict[str, Any]) -> dict[str, Any]:
    """What Azure's portal calls the runtime response: the `code` and `description` of the last deployment.

    `current` is False while the device has not said anything of the newest deployment. `code` None: it never has.
    """
    wanted, said = properties.get("desired") or {}, properties.get("reported") or {}
    status = said.get("lastDesiredStatus") or {}
    return {
        "code": status.get("code"),
        "description": str(status.get("description") or ""),
        "current": said.get("lastDesiredVersion") == wanted.get("$version"),
    }


def _seconds(call: dict[str, Any], name: str, usual: int, least: int) -> int:
    wait = call.get(name, usual)
    if not isinstance(wait, int) or not least <= wait <= 300:
        raise UsageError(f"{name} is a whole number of seconds, {least} to 300.")
    return wait


def _twin_path(device: str, module: str | None) -> str:
    return f"/twins/{quote(device)}" + (f"/modules/{quote(module)}" if module else "")
