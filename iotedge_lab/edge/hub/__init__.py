"""The edge hub: the broker to which the modules and leaf devices of one edge connect, online or not."""

from iotedge_lab.edge.hub.hub import EdgeHub, EdgeHubSettings

__all__ = ["EdgeHub", "EdgeHubSettings"]
