"""What the portal shows and does, by the APIs that any service has: the hub's REST, the edge runtime's control API.

Every call here may wait for an answer and runs in a thread; nothing is kept between calls but the lab's handle. Keys
never leave: identities come without them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.edge.runtime.client import edge_path
from iotedge_lab.edges import EdgeStatus, Runtime
from iotedge_lab.errors import EnvironmentProblem, HubNotRunning, UsageError
from iotedge_lab.rest import quote

if TYPE_CHECKING:
    from collections.abc import Callable

    from iotedge_lab.lab import Lab

MASK: Final = "***"
PAGE: Final = 50
_SEARCHED: Final = re.compile(
    r"[A-Za-z0-9\-:.+%_#*?!(),=@$]{1,128}"
)  # the characters of a device id, but for '
_BRIEF: Final = (
    "SELECT deviceId, status, connectionState, lastActivityTime, capabilities, cloudToDeviceMessageCount, tags "
    "FROM devices"
)


class Source:
    """One lab. `open_lab` finds it, again after the hub has been started anew on other ports."""

    def __init__(self, lab: Lab, open_lab: Callable[[], Lab]) -> None:
        self.lab = lab
        self._open = open_lab

    def overview(self) -> dict[str, Any]:
        """The hub and the edge devices that run here."""
        status = (
            self._hub("GET", "/lab/status") if self.lab.is_local else self._hub("GET", "/statistics/devices")
        )
        return {
            "hostname": self.lab.hostname,
            "local": self.lab.is_local,
            "hub": status,
            "edges": self.edges(),
        }

    def devices(self, searched: str, following: str | None) -> dict[str, Any]:
        """A page of devices, at most `PAGE`, with what leads to the next one (`next`, or None)."""
        text = _BRIEF
        if searched:
            if not _SEARCHED.fullmatch(searched):
                raise UsageError(
                    "Look for a part of a device id: up to 128 letters, digits and -:.+%_#*?!(),=@$"
                )
            text += f" WHERE CONTAINS(deviceId, '{searched}')"
        try:
            rows, following = self.lab.rest().query_page(text, size=PAGE, following=following)
        except HubNotRunning:
            self._again()
            rows, following = self.lab.rest().query_page(text, size=PAGE, following=following)
        return {"items": rows, "next": following}

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
        wait = call.get("responseTimeoutInSeconds", 10)
        wait = wait if isinstance(wait, int) and 5 <= wait <= 300 else 10
        body = {
            "methodName": call["methodName"],
            "payload": call.get("payload"),
            "responseTimeoutInSeconds": wait,
            "connectTimeoutInSeconds": 0,
        }
        return self._hub("POST", f"{_twin_path(device, module)}/methods", body, timeout=wait + 10.0)

    def send(self, device: str, text: str, properties: dict[str, str]) -> None:
        """Send a cloud-to-device message, by the vendor's SDK: REST has no such call."""
        try:
            from azure.iot.hub import IoTHubRegistryManager
        except ImportError as error:
            raise EnvironmentProblem(
                f"Sending needs the service SDK, which cannot be imported here ({error}): pip install azure-iot-hub."
            ) from error
        manager = IoTHubRegistryManager.from_connection_string(self.lab.service_connection_string)
        self._hub(
            "GET", f"/devices/{quote(device)}"
        )  # 404 for one that there is not; AMQP only says 'not found'
        try:
            manager.send_c2d_message(device, text, properties=dict(properties))
        finally:
            manager.amqp_svc_client.disconnect_sync()

    def configurations(self) -> list[dict[str, Any]]:
        """The automatic configurations and deployments, the first in priority first."""
        found = self._hub("GET", "/configurations", query={"top": "100"}) or []
        return sorted(found, key=lambda each: (-int(each.get("priority") or 0), str(each.get("id"))))

    def edges(self) -> list[dict[str, Any]]:
        """The edge devices that run on this machine, as `EdgeStatus.raw` with the portal's table (`rows`)."""
        runtime = Runtime.find(self.lab.state_dir)
        return [] if runtime is None else [{**each.raw, "rows": each.rows} for each in runtime.edges()]

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
        try:
            return self.lab.rest().call(method, path, body, **more)
        except HubNotRunning:
            self._again()
            return self.lab.rest().call(method, path, body, **more)

    def _again(self) -> None:
        before, self.lab = self.lab, self._open()
        if before is not self.lab:
            before.close()


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


def _twin_path(device: str, module: str | None) -> str:
    return f"/twins/{quote(device)}" + (f"/modules/{quote(module)}" if module else "")
