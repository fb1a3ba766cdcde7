"""`python -m iotedge_lab.portal --port P`: the portal's process, as JupyterLab starts it.

The token comes in the environment (IOTEDGE_LAB_PORTAL_TOKEN), for a command line is everybody's to read. People use
`iotedge-lab portal`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from typing import TYPE_CHECKING

from iotedge_lab.errors import HubNotRunning, LabError
from iotedge_lab.serve.daemon import import_aiohttp, stop_events

if TYPE_CHECKING:
    from iotedge_lab.lab import Lab

TOKEN_VARIABLE = "IOTEDGE_LAB_PORTAL_TOKEN"  # noqa: S105 - its name


def main() -> int:
    """Serve until SIGTERM or SIGINT; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m iotedge_lab.portal", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    asked = parser.parse_args()
    token = os.environ.pop(TOKEN_VARIABLE, "")
    if not token:
        sys.stderr.write(f"error: {TOKEN_VARIABLE} is not set; people use 'iotedge-lab portal'.\n")
        return 2
    import_aiohttp()
    try:
        asyncio.run(_serve(token, asked.port))
    except LabError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


async def _serve(token: str, port: int) -> None:
    from iotedge_lab.lab import Lab
    from iotedge_lab.portal.server import Portal

    stop, _ = stop_events(asyncio.get_running_loop(), until_eof=False)
    lab = await asyncio.to_thread(Lab.open)
    async with Portal(lab.activate(), attach, token, port, any_host=True):
        await stop.wait()


def attach() -> Lab:
    """The lab as it runs now. A hub that somebody has stopped stays so until somebody starts it."""
    from iotedge_lab.hub.state import StateFolder
    from iotedge_lab.lab import SERVICE_VARIABLE, Lab, is_local

    state, asked = StateFolder(), os.environ.get(SERVICE_VARIABLE)
    if not state.locked() and (not asked or is_local(asked, state.read())):
        raise HubNotRunning(f"no hub runs on {state.path}. Start it with 'iotedge-lab up' or Lab.open().")
    return Lab.open().activate()


if __name__ == "__main__":
    sys.exit(main())
