"""`python -m iotedge_lab`: the command `iotedge-lab`, for where its script is not on the path."""

from __future__ import annotations

from iotedge_lab.cli import main

if __name__ == "__main__":
    main(prog_name="iotedge-lab")
