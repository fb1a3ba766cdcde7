"""What modules write: kept in bounded files, whatever they write and however much."""

import os
import random
import re

import pytest
from edge_modules import Edge

from iotedge_lab.clock import FakeClock
from iotedge_lab.edge.agent import LogLimits, ModuleLog
from iotedge_lab.edge.agent.log_query import LogFilter, as_text, moment, take_apart
from iotedge_lab.edge.agent.logs import LogLine
from iotedge_lab.errors import UsageError

NOW = 1_700_000_000.0


@pytest.fixture
def output(tmp_path):
    """A log of three files of a thousand bytes each, with its clock."""
    made = ModuleLog(tmp_path / "logs" / "a.log", FakeClock(NOW), LogLimits(1000, 3))
    yield made
    made.close()


def texts(output):
    return [line.text for line in output.snapshot().lines()]


def test_lines_and_their_marks(output):
    """Each line is kept with the time and the stream; a line is a line only once it has ended."""
    output.write("stdout", b"one\ntw")
    output.write("stderr", b"trouble\n")
    output._clock.advance(1.5)
    output.write("stdout", b"o\n\n")
    output.write("stdout", b"rest")
    assert list(output.snapshot().lines()) == [
        LogLine("2023-11-14T22:13:20.000000Z", "stdout", "one"),
        LogLine("2023-11-14T22:13:20.000000Z", "stderr", "trouble"),
        LogLine("2023-11-14T22:13:21.500000Z", "stdout", "two"),
        LogLine("2023-11-14T22:13:21.500000Z", "stdout", ""),
    ]
    output.end("stdout")
    assert texts(output)[-1] == "rest"
    assert (output.last("stderr"), output.last("stdout")) == ("trouble", "rest")
    output.forget_last()
    assert output.last("stderr") == ""


def test_whatever_the_pieces_the_lines_are_the_same(tmp_path):
    """Output cut anywhere gives the lines that it gives whole."""
    dice = random.Random(3)
    data = "".join(dice.choice("ab\u00e4 \r\n") for _ in range(2000)).encode()
    kept = []
    for name, size in (("whole", len(data)), ("bytes", 1), ("some", 7)):
        output = ModuleLog(tmp_path / name, FakeClock())
        for at in range(0, len(data), size):
            output.write("stdout", data[at : at + size])
        output.close()
        kept.append(texts(output))
    assert kept[0] == kept[1] == kept[2]
    assert len(kept[0]) > 100


def test_rotation(output):
    """Files are of the size given, and as many as given; the oldest lines go."""
    for number in range(200):
        output.write("stdout", f"line {number}\n".encode())
    files = sorted(output.file.parent.iterdir())
    assert [file.name for file in files] == ["a.log", "a.log.1", "a.log.2"]
    assert all(file.stat().st_size < 1100 for file in files)
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)
    kept = texts(output)
    assert kept == [f"line {number}" for number in range(200 - len(kept), 200)]
    assert len(kept) > 40
    output.close()
    output.write("stdout", b"again\n")
    assert texts(output)[-2:] == ["line 199", "again"]
    output.remove()
    assert list(output.file.parent.iterdir()) == []


def test_a_snapshot_stays_what_it_was(output):
    """Lines that are written, and files that are rotated, after a snapshot do not change it."""
    output.write("stdout", b"before\n")
    snapshot = output.snapshot()
    for number in range(200):
        output.write("stdout", f"after {number}\n".encode())
    assert [line.text for line in snapshot.lines()] == ["before"]


def test_a_line_without_end(output):
    """What never ends its line is kept in pieces, and memory holds one at most."""
    for _ in range(50):
        output.write("stdout", b"x" * 5000)
        assert len(output._parts.get("stdout", b"")) <= 16 * 1024
    assert set("".join(texts(output))) == {"x"}


