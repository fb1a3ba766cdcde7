"""The link of an edge device to its IoT Hub: REST by its own token, and one MQTT connection an identity.

    cloud = Cloud.from_connection_string(text)          # where the hub is, and what is trusted
    edge = CloudIdentity.from_connection_string(text)   # who we are
    gate = Gate()
    rest = CloudRest(cloud, edge, clock, gate)
    links = Links(cloud, clock, gate)
    link = links.open(CloudIdentity(edge.device, "ModuleA", key), listener)

Stands for the upstream side of the real edgeHub and edgeAgent, which connect one by one where they speak MQTT
(learn.microsoft.com, IoT Edge, iot-edge-runtime; Azure/iotedge, `CloudConnectionProvider`). It speaks to a hub on
Azure as to a local one: MQTT on 8883, REST on 443, nothing of the lab's own.

Left out: MQTT over WebSocket and AMQP to the hub (`UpstreamProtocol`), nested edges (`GatewayHostName`),
certificates in place of keys, SOCKS proxies.
"""

from iotedge_lab.edge.upstream.cloud import Cloud, CloudIdentity
from iotedge_lab.edge.upstream.gate import Gate
from iotedge_lab.edge.upstream.link import CloudLink
from iotedge_lab.edge.upstream.links import Links
from iotedge_lab.edge.upstream.listener import LinkListener, LinkStatus
from iotedge_lab.edge.upstream.patience import Patience
from iotedge_lab.edge.upstream.registered import Registered, Scope
from iotedge_lab.edge.upstream.rest import CloudRest

__all__ = [
    "Cloud",
    "CloudIdentity",
    "CloudLink",
    "CloudRest",
    "Gate",
    "LinkListener",
    "LinkStatus",
    "Links",
    "Patience",
    "Registered",
    "Scope",
]
