"""`python -m iotedge_lab.hub`: one hub in this process. People use `iotedge-lab up`."""

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
    from iotedge_lab.hub.process import ProcessSettings, run

    parser = argparse.ArgumentParser(prog="python -m iotedge_lab.hub", description=__doc__)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--host")
    parser.add_argument("--partitions", type=int, default=2)
    parser.add_argument("--retention-days", type=float, default=1.0)
    parser.add_argument("--fsync", action="store_true")
    parser.add_argument("--until-eof", action="store_true")
    asked = parser.parse_args()
    settings = ProcessSettings(
        state=asked.state,
        host=asked.host,
        partitions=asked.partitions,
        retention_days=asked.retention_days,
        fsync=asked.fsync,
        background=True,
        until_eof=asked.until_eof,
    )
    os.umask(0o077)  # whatever this process writes, rotated logs as well, is for its owner alone
    with ready_line() as ready:
        return run(settings, SystemClock(), ready)


if __name__ == "__main__":
    sys.exit(main())
