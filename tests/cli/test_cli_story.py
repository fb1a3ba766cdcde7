"""demo: the whole story, and how it is told."""

import io
import os
import subprocess
import sys

import psutil
import pytest

from iotedge_lab.cli.story import Numbers, Step, manifest
from iotedge_lab.cli.telling import PlainTeller, RichTeller, teller
from iotedge_lab.edge.routes import parse_route


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_the_whole_story(tmp_path):
    """Each arrow turns, the error rises and falls, and nothing is left: no process, no folder."""
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "iotedge_lab", "demo"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, env=environment)
    assert ran.returncode == 0, ran.stderr
    for word in ("1 receive", "2 store", "3 train", "4 register", "5 push", "6 send", "the error falls"):
        assert word in ran.stdout
    assert not list(tmp_path.iterdir())
    left = [
        each
        for each in psutil.process_iter(["cmdline"])
        if str(tmp_path) in " ".join(each.info["cmdline"] or ())
    ]
    assert left == []


def test_the_manifest_sends_rows_both_ways():
    """Rows to the filter and to the hub, predictions to the hub; each route is one that the edge hub takes."""
    content = manifest("drives/recorded-1.csv")
    routes = content["$edgeHub"]["properties.desired"]["routes"].values()
    assert len([parse_route(route) for route in routes]) == 3
    assert content["ModuleSimulatorCar"]["properties.desired"]["file"] == "drives/recorded-1.csv"


def test_plain_lines_where_there_is_no_terminal(capsys):
    with teller(Numbers()) as told:
        assert isinstance(told, PlainTeller)
        told.step(Step(3.2, 2, "rows lie in the lake"))
        told.step(Step(12.0, 0, "a hub is up"))
        told.end([("rows", "12"), ("a longer name", "1")])
    assert capsys.readouterr().out.splitlines() == [
        "    3 s  2 store     rows lie in the lake",
        "   12 s  -           a hub is up",
        "",
        "rows           12",
        "a longer name  1",
    ]


def test_on_a_terminal_the_numbers_stand_below():
    from rich.console import Console

    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    numbers = Numbers(messages=1234, rows=567, version="2", error=1.25)
    with console.status("") as status:
        told = RichTeller(console, status, numbers)
        assert told._line() == "1,234 messages at the hub, 567 rows in the lake, model 2, live error 1.2 mph"
        told.step(Step(3.2, 6, "every car answers with it [bold]"))
        told.end([("models", "2 registered")])
    shown = console.file.getvalue()
    assert "send" in shown
    assert "every car answers with it [bold]" in shown
    assert "2 registered" in shown
