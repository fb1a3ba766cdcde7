"""An extension of Jupyter's server: it makes the workbooks' workspace when the server starts.

Only the running server knows the address below which its pages lie (`/user/x-1/` on Binder and on a JupyterHub), and
the portal's link in the workspace has it. `iotedge-lab lab` and Binder load it by the settings in `jupyter/`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from iotedge_lab.cli import workspace


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(server: Any) -> None:
    """Offer the workspace on a server (jupyter_server's ServerApp) whose root has the workbooks; say so if it fails."""
    folder = _workbooks(Path(server.root_dir))
    if folder is None:
        return
    try:
        workspace.offer(folder, base_url=server.base_url)
    except OSError as error:
        server.log.warning("JupyterLab opens without the workbooks' workspace: %s", error)


def _workbooks(root: Path) -> str | None:
    """Where the notebooks lie below the server's root, as it names it; None if they do not."""
    for folder in ("", "notebooks"):
        if (root / folder / workspace.FIRST).exists():
            return folder
    return None
