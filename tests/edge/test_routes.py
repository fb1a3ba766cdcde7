"""Routes: the language, its sources and sinks, its errors, and that nothing makes it slow."""

import time

import pytest
from edge.route_cases import BODY, CONDITIONS, PROPERTIES, REFUSED, SYSTEM, F, T, U, message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iotedge_lab.edge.errors import RouteError
from iotedge_lab.edge.routes import ModuleInput, RoutedMessage, Upstream, parse_route
from iotedge_lab.edge.routes.functions import FUNCTIONS
from iotedge_lab.edge.routes.grammar import MAX_LENGTH
from iotedge_lab.errors import UsageError


def where(condition):
    return parse_route(f"FROM /* WHERE {condition} INTO $upstream")
