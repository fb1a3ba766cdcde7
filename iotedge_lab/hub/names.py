"""The names that a hub goes by, and the ports that it names to its clients."""

from __future__ import annotations

from typing import Final

HUB_NAME: Final = "lab"  # lab.azure-devices.net, through the CONNECT proxy
EVENTS_NAME: Final = "iothub-ehub-lab"  # the built-in endpoint, as an Event Hub
DEFAULT_GROUP: Final = "$Default"
AMQP_PORT: Final = 5671
PLAIN_AMQP_PORT: Final = 5672
