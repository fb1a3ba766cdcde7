"""How an edge device is, as JSON: for the terminal, a notebook's table, and tests. No key or token is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iotedge_lab.edge.runtime.device import EdgeDevice


def device_status(device: EdgeDevice, trouble: str) -> dict[str, Any]:
    """All of it; `trouble` is why there is no connection to the hub, '' where nothing is wrong."""
    supervisor, hub = device.supervisor, device.hub
    version, desired = supervisor.last_desired
    clients = hub.client_states()
    queues = _queues(device)
    return {
        "device": device.id,
        "hub": device.cloud.hostname,
        "gateway": device.gateway.hostname,
        "environment": device.gateway.environment(),
        "online": device.gate.is_open,
        "connected": device.is_connected,
        "trouble": trouble,
        "desiredVersion": version,
        "desiredStatus": desired.reported(),
        "hubDesiredVersion": device.routes.version,
        "hubDesiredStatus": device.routes.status.reported(),
        "routes": {entry.name: entry.route.text for entry in hub.router.table},
        "timeToLiveSecs": device.routes.time_to_live,
        "modules": _modules(device, clients),
        "clients": clients,
        "queues": queues,
        "waiting": sum(each["length"] for each in queues),
        "received": hub.counters.messages,
        "routed": dict(hub.router.taken),
        "unrouted": hub.router.dropped,
    }


def _modules(device: EdgeDevice, clients: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    config = device.supervisor.config
    return [
        {
            "name": name,
            "type": "IoT Edge Module",
            "specified": True,
            "image": config.modules[name].image,
            "status": config.modules[name].status.value,
            **state.reported(),
            "connected": bool((clients.get(f"{device.id}/{name}") or {}).get("connected")),
        }
        for name, state in device.supervisor.status().items()
    ]


def _queues(device: EdgeDevice) -> list[dict[str, Any]]:
    return [
        {
            "endpoint": each.lane.endpoint,
            "source": each.lane.source,
            "priority": each.priority,
            "length": each.length,
            "oldestSeconds": round(each.oldest, 3),
            "expired": each.expired,
            "refused": each.refused,
        }
        for each in device.hub.figures()
    ]
