"""JupyterLab's workspace for the workbooks: the first notebook on the left, the portal on the right.

A person's own layouts stay as they are: it has a name of its own, and once it is there it is theirs to change, but
for the portal's link, which follows the address of the server (`workspace_extension`).
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

NAME: Final = "iotedge-lab"
PAGE: Final = f"/lab/workspaces/{NAME}"
FIRST: Final = "00_start_here.ipynb"
_PORTAL: Final = f"server-proxy:{NAME}"
_RESTORED: Final = f"server-proxy:{_PORTAL}"


def layout(folder: str, base_url: str = "/") -> dict[str, Any]:
    """The workspace; `folder` is where the notebooks lie, as the server names it: '' or 'notebooks'.

    `base_url`: below which the server's pages lie, with a slash at both ends.
    """
    notebook = f"{folder}/{FIRST}" if folder else FIRST
    opened, portal = f"notebook:{notebook}", _RESTORED
    areas = [
        {"type": "tab-area", "currentIndex": 0, "widgets": [opened]},
        {"type": "tab-area", "currentIndex": 0, "widgets": [portal]},
    ]
    split = {"type": "split-area", "orientation": "horizontal", "sizes": [0.62, 0.38], "children": areas}
    return {
        "metadata": {"id": NAME},
        "data": {
            "layout-restorer:data": {
                "main": {"dock": split, "current": opened},
                "left": {"collapsed": False, "current": "filebrowser", "widgets": ["filebrowser"]},
                "right": {"collapsed": True, "widgets": []},
                "relativeSizes": [0.16, 0.84, 0],
            },
            opened: {"data": {"path": notebook, "factory": "Notebook"}},
            portal: {
                "data": {
                    "id": _PORTAL,
                    "title": "IoT Edge Lab",
                    "url": f"{base_url}{NAME}/",
                    "newBrowserTab": False,
                }
            },
            "file-browser-filebrowser:cwd": {"path": folder},
        },
    }


def offer(folder: str, workspaces: Path | None = None, *, base_url: str = "/") -> str:
    """Make the workspace unless there is one of its name; the page to open. `workspaces`: JupyterLab's own folder."""
    from jupyterlab.commands import get_workspaces_dir
    from jupyterlab_server.workspaces_handler import WorkspacesManager

    manager = WorkspacesManager(str(workspaces or get_workspaces_dir()))
    wanted = layout(folder, base_url)
    with contextlib.suppress(
        OSError, ValueError, KeyError, TypeError
    ):  # one that cannot be read is made anew
        found = manager.load(NAME)
        if found["data"]:
            portal = found["data"].get(_RESTORED)
            link = wanted["data"][_RESTORED]["data"]["url"]
            if portal is not None and portal["data"]["url"] != link:
                portal["data"]["url"] = link
                manager.save(NAME, json.dumps(found))
            return PAGE
    manager.save(NAME, json.dumps(wanted))
    return PAGE
