"""The benchmarks still run: a tiny round of each; how fast it is asserts nothing here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = {
    "absorb": ("Absorbed, 1 connection", "Absorbed, 20 connections"),
    "sdk": ("SDK, one after another", "SDK, 50 at once"),
    "drain": ("Drained, a client for each of 2 partitions, prefetch 1,000", "Latency, p99"),
    "fleet": ("Acknowledged, 10 cars at 10/s, 1 process",),
    "startup": ("Lab.open to the first acknowledged message",),
    "memory": ("Idle", "Each idle TLS connection"),
    "service": ("Direct method, bare HTTPS to azure-iot-device, p50", "Twin read, bare HTTPS, p50"),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_quick_round_reports_its_rows(name, tmp_path):
    """A quick run of one benchmark writes a report in which its rows have numbers above zero."""
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks", name, "--quick", "--output", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    told = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    rows = {row["what"]: row for found in told["results"].values() for row in found}
    for what in ROWS[name]:
        assert rows[what]["hub"] > 0
    assert ROWS[name][0] in (tmp_path / "RESULTS.md").read_text(encoding="utf-8")


def test_a_name_that_is_none_is_refused(tmp_path):
    """An unknown name ends with status 2 and says which there are."""
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks", "nonsense", "--output", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 2
    assert "absorb" in ran.stderr
    assert not list(tmp_path.iterdir())
