"""A fleet: many cars in few processes, each a device of its own at the hub.

Stands for the cars of a maker who has sold more than one. Each has its identity, its key, its TLS connection
and its session (MQTT 3.1.1, `wire.mqtt.client`), replays a drive and sends each row as a message of QoS 1.
Two hundred clients of the vendor's SDK in one process reach some 700 messages a second with seconds of
latency; this reaches thousands with milliseconds.

    with Fleet(lab, cars=200, rate=10) as fleet:
        ...
        fleet.status()

Leaves out: twins, methods and messages to the cars; MQTT over WebSocket, so a fleet leaves only networks
that let port 8883 out.
"""

from iotedge_lab.fleet.fleet import Fleet
from iotedge_lab.fleet.plan import Demand
from iotedge_lab.fleet.status import CarSummary, FleetStatus, FleetSummary

__all__ = ["CarSummary", "Demand", "Fleet", "FleetStatus", "FleetSummary"]
