"""`python -m iotedge_lab.edge.simulator`: the simulator in this process. People use `iotedge-lab simulator`."""

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
    from iotedge_lab.edge.simulator.process import SimulatorSettings, run

    parser = argparse.ArgumentParser(prog="python -m iotedge_lab.edge.simulator", description=__doc__)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--until-eof", action="store_true")
    asked = parser.parse_args()
    os.umask(0o077)  # whatever this process writes, rotated logs as well, is for its owner alone
    with ready_line() as ready:
        return run(SimulatorSettings(asked.state, until_eof=asked.until_eof), SystemClock(), ready)


if __name__ == "__main__":
    sys.exit(main())