def test_a_full_disk(output, monkeypatch):
    """Where nothing can be written lines are lost and counted; writing goes on once there is room."""
    output.write("stdout", b"one\n")
    real = os.write

    def half(descriptor, data):
        monkeypatch.setattr(os, "write", full)
        return real(descriptor, bytes(data[:10]))

    def full(descriptor, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", half)
    output.write("stdout", b"lost\n")
    output.write("stdout", b"lost as well\n")
    assert output.lost > 0
    monkeypatch.setattr(os, "write", real)
    output.write("stdout", b"two\n")
    assert texts(output) == ["one", "two"]


FLOOD = """
    import os, sys
    block = (b"0123456789abcdef" * 6 + b"\\n") * 600
    for _ in range({blocks}):
        os.write(1, block)
    print("done", file=sys.stderr)
"""


async def test_a_module_that_floods_the_log(tmp_path):
    """A module that writes 60 MB is not held up, fills no disk, and does not keep the loop from its work."""
    limits = LogLimits(200_000, 3)
    async with Edge(tmp_path, {"a": FLOOD.format(blocks=1000), "b": "print('ready')"}, limits=limits) as edge:
        await edge.apply(a={"restartPolicy": "never"}, b={"restartPolicy": "never"})
        await edge.until_status("stopped", "b")
        state = await edge.until_status("stopped")
        assert state.exit_code == 0
        assert edge.output(stream="stderr") == ["done"]
        files = list((edge.supervisor.folder / "logs").glob("a.log*"))
        assert len(files) == 3
        # A file may be over by one read of the pipe, with its marks.
        assert sum(file.stat().st_size for file in files) < 3 * 200_000 + 200_000
        assert len(edge.output()) > 1000


# -- asking for lines ------------------------------------------------------------------------------------

LINES = [
    LogLine("2023-11-14T20:00:00.000000Z", "stdout", "plain"),
    LogLine("2023-11-14T21:00:00.000000Z", "stdout", "<3> 2023-11-14 22:00:00.000 +01:00 [ERR] bad thing"),
    LogLine("2023-11-14T22:00:00.000000Z", "stderr", "<7> small talk"),
    LogLine("2023-11-14T22:10:00.000000Z", "stdout", "<4>[WRN] a thing"),
]

FILTERS = [
    # filter, the numbers of the lines that pass
    ({}, [0, 1, 2, 3]),
    ({"tail": 2}, [2, 3]),
    ({"tail": 0}, []),
    ({"tail": "1"}, [3]),
    ({"since": "90m"}, [1, 2, 3]),
    ({"since": "1 hour 20 minutes"}, [1, 2, 3]),
    ({"since": "20m", "tail": 1}, [3]),
    ({"since": "2023-11-14T23:00:00+01:00"}, [2, 3]),
    ({"since": 1_700_000_000 - 600}, [3]),
    ({"until": "1h"}, [0, 1]),
    ({"since": "2h", "until": "30m"}, [1]),
    ({"since": "1d"}, [0, 1, 2, 3]),
    ({"loglevel": 3}, [1]),
    ({"loglevel": 4}, [1, 3]),
    ({"loglevel": 6}, [0, 1, 3]),
    ({"loglevel": 7, "tail": 1}, [3]),
    ({"regex": "thing$"}, [1, 3]),
    ({"regex": "^<7>"}, []),  # the level is no part of the text
    ({"regex": "(?i)BAD"}, [1]),
    ({"regex": None, "tail": None}, [0, 1, 2, 3]),
]


@pytest.mark.parametrize(("given", "numbers"), FILTERS, ids=[str(case[0]) for case in FILTERS])
def test_filters(given, numbers):
    """The lines that pass a filter are those of the table."""
    assert list(LogFilter.read(given, NOW).apply(LINES)) == [LINES[number] for number in numbers]


BAD_FILTERS = [
    ({"tail": -1}, "filter.tail is -1"),
    ({"tail": 1.5}, "filter.tail"),
    ({"tail": True}, "filter.tail"),
    ({"loglevel": "high"}, "filter.loglevel is 'high'"),
    ({"since": "yesterday"}, "filter.since: 'yesterday' is no time"),
    ({"since": ""}, "filter.since"),
    ({"until": [1]}, "filter.until is neither"),
    ({"regex": "("}, "filter.regex is no regular expression"),
    ({"regex": 3}, "filter.regex"),
]


@pytest.mark.parametrize(("given", "words"), BAD_FILTERS)
def test_bad_filters(given, words):
    """A filter that cannot be read is refused by name."""
    with pytest.raises(UsageError, match=re.escape(words)):
        LogFilter.read(given, NOW)


MOMENTS = [
    ("1d", NOW - 86_400),
    ("1 day", NOW - 86_400),
    ("2 days 3 hours 2 minutes", NOW - 2 * 86_400 - 3 * 3600 - 120),
    ("1h30m", NOW - 5400),
    ("0s", NOW),
    ("1700000000", NOW),
    ("2023-11-14T22:13:20Z", NOW),
    ("2023-11-14T22:13:20", NOW),
]


@pytest.mark.parametrize(("text", "seconds"), MOMENTS)
def test_moments(text, seconds):
    """Durations, RFC 3339 times and UNIX times are all moments."""
    assert moment(text, NOW) == seconds


def test_taking_lines_apart():
    """Level and time come out of a line in the recommended form, and every other line is text of level 6."""
    found = [take_apart(line.text) for line in LINES]
    assert [each.level for each in found] == [6, 3, 7, 4]
    assert [each.text for each in found] == ["plain", "[ERR] bad thing", "small talk", "[WRN] a thing"]
    assert found[1].time == "2023-11-14 22:00:00.000 +01:00"
    assert as_text(LINES[:2]) == f"plain\n{LINES[1].text}\n"
