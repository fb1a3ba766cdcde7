"""The names that a hub goes by."""

from __future__ import annotations

from typing import Final

HUB_NAME: Final = "lab"  # lab.azure-devices.net, through the CONNECT proxy
EVENTS_NAME: Final = "iothub-ehub-lab"  # the built-in endpoint, as an Event Hub
DEFAULT_GROUP: Final = "$Default"
