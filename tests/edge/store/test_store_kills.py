"""kill -9 of the process at any moment: what was acknowledged is there, in order, and comes out at least once."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from edge_shelf import Instant, Shelf
from queue_writer import LANES, PRIORITIES

from iotedge_lab.clock import SystemClock

KILLS = 12
WRITER = Path(__file__).parent / "queue_writer.py"
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")


class Ledger:
    """What the killed processes have promised, and what they have delivered."""

    def __init__(self):
        self.promised = set()
        self.delivered = set()
        self.runs = []  # for each process: what it delivered, in order

    def read(self, lines):
        self.runs.append([])
        for line in lines:
            word, *numbers = line.split()
            if word == b"R":
                continue
            message = tuple(map(int, numbers))
            assert len(message) == 3, line
            if word == b"A":
                self.promised.add(message)
            else:
                self.delivered.add(message)
                self.runs[-1].append(message)


def run_and_kill(folder, begin, seed, lines):
    """A writer, killed after it has written so many lines; all that it has written."""
    faults = folder / "faults.txt"
    with (
        faults.open("w") as errors,
        subprocess.Popen(
            [sys.executable, str(WRITER), str(folder), str(begin), str(seed)],
            stdout=subprocess.PIPE,
            stderr=errors,
        ) as process,
    ):
        try:
            written = [process.stdout.readline() for _ in range(lines)]
        finally:
            process.send_signal(signal.SIGKILL)
        rest = process.stdout.read()
    assert not faults.read_text()
    assert process.returncode == -signal.SIGKILL
    written += rest.splitlines(keepends=True)
    assert all(line.endswith(b"\n") for line in written)
    return written


def waiting(folder):
    """What lies in the file, queue by queue, in order: (lane, priority, number)."""
    shelf = Shelf(folder, SystemClock())
    assert shelf.store.rows("PRAGMA integrity_check") == [("ok",)]
    found = []
    for index, lane in enumerate(LANES):
        for parcel in shelf.queues.read(lane, count=100_000, most_bytes=2**30):
            message = tuple(map(int, parcel.body.split(b"|")[0].split()))
            assert message[0] == index
            assert PRIORITIES[message[1]] == parcel.priority
            found.append(message)
        assert shelf.queues.length(lane) == sum(one[0] == index for one in found)
    shelf.store.close()
    return found


def in_order(messages):
    """Whether numbers grow in each lane and priority."""
    last = {}
    for lane, priority, number in messages:
        if number <= last.get((lane, priority), -1):
            return False
        last[(lane, priority)] = number
    return True


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", [20, 26])
def test_kills_at_random(tmp_path, seed):
    """After each of many kills what was promised and not delivered waits, in order; in the end all has come out."""
    dice = random.Random(seed)
    ledger = Ledger()
    for kill in range(KILLS):
        lines = dice.choice((1, dice.randint(2, 200), dice.randint(200, 4000)))
        ledger.read(run_and_kill(tmp_path, kill * 1_000_000, dice.randrange(1 << 30), lines))
        found = waiting(tmp_path)
        assert ledger.promised <= ledger.delivered | set(found), "promised, and neither delivered nor there"
        assert len(found) == len(set(found))
        assert in_order(found)
        # Stored and killed before it could be told; nothing else may be there that was not promised.
        assert all(number // 1_000_000 <= kill for _, _, number in found)
    assert len(ledger.promised) > 300
    assert len(ledger.delivered) > 100

    shelf = Shelf(tmp_path, SystemClock())
    last = []
    for lane in LANES:
        outlet = Instant()
        shelf.pump(outlet, lane).wake()
        shelf.turns.run()
        last += [tuple(map(int, body.split("|")[0].split())) for body in outlet.sent]
    assert shelf.rows() == 0
    shelf.store.close()
    assert in_order(last)
    assert ledger.promised <= ledger.delivered | set(last)

    # What a receiver sees: seen for the first time, each lane and priority comes in the order in which it was put.
    seen = set()
    first = []
    for message in [message for run in [*ledger.runs, last] for message in run]:
        if message not in seen:
            seen.add(message)
            first.append(message)
    assert in_order(first)
