"""`iotedge-lab fleet`: what it prints, asks and answers."""

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios

import pytest
from click.testing import CliRunner

from iotedge_lab.cli import main
from iotedge_lab.cli.fleet import status_line
from iotedge_lab.fleet.status import FleetStatus
from iotedge_lab.rest import RestClient

AZURE = "HostName=my-hub.azure-devices.net;SharedAccessKeyName=iothubowner;SharedAccessKey=a2V5"
LINE = re.compile(
    r" +0:\d\d  4/4 connected  \d+/s  p50 (?:[\d.]+ ms|-)  p99 (?:[\d.]+ ms|-)  \d+ in flight  \d+ acknowledged"
)


def run(*words, **more):
    return CliRunner().invoke(main, ["fleet", *words], **more)


def test_it_drives_and_sums_up(shared_lab):
    """A line a second, the summary, the devices deleted; status 0."""
    result = run(
        "--cars", "4", "--rate", "20", "--seconds", "2", "--prefix", "cli-", "--remove",
        "--state", str(shared_lab.state_dir),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    first, *lines, sent, latency, deleted = result.stdout.splitlines()
    assert first == "4 devices are registered: cli-0001 to cli-0004"
    assert any(LINE.fullmatch(line) for line in lines), lines
    numbers = re.fullmatch(r"sent (\d+), acknowledged (\d+) in 2\.\d s \(\d+ messages/s\)", sent)
    assert numbers[1] == numbers[2]
    assert re.fullmatch(r"latency p50 [\d.]+ ms, p99 [\d.]+ ms, longest [\d.]+ ms; 0 reconnects", latency)
    assert deleted == "deleted 4 devices"
    assert not [each for each in shared_lab.rest().call("GET", "/devices") if "cli-" in each["deviceId"]]


def test_a_refused_car_is_a_note(shared_lab):
    """The others drive, status 0; standard error has the name and the reason."""
    rest = shared_lab.rest()
    rest.call("PUT", "/devices/note-0002", {"deviceId": "note-0002", "status": "disabled"})
    state = ("--state", str(shared_lab.state_dir))
    result = run("--cars", "2", "--rate", "10", "--seconds", "0.5", "--prefix", "note-", *state)
    assert result.exit_code == 0, result.output
    assert "note: note-0002 was refused: not authorised" in result.stderr


def test_none_let_in_is_an_error(shared_lab):
    """Status 1, with the reason."""
    rest = shared_lab.rest()
    rest.call("PUT", "/devices/shut-0001", {"deviceId": "shut-0001", "status": "disabled"})
    state = ("--state", str(shared_lab.state_dir))
    result = run("--cars", "1", "--seconds", "5", "--prefix", "shut-", *state)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: the hub lets none of the 1 cars in: not authorised")


def test_no_hub_is_an_error(tmp_path):
    """Status 1, with the command that starts one."""
    result = run("--state", str(tmp_path / "none"))
    assert result.exit_code == 1
    assert "Start it with 'iotedge-lab up" in result.stderr


@pytest.mark.parametrize(
    ("words", "answer", "status", "said"),
    [
        ((), "n\n", 1, "error: nothing was sent."),
        ((), "", 1, "give --yes"),
        (("--yes",), "", 1, "error: the registry was asked"),
    ],
)
def test_it_asks_before_a_hub_on_azure(monkeypatch, words, answer, status, said):
    """With the messages a day and what the free tier has; only a yes gets as far as the registry."""

    def refuse(*_, **__):
        from iotedge_lab.errors import LabError

        raise LabError("the registry was asked")

    monkeypatch.setattr(RestClient, "call", refuse)
    monkeypatch.setenv("IOTHUB_CONNECTION_STRING", AZURE)
    result = run("--cars", "200", "--rate", "10", "--seconds", "30", *words, input=answer)
    assert result.exit_code == status
    assert said in result.stderr
    assert "my-hub.azure-devices.net is not on this machine" in result.stdout
    assert "172,800,000 messages a day. In 30 s it is 60,000. The free tier has 8,000 a day" in result.stdout
    assert ("Send them?" in result.output) == (not words)


@pytest.mark.parametrize("words", [("--cars", "0"), ("--rate", "0"), ("--seconds", "0"), ("--prefix", "")])
def test_a_wrong_command_line(words):
    """Status 2."""
    assert run(*words).exit_code == 2


@pytest.mark.parametrize("processes", ["1", "2"])
def test_ctrl_c_disconnects_and_sums_up(shared_lab, processes):
    """Status 130, the summary, no traceback, and all that was sent is acknowledged."""
    prefix = f"int{processes}-"
    command = [
        sys.executable, "-m", "iotedge_lab", "fleet", "--cars", "3", "--rate", "20", "--prefix", prefix,
        "--processes", processes, "--state", str(shared_lab.state_dir),
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            line = ""
            while "p99" not in line:
                line = process.stdout.readline()
                assert line
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (process.returncode, err) == (130, "")
    numbers = re.search(r"^sent (\d+), acknowledged (\d+) in ", out, re.MULTILINE)
    assert numbers[1] == numbers[2]
    log = (shared_lab.state_dir / "hub.log").read_text(encoding="utf-8")
    assert log.count(f" {prefix}0003: connection closed: DISCONNECT") == 1


def test_on_a_terminal_one_line_changes_in_place(shared_lab):
    """Each status takes the place of the one before, no wider than the terminal; the last one is left standing."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    command = [
        sys.executable, "-m", "iotedge_lab", "fleet", "--cars", "2", "--rate", "10", "--prefix", "tty-",
        "--seconds", "1.5", "--state", str(shared_lab.state_dir),
    ]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    shown = bytearray()
    with subprocess.Popen(command, stdout=slave, stderr=subprocess.DEVNULL, env=environment) as process:
        os.close(slave)
        try:
            with contextlib.suppress(OSError):  # Linux: EIO when the other side has closed
                while part := os.read(master, 65_536):
                    shown += part
            assert process.wait(30) == 0
        finally:
            process.kill()
            os.close(master)
    before, *statuses = shown.decode().split("\r\x1b[2K")
    assert before == "2 devices are registered: tty-0001 to tty-0002\r\n"
    *changing, last = statuses
    assert len(changing) >= 3
    assert not any("\n" in status for status in changing)
    assert all(len(status) <= 59 for status in changing)
    assert "2/2 connected" in last
    lines = last.splitlines()
    assert len(lines) == 3
    assert lines[1].startswith("sent ")


def test_a_line_says_what_is_wrong():
    """Without a connection the reason; refused cars and reconnects only where there are some."""
    down = FleetStatus(0, 5, 4, 0.0, None, None, 1, 0, cars=2, seconds=61.0, trouble="no hub listens there")
    assert status_line(down) == (
        "  1:01  0/2 connected  no hub listens there  0/s  p50 -  p99 -  1 in flight  4 acknowledged"
    )
    good = FleetStatus(
        1, 5, 5, 2000.4, 1.25, 12.3, 0, 3, cars=2, refused=1, seconds=1.0, trouble="not authorised"
    )
    assert status_line(good) == (
        "  0:01  1/2 connected  1 refused  2,000/s  p50 1.2 ms  p99 12 ms  0 in flight  5 acknowledged  3 reconnects"
    )
    assert status_line(FleetStatus(3, 0, 0, 0.0, None, None, 0, 0, cars=9)) == "  0:00  3/9 connected"
