"""The modules and the routes of single-module mode, as iotedgehubdev has them (edgemanager.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from iotedge_lab.edge.manifest.model import DEFAULT_TIME_TO_LIVE
from iotedge_lab.edge.manifest.reading import read_hub

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iotedge_lab.edge.manifest.model import HubConfig

TARGET: Final = "target"
"""the module under test"""
UTILITY: Final = "input"
"""the module beside it, from which messages to it come, and to which goes what it sends"""
PRINT: Final = "print"
"""the input of `UTILITY` for that"""


def routes(inputs: Sequence[str]) -> HubConfig:
    """The routes of single-module mode, as iotedgehubdev writes them. Raises InvalidManifest for a bad input."""
    made = {
        "output": f"FROM /messages/modules/{TARGET}/outputs/* "
        f'INTO BrokeredEndpoint("/modules/{UTILITY}/inputs/{PRINT}")'
    }
    for number, name in enumerate(dict.fromkeys(inputs), 1):
        made[f"r{number}"] = (
            f"FROM /messages/modules/{UTILITY}/outputs/{name} "
            f'INTO BrokeredEndpoint("/modules/{TARGET}/inputs/{name}")'
        )
    kept = {"timeToLiveSecs": DEFAULT_TIME_TO_LIVE}
    return read_hub({"schemaVersion": "1.0", "routes": made, "storeAndForwardConfiguration": kept})
