"""What all commands share: how they end, what they print, how fast they answer."""

import json
import os
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from iotedge_lab import __version__
from iotedge_lab.cli import main
from iotedge_lab.cli.app import LabGroup, state_flag, table
from iotedge_lab.errors import HubNotRunning


def raising(error):
    """A command line whose one command raises `error`."""
    group = LabGroup("x")

    @group.command("go")
    def go():
        raise error

    return CliRunner().invoke(group, ["go"])


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (HubNotRunning("no hub runs. Start it."), 1, "error: no hub runs. Start it.\n"),
        (PermissionError(13, "Permission denied", "/x/y"), 1, "error: Permission denied: /x/y. "),
        (KeyboardInterrupt(), 130, ""),
        (click.UsageError("wrong"), 2, "Usage: "),
    ],
)
def test_errors_become_a_line_and_a_status(error, status, said):
    """No traceback for what is foreseen."""
    result = raising(error)
    assert result.exit_code == status
    assert result.stdout == ""
    assert result.stderr.startswith(said)
    assert "Traceback" not in result.stderr
    assert said or not result.stderr


def test_a_fault_of_ours_is_not_hidden():
    """A bug keeps its traceback."""
    assert isinstance(raising(ZeroDivisionError()).exception, ZeroDivisionError)


def test_an_unanswered_question_says_yes_is_needed(hub, state, cli):
    """At the end of the input, and not as if Ctrl-C had been pressed."""
    result = cli("reset", *state, input="")
    assert result.exit_code == 1
    assert "--yes" in result.stderr


def commands(command, path=()):
    """Every command of the tree, with its words."""
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from commands(each, (*path, name))
    else:
        yield path, command


ALL = list(commands(main))


def test_the_commands_are_these():
    """The tree, so that the cases below look at all of it."""
    assert {" ".join(path) for path, _ in ALL} == {
        "up", "down", "status", "env", "reset", "monitor", "doctor", "lab", "portal", "demo", "fleet",
        "device create", "device list", "device show", "device delete", "device connection-string",
        "consumer-group create", "consumer-group list", "consumer-group delete",
        "edge run", "edge up", "edge start", "edge status", "edge offline", "edge online", "edge logs", "edge stop",
        "edge down", "edge deploy", "edge metrics",
        "capture start", "capture status", "capture stop",
        "simulator setup", "simulator start", "simulator modulecred", "simulator outputs", "simulator status",
        "simulator logs", "simulator stop", "solution new", "solution add", "models fetch", "models check",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "command"), ALL, ids=lambda each: " ".join(each) if isinstance(each, tuple) else ""
)
def test_help_documents_each_command(path, command, cli):
    """A sentence, help for each option, and --state wherever there is a hub to name."""
    result = cli(*path, "--help")
    assert result.exit_code == 0
    assert "\b" not in result.output
    assert "\\b" not in result.output
    assert (command.help or "").strip()
    options = [each for each in command.params if isinstance(each, click.Option)]
    assert all(each.help for each in options)
    assert ("--state" in result.output) == (path[0] not in ("demo", "solution", "models"))


WRONG = """
nonsense
up --partitions 0
device show
device create d --module m --edge
monitor --count 0
monitor --timeout -1
demo --rows 3
"""


@pytest.mark.parametrize(
    "words",
    [
        (),
        *(tuple(line.split()) for line in WRONG.split("\n") if line),
        ("device", "show", ""),
        ("monitor", "--device", " "),
    ],
)
def test_wrong_command_lines_end_with_2(words, cli):
    """Usage errors."""
    assert cli(*words).exit_code == 2


@pytest.mark.parametrize(
    "words", [("env",), ("monitor",), ("reset", "--yes"), ("device", "list"), ("consumer-group", "list")]
)
def test_without_a_hub_the_advice_is_to_start_it(words, cli, tmp_path):
    """Nothing is started behind the person's back, and the command that helps is spelled out."""
    result = cli(*words, "--state", str(tmp_path / "a b"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"iotedge-lab up --state '{tmp_path}/a b'" in result.stderr
    assert not (tmp_path / "a b").exists()


def test_version(cli):
    """Name and number."""
    assert cli("--version").output == f"iotedge-lab {__version__}\n"


def test_the_module_is_the_same_command():
    """`python -m iotedge_lab`, and it loads none of the library for --help."""
    code = (
        "import sys, json, runpy\n"
        "sys.argv = ['x', '--help']\n"
        "try: runpy.run_module('iotedge_lab', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert ran.stdout.startswith("Usage: iotedge-lab ")
    loaded = set(json.loads(ran.stdout.splitlines()[-1]))
    assert "iotedge_lab.cli" in loaded
    slow = {
        "asyncio",
        "ssl",
        "aiohttp",
        "azure",
        "cryptography",
        "psutil",
        "platformdirs",
        "sqlite3",
        "iotedge_lab.lab",
    }
    assert not loaded & slow


def test_tables_are_aligned_and_bare():
    """Two spaces between columns, none at the end of a line."""
    assert table([("a", "bb", ""), ("ccc", "d", "e")]) == ["a    bb", "ccc  d   e"]
    assert table([]) == []


def test_advice_quotes_the_state_folder(tmp_path):
    """What is advised can be pasted."""
    assert state_flag(None) == ""
    assert state_flag(tmp_path / "it's") == f" --state '{tmp_path}/it'\"'\"'s'"
