"""What `$edgeHub` is told and tells: the routes of a deployment, and who is connected.

Stands for "EdgeHub desired properties" and "EdgeHub reported properties" (learn.microsoft.com, IoT Edge,
module-edgeagent-edgehub). Of more clients than a twin has room for, those are told that came or went last.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab import __version__
from iotedge_lab.broker.twin import size_of
from iotedge_lab.edge.agent import DesiredStatus
from iotedge_lab.edge.agent.report import FAILED, SUCCESS
from iotedge_lab.edge.agent.state import utc
from iotedge_lab.edge.errors import InvalidManifest
from iotedge_lab.edge.manifest import read_hub
from iotedge_lab.edge.manifest.model import DEFAULT_TIME_TO_LIVE
from iotedge_lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from iotedge_lab.edge.hub import EdgeHub
    from iotedge_lab.edge.manifest.model import HubConfig

log = logging.getLogger(__name__)

_ROOM: Final = 24 * 1024  # bytes of the 32 KB that a twin's reported properties may have
_ESCAPED: Final = {"%": "%25", ".": "%2E", "$": "%24", " ": "%20"}


class Routes:
    """The routes in force, and what became of the ones that were desired last."""

    def __init__(self, hub: EdgeHub) -> None:
        self._hub = hub
        self._config: HubConfig | None = None
        self._error: LabError | None = None
        self.version = 0

    @property
    def time_to_live(self) -> int:
        """Seconds that a message waits whose route names none."""
        return self._config.time_to_live if self._config else DEFAULT_TIME_TO_LIVE

    @property
    def status(self) -> DesiredStatus:
        """`lastDesiredStatus`."""
        if self._error is None:
            return DesiredStatus(SUCCESS)
        if isinstance(self._error, InvalidManifest):
            return DesiredStatus.of(self._error)
        return DesiredStatus(FAILED, str(self._error))

    async def apply(self, desired: Mapping[str, Any]) -> None:
        """Have these routes from now on; what cannot be read is reported, and the routes stay as they are."""
        version = desired.get("$version", 0)
        self.version = version if isinstance(version, int) else 0
        if not any(not key.startswith("$") for key in desired):
            return  # nothing was deployed yet
        try:
            config = read_hub(desired)
        except LabError as error:
            log.warning("the routes (version %d) are refused: %s", self.version, error)
            self._error = error
        else:
            self._config, self._error = config, None
            self._hub.apply(config)

    def reported(self) -> dict[str, Any]:
        """The reported properties of `$edgeHub`, whole."""
        return {
            "schemaVersion": "1.0",
            "version": {"version": __version__, "build": "", "commit": ""},
            "lastDesiredVersion": self.version,
            "lastDesiredStatus": self.status.reported(),
            "clients": self._clients(),
        }

    def _clients(self) -> dict[str, Any]:
        states = sorted(
            self._hub.client_states().items(),
            key=lambda item: max(item[1]["lastConnected"], item[1]["lastDisconnected"]),
            reverse=True,
        )
        made: dict[str, Any] = {}
        room = _ROOM
        for name, state in states:
            key = twin_key(name)
            told = {
                "status": "Connected" if state["connected"] else "Disconnected",
                "lastConnectedTimeUtc": utc(state["lastConnected"] or None),
                "lastDisconnectTimeUtc": utc(state["lastDisconnected"] or None),
            }
            room -= size_of({key: told})
            if room < 0:
                break
            made[key] = told
        return made


def twin_key(name: str) -> str:
    """A client's name as the name of a property, which may have no dot, dollar or blank: as edgeHub escapes it."""
    return "".join(_ESCAPED.get(character, character) for character in name)
