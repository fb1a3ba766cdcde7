"""What the fleet's tests share: a hub for those that do not kill it, and waiting for something to be so."""

import csv
import gzip
import time
from pathlib import Path

import pytest

from iotedge_lab.lab import Lab

DATA = Path(__file__).parents[2] / "data"
ROWS = 151  # of each drive: quick to read, and cars come to the end of theirs and begin again


@pytest.fixture(scope="session")
def short_drives(tmp_path_factory):
    """The shipped drives, cut to their first fifteen seconds."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "drives").mkdir()
    with (DATA / "catalogue.csv").open(encoding="utf-8", newline="") as file:
        entries = list(csv.DictReader(file))
    assert len(entries) == 14
    for entry in entries:
        entry["Seconds"] = f"{(ROWS - 1) / 10:.1f}"
        with gzip.open(DATA / "drives" / f"{entry['Drive']}.csv.gz", "rt", encoding="utf-8") as whole:
            lines = [next(whole) for _ in range(1 + ROWS)]
        (folder / "drives" / f"{entry['Drive']}.csv.gz").write_bytes(gzip.compress("".join(lines).encode()))
    with (folder / "catalogue.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, entries[0])
        writer.writeheader()
        writer.writerows(entries)
    return folder


@pytest.fixture(autouse=True)
def _drives(monkeypatch, short_drives):
    """Those, and no authority of the user's."""
    monkeypatch.setenv("IOTEDGE_LAB_DATA", str(short_drives))
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def shared_lab(tmp_path_factory):
    """A running hub that several tests use, each with a prefix of its own."""
    with Lab.open(tmp_path_factory.mktemp("fleet") / "state", ephemeral=True) as opened:
        yield opened


@pytest.fixture
def lab(tmp_path):
    """A hub of the test's own."""
    with Lab.open(tmp_path / "state", ephemeral=True) as opened:
        yield opened


@pytest.fixture
def until():
    """`until(condition)`: look again and again until it holds; fails after a while."""

    def wait(condition, seconds=20.0):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it did not come about"
            time.sleep(0.01)

    return wait
