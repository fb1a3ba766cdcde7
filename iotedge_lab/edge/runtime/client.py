"""The client of the control API: how a notebook and the terminal speak to a running edge runtime."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from iotedge_lab import errors
from iotedge_lab.errors import HubFailed, HubNotRunning, LabError

if TYPE_CHECKING:
    from iotedge_lab.edge.runtime.place import RuntimeFile

_LONGEST = 60.0  # s: stopping modules takes up to ten each


class ControlClient:
    """Calls one runtime. Raises `HubNotRunning` where it does not answer, else what the runtime refused with."""

    def __init__(self, told: RuntimeFile) -> None:
        self._told = told
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def call(self, method: str, path: str, body: Any = None, *, timeout: float = _LONGEST) -> Any:
        """The answer's JSON, or its text, or None where it has no body."""
        request = urllib.request.Request(  # noqa: S310 - the address is ours: http, on loopback
            self._told.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._told.token}", "Content-Type": "application/json"},
        )
        try:
            with self._opener.open(request, timeout=timeout) as response:
                found = response.read()
                if not found:
                    return None
                text = found.decode()
                return json.loads(text) if response.headers.get_content_type() == "application/json" else text
        except urllib.error.HTTPError as error:
            raise _refusal(error) from None
        except OSError as error:
            reason = getattr(error, "reason", None) or error
            raise HubNotRunning(
                f"The edge runtime (process {self._told.pid}) does not answer: {reason}. Start it again: "
                "edge.start(), lab.edge(...), or 'iotedge-lab edge run'."
            ) from error


def edge_path(device: str, *parts: str) -> str:
    """The path of a device's calls."""
    return "/".join(["/edges", quote(device, safe=""), *parts])


def _refusal(error: urllib.error.HTTPError) -> LabError:
    try:
        said = json.loads(error.read())
        kind = getattr(errors, str(said["error"]), None)
        message = str(said["message"])
    except (ValueError, KeyError, TypeError):
        return HubFailed(f"The edge runtime answered {error.code} {error.reason}.")
    # Those of the edge's own (UpstreamAway, say) are not known on this side of it.
    return kind(message) if isinstance(kind, type) and issubclass(kind, LabError) else HubFailed(message)
