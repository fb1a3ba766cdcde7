"""From the hub's own address to its built-in endpoint: `amqp:link:redirect`.

Stands for what an IoT Hub answers to a receiver on `amqps://{host name}/messages/events/...`, by which clients find
the Event Hub behind it ("Read device-to-cloud messages from the built-in endpoint", learn.microsoft.com, IoT Hub,
iot-hub-devguide-messages-read-builtin; the sample iothubConnectionString of @azure/event-hubs). The error carries
the fields of AMQP 1.0, part 2, 2.8.18: `hostname`, `network-host`, `port`, `address`.

On Azure the Event Hub has a host name of its own. Here it is the name by which the client came, if it is one of
the hub's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.hub.names import AMQP_PORT, PLAIN_AMQP_PORT
from iotedge_lab.wire.amqp.types import Int, Symbol

if TYPE_CHECKING:
    from iotedge_lab.hub.hub import Hub

EVENTS: Final = "messages/events"


def leads_to_events(path: str) -> bool:
    """Whether `path` (in lower case, as `amqp_commands.path_of` gives it) is the endpoint at the hub's own address."""
    return path == EVENTS or path.startswith(f"{EVENTS}/")


def target(hub: Hub, address: str, hostname: str | None, *, tls: bool) -> dict[Any, Any]:
    """Where a receiver on `address` is to go. `hostname`: what the client's OPEN said."""
    host = (hostname or "").partition(":")[0]
    if not hub.access.speaks_of_us(host):
        host = hub.access.host
    port = AMQP_PORT if tls else PLAIN_AMQP_PORT
    path = address.partition("://")[2].partition("/")[2] if "://" in address else address
    rest = path.strip("/")[len(EVENTS) :]
    return {
        Symbol("hostname"): host,
        Symbol("network-host"): host,
        Symbol("port"): Int(port),
        Symbol("address"): f"{'amqps' if tls else 'amqp'}://{host}:{port}/{hub.events_name}{rest}",
    }
