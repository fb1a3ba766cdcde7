"""Routes: which messages go where. Text in, endpoints out; no socket, no store, no clock."""

from iotedge_lab.edge.routes.grammar import Route, parse_route
from iotedge_lab.edge.routes.message import RoutedMessage
from iotedge_lab.edge.routes.places import Endpoint, ModuleInput, Source, Upstream
from iotedge_lab.edge.routes.table import DEFAULT_PRIORITY, Delivery, RouteEntry, RouteTable

__all__ = [
    "DEFAULT_PRIORITY",
    "Delivery",
    "Endpoint",
    "ModuleInput",
    "Route",
    "RouteEntry",
    "RouteTable",
    "RoutedMessage",
    "Source",
    "Upstream",
    "parse_route",
]
