"""demo: the whole of it once, and its judgement."""

import json
import os
import subprocess
import sys

import psutil
import pytest

from iotedge_lab.cli import demo
from iotedge_lab.cli.demo import find_car_data, judged, read_rows
from iotedge_lab.errors import DataError
from iotedge_lab.event_text import ShownEvent

ROWS = [{"speed": str(number), "gear": "1"} for number in range(4)]


def came(*numbers, changed=False):
    """Events that carry those rows."""
    return [
        ShownEvent("0", 0, "0", None, "demo-car", "", {"message-id": str(number)}, {},
                   json.dumps({"speed": "9"} if changed else ROWS[number % 4]).encode())
        for number in numbers
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("received", "fault"),
    [
        (came(0, 1, 2, 3), ""),
        (came(3, 0, 2, 1), ""),
        (came(0, 1, 3), "1 missing"),
        (came(0, 1, 1, 2, 3, 3), "2 more than once"),
        (came(0, 1, 2) + came(3, changed=True), "1 altered"),
        (came(0, 1, 2, 3, 4), "1 not ours"),
        ([], "4 missing"),
    ],
)
def test_each_message_counts_once(received, fault):
    """Missing, doubled, altered and foreign ones are told apart; order does not matter."""
    lines, said = judged(ROWS, received)
    assert len(lines) == 6
    assert said == (f"messages went wrong: {fault}." if fault else "")


def test_the_journey(tmp_path):
    """A real hub is killed halfway, and all is there once; nothing is left running."""
    file = tmp_path / "car.csv"
    file.write_text("speed,gear\n" + "".join(f"{number / 10},3\n" for number in range(40)))
    (tmp_path / "temporary").mkdir()
    command = [
        sys.executable,
        "-m",
        "iotedge_lab",
        "demo",
        "--story",
        "nothing-lost",
        "--data",
        str(file),
        "--rows",
        "32",
    ]
    environment = os.environ | {"TMPDIR": str(tmp_path / "temporary")}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "- sent 30 rows, each acknowledged\n- killed the hub (SIGKILL)\n" in ran.stdout
    summary = ran.stdout.splitlines()[-6:]
    assert [line.split()[-1] for line in summary] == ["32", "32", "0", "0", "0", "0"]
    assert not list((tmp_path / "temporary").iterdir())
    left = [
        each
        for each in psutil.process_iter(["cmdline"])
        if str(tmp_path) in " ".join(each.info["cmdline"] or ())
    ]
    assert not left


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a,b\n1,2\n", "has 1 rows, and 3 are needed"),
        ("", "has 0 rows"),
        ("a,b\n1,2\n1\n1,2\n", "line 3"),
        ("a,b\n1,2\n1,2\n1,2,3\n", "line 4"),
        (b"\xff\xfe\x00", "cannot be read as CSV"),
    ],
)
def test_a_file_that_is_not_the_cars_is_refused(content, said, tmp_path):
    """With the line at fault."""
    file = tmp_path / "x.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=said):
        read_rows(file, 3)


def test_a_missing_file_is_refused(tmp_path, monkeypatch, cli):
    """By name, and where the default was looked for."""
    result = cli("demo", "--data", str(tmp_path / "no.csv"))
    assert result.exit_code == 1
    assert f"error: {tmp_path}/no.csv cannot be read" in result.stderr
    monkeypatch.setattr(demo, "__file__", str(tmp_path / "site" / "iotedge_lab" / "cli" / "demo.py"))
    with pytest.raises(DataError, match=r"no .*data/car\.csv.*--data"):
        find_car_data(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "car.csv").write_text("a\n")
    assert find_car_data(tmp_path) == tmp_path / "data" / "car.csv"
