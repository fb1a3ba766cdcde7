"""`python -m iotedge_lab.lake`: the capture of one lab in this process. People use `iotedge-lab capture`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from iotedge_lab.clock import SystemClock
from iotedge_lab.serve.daemon import ready_line


def main() -> int:
    """Read the command line, capture, return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m iotedge_lab.lake", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="its capture/settings.json says what to do")
    parser.add_argument("--until-eof", action="store_true")
    asked = parser.parse_args()
    os.umask(0o077)  # whatever this process writes is for its owner alone
    with ready_line() as ready:
        from iotedge_lab.lake.process import ProcessSettings, run

        return run(ProcessSettings(asked.state, until_eof=asked.until_eof), SystemClock(), ready)


if __name__ == "__main__":
    sys.exit(main())
