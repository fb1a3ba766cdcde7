"""A disk that is full: nothing is acknowledged that is not stored, what waits goes out, and it recovers by itself."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from edge_shelf import INPUT, OTHER, UP, Instant, Taker

from iotedge_lab.errors import StoreUnavailable

HERE = Path(__file__).parent


def test_what_is_refused_is_told_and_leaves_nothing(shelf):
    """The senders of the turn are told, one by one; the queues are as they were, also after a restart."""
    shelf.put("a")
    shelf.no_room()
    told = shelf.put("b" * 50_000, turn=False)
    also = shelf.put("c" * 50_000, lane=INPUT, turn=False)  # a queue that was never there
    shelf.turns.run()
    for one in (told, also):
        assert [type(error) for error in one] == [StoreUnavailable]
        assert "free some space" in one[0].message
    assert shelf.bodies() == ["a"]
    assert shelf.queues.lanes() == [UP]
    shelf.no_room(None)
    assert shelf.put("d", lane=INPUT) == [None]
    assert shelf.put("e") == [None]
    shelf.reopen()
    assert (shelf.bodies(), shelf.bodies(INPUT)) == (["a", "e"], ["d"])


def test_what_is_put_does_not_keep_what_is_delivered_from_going(shelf):
    """A flood that does not fit refuses itself alone: deletions of the same turn make room by themselves."""
    shelf.put(*["x" * 3000] * 20)
    taker = Taker()
    shelf.pump(taker).wake()
    shelf.no_room()
    told = shelf.put("y" * 500_000, lane=OTHER, turn=False)
    taker.acknowledge()
    shelf.turns.run()
    assert isinstance(told[0], StoreUnavailable)
    assert shelf.rows() == 0
    assert shelf.put("y" * 50_000, lane=OTHER) == [None]


def test_deletions_that_are_refused_are_tried_again(shelf, caplog):
    """Where not even a deletion gets through, what is delivered is not sent again; `tick` deletes it when it can."""
    shelf.put(*"abc")
    taker = Taker()
    made = shelf.pump(taker)
    made.wake()
    shelf.store.db.execute("PRAGMA busy_timeout = 0")
    other = sqlite3.connect(shelf.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # nothing can be written
    taker.acknowledge(2)
    shelf.turns.run()
    for _ in range(3):
        shelf.tick()
    assert shelf.rows() == 3
    made.lost()
    taker.cut()
    made.wake()
    assert taker.sent == ["a", "b", "c", "c"]
    assert shelf.bodies() == ["c"]
    assert len([line for line in caplog.messages if "cannot be deleted" in line]) == 1
    other.execute("ROLLBACK")
    other.close()
    shelf.tick()
    assert shelf.rows() == shelf.queues.length(UP) == 1


def test_counts_and_the_clock_are_written_when_there_is_room_again(shelf):
    """What was counted, and how the clock was set, while nothing could be written, is kept afterwards."""
    shelf.put("a", "b", ttl=10.0)
    shelf.put("c", ttl=1000.0)
    shelf.store.db.execute("PRAGMA busy_timeout = 0")
    other = sqlite3.connect(shelf.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    shelf.clock.advance(20)
    shelf.clock.time += 1_000_000
    shelf.tick()
    assert shelf.figures().expired == 2
    other.execute("ROLLBACK")
    other.close()
    shelf.tick()
    shelf.crash()
    told = shelf.figures()
    assert (told.expired, told.length, told.oldest) == (2, 1, pytest.approx(20))


def test_the_clock_is_written_with_deletions_that_make_room(shelf):
    """A step of the clock that came in a refused turn is kept all the same."""
    shelf.put("a", "b", "c", ttl=100.0)
    taker = Taker()
    shelf.pump(taker).wake()
    shelf.no_room()
    shelf.clock.time += 1_000_000
    taker.acknowledge(1)
    shelf.put("x" * 500_000, turn=False)
    shelf.turns.run()
    shelf.crash()
    assert shelf.bodies() == ["b", "c"]


def test_a_long_queue_drains_on_a_full_disk(shelf):
    """Everything that waits is delivered once, in order, while puts are refused."""
    bodies = [f"{number:04d}" + "x" * 1000 for number in range(300)]
    shelf.put(*bodies)
    shelf.no_room()
    outlet = Instant()
    made = shelf.pump(outlet, window=7)
    made.wake()
    while shelf.turns.waiting:
        shelf.put("y" * 2_000_000, turn=False)
        shelf.turns.once()
    assert outlet.sent == bodies
    assert shelf.rows() == 0


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process's files are a thing of POSIX")
@pytest.mark.parametrize("margin", [200_000, 0])
def test_no_file_can_grow(tmp_path, margin):
    """With a real limit on its files: what is accepted is delivered once, in order, and it needs no restart."""
    done = subprocess.run(
        [sys.executable, str(HERE / "full_disk.py"), str(tmp_path), str(margin)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["refused"] == 3
    assert told["accepted"] >= 51
    assert (told["accepted"] > 51) == (margin > 0)
    assert told["delivered"] == list(range(told["accepted"]))
    assert told["left"] == 0, "deletions did not get through"
    assert told["again"] == "None", "no room was made by what was delivered"
    assert told["after"] == "None"
