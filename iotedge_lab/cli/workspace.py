"""JupyterLab's workspace for the workbooks: the first notebook on the left, the portal on the right.

A person's own layouts stay as they are: it has a name of its own, and once it is there it is theirs to change.

    python -m iotedge_lab.cli.workspace notebooks    # for a server whose root is the folder above `notebooks`
"""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

NAME: Final = "iotedge-lab"
PAGE: Final = f"/lab/workspaces/{NAME}"
FIRST: Final = "00_start_here.ipynb"
_PORTAL: Final = f"server-proxy:{NAME}"


def layout(folder: str) -> dict[str, Any]:
    """The workspace; `folder` is where the notebooks lie, as the server names it: '' or 'notebooks'."""
    notebook = f"{folder}/{FIRST}" if folder else FIRST
    opened, portal = f"notebook:{notebook}", f"server-proxy:{_PORTAL}"
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
                "data": {"id": _PORTAL, "title": "IoT Edge Lab", "url": f"/{NAME}/", "newBrowserTab": False}
            },
            "file-browser-filebrowser:cwd": {"path": folder},
        },
    }


def offer(folder: str, workspaces: Path | None = None) -> str:
    """Make the workspace unless there is one of its name; the page to open. `workspaces`: JupyterLab's own folder."""
    from jupyterlab.commands import get_workspaces_dir
    from jupyterlab_server.workspaces_handler import WorkspacesManager

    manager = WorkspacesManager(str(workspaces or get_workspaces_dir()))
    with contextlib.suppress(OSError, ValueError):  # one that cannot be read is made anew
        if manager.load(NAME)["data"]:
            return PAGE
    manager.save(NAME, json.dumps(layout(folder)))
    return PAGE


if __name__ == "__main__":
    offer(sys.argv[1] if len(sys.argv) > 1 else "")
