"""The portal behind JupyterLab: started by jupyter-server-proxy when its tile is clicked, at `/iotedge-lab/`.

An entry point of the group `jupyter_serverproxy_servers`, so it is there wherever the package is installed, on Binder
too. JupyterLab itself asks who the person is; the token is between the two servers alone.
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import Any

from iotedge_lab.portal.__main__ import TOKEN_VARIABLE

NAME = "iotedge-lab"


def setup() -> dict[str, Any]:
    """What jupyter-server-proxy is to start, and the tile in the launcher."""
    token = secrets.token_urlsafe(24)
    more = {"update_last_activity": _by_a_person} if _can_tell() else {}
    return more | {
        "command": [sys.executable, "-m", "iotedge_lab.portal", "--port", "{port}"],
        "environment": {TOKEN_VARIABLE: token},
        "request_headers_override": {"Authorization": f"Bearer {token}"},
        "timeout": 30,
        "new_browser_tab": False,
        "launcher_entry": {
            "title": "IoT Edge Lab",
            "icon_path": str(Path(__file__).with_name("static") / "icon.svg"),
            "path_info": f"{NAME}/",
        },
    }


def _by_a_person(handler: Any) -> bool:
    """Whether a call counts as activity: an open page asks every few seconds, and must keep no idle server alive."""
    return str(handler.request.method) != "GET"


def _can_tell() -> bool:
    """Whether this jupyter-server-proxy asks a function; before 4.6 it takes a bool alone."""
    try:
        from jupyter_server_proxy.config import ServerProcess  # type: ignore[import-untyped]
    except ImportError:
        return False
    return hasattr(ServerProcess, "exclude_last_activity_patterns")
