"""A backlog lies on the disk and not in memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "many_parcels.py"


@pytest.mark.skipif(sys.platform == "win32", reason="memory is asked for by a call of POSIX")
def test_a_hundred_thousand_wait_and_drain(tmp_path):
    """100,000 parcels of 1 KB take no more memory than a few thousand would, while they wait and while they drain."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path)], capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["lengths"], told["got"], told["left"]) == (100_000, 100_000, 0)
    assert told["full"] - told["before"] < 40
    assert told["drained"] - told["before"] < 48
