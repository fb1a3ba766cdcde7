"""The benchmarks still run: a tiny round of each; how fast it is asserts nothing here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.setting import Row
from iotedge_lab.camera.model import model_path

ROOT = Path(__file__).resolve().parents[2]
ROWS = {
    "absorb": ("Absorbed, 1 connection", "Absorbed, 20 connections"),
    "sdk": ("SDK, one after another", "SDK, 50 at once"),
    "drain": ("Drained, a client for each of 2 partitions, prefetch 1,000", "Latency, p99"),
    "drive": ("An hour of driving at 10 Hz", "car.csv, read and checked"),
    "can": ("Codec: encode", "Frames to rows at 1 Hz, whole"),
    "train": ("Single row through onnxruntime, p50", "Features and prediction, row by row"),
    "car_filter": (
        "Message to row, features, prediction, message",
        "Rows predicted and sent: share of the SDK's own rate",
    ),
    "camera": ("Rendered, daylight", "Encoded, mp4v"),
    "fleet": ("Acknowledged, 10 cars at 10/s, 1 process",),
    "edge": ("Through the edge to the hub", "Module to module, p99"),
    "rollout": ("Register to serving on 2 edges", "Rows answered during 3 swaps at 100 rows/s"),
    "lake": ("Lag at 1,000/s, p99", "Captured from a full log"),
    "startup": ("Lab.open to the first acknowledged message",),
    "memory": ("Idle", "Each idle TLS connection"),
    "query": (
        "Query over 100 twins, one twin by a nested tag, p50",
        "A configuration for 100 twins, until all is taken back",
    ),
    "service": ("Direct method, bare HTTPS to azure-iot-device, p50", "Twin read, bare HTTPS, p50"),
}
if model_path().is_file():  # without the detector there is nothing to measure
    ROWS["filter"] = (
        "Video to messages, the slowest of the videos",
        "Memory of the filter at its highest (resident)",
    )


#: Their quick rounds are quick enough for each run of the tests; `make soak` runs all.
ALWAYS = ("can", "drive", "memory", "startup")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in ALWAYS else [pytest.mark.soak]) for name in ROWS]
)
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


def test_the_readme_tells_what_was_measured():
    """README.md and RESULTS.md say what results.json holds: no figure of theirs is typed."""
    facts, command, results = report.read(ROOT / "benchmarks")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert report.into(readme, report.summary(facts, command, results)) == readme
    said = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    assert report.markdown(facts, command, results) == said
    aims = [row for _, rows in results for row in rows if row.target]
    assert len(aims) >= 6
    assert all(f"| {row.what} |" in readme for row in aims)


def test_a_report_is_read_back(tmp_path):
    """What is written to results.json comes back as it was."""
    facts = {name: name for name in ("date", "machine", "system", "Python", "Mosquitto")}
    results = [("T", [Row("a", 1.5, "s", 2.0, 0.75, "<= 2", met=True, note="n"), Row("b", 1.0, "ms")])]
    report.write(tmp_path, facts, "c", results)
    assert report.read(tmp_path) == (facts, "c", results)
    with pytest.raises(ValueError, match="no lines"):
        report.into("# A README", "x")


def test_a_part_that_is_measured_later_says_so():
    """It takes the place of the earlier figures, in the order of the whole, with its own date, load and command."""
    facts = {name: name for name in ("date", "machine", "system", "Python", "Mosquitto")}
    before = (
        facts,
        "whole",
        [("A", [Row("a", 1.0, "s", target="< 2", met=True)]), ("gone", []), ("B", [Row("b", 1.0, "s")])],
    )
    later = {"date": "today", "load at the start": "0.1", "load at the end": "0.2"}
    told, command, results = report.merged(
        before, later, "part", [("B", [Row("b", 2.0, "s")])], ["B", "A", "C"]
    )
    assert command == "whole"
    assert [(title, rows[0].hub) for title, rows in results] == [("B", 2.0), ("A", 1.0)]
    said = report.markdown(told, command, results)
    assert "## B\n\nMeasured apart: today, load 0.1 before and 0.2 after, by `part`.\n" in said
    assert "## A\n\n|" in said
    assert "in a run of its own" in report.summary(told, command, results)
    again = report.merged(
        (told, command, results), later | {"date": "tomorrow"}, "part", [("B", [])], ["B", "A"]
    )
    assert [value for name, value in again[0].items() if "B" in name] == [
        "tomorrow, load 0.1 before and 0.2 after, by `part`"
    ]


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
