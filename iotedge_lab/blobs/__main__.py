"""`python -m iotedge_lab.blobs`: the storage server of one lab in this process. The hub starts it."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from iotedge_lab.clock import SystemClock
from iotedge_lab.serve.daemon import allow_many_files, import_aiohttp, ready_line


def main() -> int:
    """Read the command line, serve, return the exit status."""
    allow_many_files()
    import_aiohttp()
    from iotedge_lab.blobs.process import ServerSettings, run

    parser = argparse.ArgumentParser(prog="python -m iotedge_lab.blobs", description=__doc__)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--descriptor", type=int, help="of a socket that listens, inherited")
    parser.add_argument("--port", type=int, default=0, help="to listen on, where no descriptor is given")
    parser.add_argument("--until-eof", action="store_true")
    asked = parser.parse_args()
    os.umask(0o077)  # whatever this process writes is for its owner alone
    with ready_line() as ready:
        settings = ServerSettings(asked.state, asked.descriptor, asked.port, asked.until_eof)
        return run(settings, SystemClock(), ready)


if __name__ == "__main__":
    sys.exit(main())
