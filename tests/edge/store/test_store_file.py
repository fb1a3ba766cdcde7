"""The file: for its owner alone, refused when it is damaged, and no larger than it must be."""

import sqlite3
import stat
import threading

import pytest
from edge_shelf import INPUT, OTHER, UP, Instant, Taker

from iotedge_lab.clock import FakeClock
from iotedge_lab.edge.store import EdgeStore, KeptIdentities, Queues, file
from iotedge_lab.errors import EnvironmentProblem, StoreUnavailable

PAGE = 4096


def test_its_files_are_for_the_owner_alone(shelf):
    """Keys of the device scope lie in it: neither it nor its write-ahead log may be read by others."""
    shelf.put("a")
    found = list(shelf.path.parent.iterdir())
    assert {one.name for one in found} >= {"edge.db", "edge.db-wal", "edge.db-shm"}
    for one in found:
        assert stat.S_IMODE(one.stat().st_mode) == 0o600, one.name


def test_with_fsync_each_commit_is_flushed(tmp_path):
    """The switch for machines that lose power reaches SQLite."""
    for fsync, level in ((False, 1), (True, 2)):
        store = EdgeStore(tmp_path / f"{fsync}.db", fsync=fsync)
        assert store.rows("PRAGMA synchronous") == [(level,)]
        store.close()


# -- damage --------------------------------------------------------------------------------------------------


def filled(shelf):
    """A closed file with some 100 pages of messages."""
    shelf.put(*["x" * 1000] * 300)
    shelf.put("b", lane=INPUT)
    shelf.store.close()
    return shelf.path.read_bytes()


def spoil(shelf, *pages):
    """Overwrite pages, counted from 1, with noise."""
    content = bytearray(shelf.path.read_bytes())
    for page in pages:
        content[(page - 1) * PAGE : page * PAGE] = b"\xa5" * PAGE
    shelf.path.write_bytes(content)
    return bytes(content)


def root(shelf, name):
    with sqlite3.connect(shelf.path) as db:
        found = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)).fetchone()[0]
    db.close()
    return found


@pytest.mark.parametrize("what", ["text", "version", "middle", "index", "cut"])
def test_a_file_that_cannot_be_used_says_what_to_do(shelf, what):
    """Damage anywhere, or another version: `EnvironmentProblem` says what to do, and the file stays as it is."""
    content = filled(shelf)
    match what:
        case "text":
            content = b"this is no database, but long enough to look like one" * 99
            shelf.path.write_bytes(content)
        case "version":
            with sqlite3.connect(shelf.path) as db:
                db.execute("PRAGMA user_version = 99")
            db.close()
            content = shelf.path.read_bytes()
        case "middle":
            content = spoil(shelf, 50)
        case "index":
            content = spoil(shelf, root(shelf, "parcel_expires"))
        case "cut":
            content = content[: len(content) // 2 // PAGE * PAGE]
            shelf.path.write_bytes(content)
    with pytest.raises(EnvironmentProblem) as caught:
        EdgeStore(shelf.path)
    assert str(shelf.path) in str(caught.value)
    assert "start" in str(caught.value)
    assert shelf.path.read_bytes() == content


def test_the_folder_that_is_not_there(tmp_path):
    """A path that cannot be opened is told as such."""
    with pytest.raises(EnvironmentProblem, match="nowhere"):
        EdgeStore(tmp_path / "nowhere" / "edge.db")


def test_damage_in_a_file_too_large_to_be_looked_through(shelf, monkeypatch):
    """What the queues need to start is read in any case; damage there is told before anything runs."""
    monkeypatch.setattr(file, "CHECK_MOST", 0)
    filled(shelf)
    spoil(shelf, root(shelf, "parcel_expires"))
    store = EdgeStore(shelf.path)
    with pytest.raises(EnvironmentProblem, match=r"damaged.*move the file"):
        Queues(store, FakeClock())
    store.close()


def test_damage_that_shows_itself_later(shelf, monkeypatch, caplog):
    """A message that cannot be read stops its lane with a line that says what to do; the other lanes go on."""
    monkeypatch.setattr(file, "CHECK_MOST", 0)
    shelf.put(*["a" * 3000] * 20, lane=OTHER)
    shelf.put(*["b" * 3000] * 40, lane=UP)
    shelf.store.close()
    size = shelf.path.stat().st_size // PAGE
    spoil(shelf, size - 10)
    shelf.open()
    bad, good = Taker(), Instant()
    stopped = shelf.pump(bad)
    for _ in range(3):
        stopped.wake()
    shelf.pump(good, OTHER).wake()
    shelf.turns.run()
    assert len(good.sent) == 20
    assert 0 < len(bad.sent) < 40, "what lies before the damage is delivered"
    (line,) = caplog.messages
    assert "is damaged" in line
    assert "move the file" in line
    last = bad.waiting[-1][0]
    with pytest.raises(StoreUnavailable, match="damaged"):
        shelf.queues.read(UP, {5: last.id})


def test_a_disk_that_fails_for_a_moment(shelf, monkeypatch, caplog):
    """A read that the disk refuses stops the pump; the next `wake` tries again, and all comes. Each time is told."""
    shelf.put("a", "b")
    taker = Taker()
    made = shelf.pump(taker)

    class Failing:
        def cursor(self):
            return self

        def execute(self, *_):
            raise sqlite3.OperationalError("disk I/O error")

        def close(self):
            pass

    for sent in (["a", "b"], ["c"]):
        caplog.clear()
        with monkeypatch.context() as patch:
            patch.setattr(shelf.store, "db", Failing())
            made.wake()
            made.wake()
            assert taker.sent == []
            assert len([line for line in caplog.messages if "disk I/O error" in line]) == 1
            shelf.queues.tick()
        made.wake()
        assert taker.take() == sent
        taker.acknowledge()
        taker.room = 0
        shelf.put("c")
        taker.room = 10


# -- size ----------------------------------------------------------------------------------------------------


def pages(shelf):
    return shelf.store.rows("PRAGMA page_count")[0][0]


def backlog(shelf, count=400):
    """A backlog comes and goes; the pages at its height."""
    shelf.put(*["x" * 1000] * count)
    most = pages(shelf)
    outlet = Instant()
    made = shelf.pump(outlet)
    made.wake()
    shelf.turns.run()
    made.close()
    assert shelf.queues.length(UP) == 0
    assert len(outlet.sent) == count
    return most


def test_what_a_backlog_leaves_is_used_again(shelf):
    """The file is as large as the largest backlog was, however often it comes and goes."""
    first = backlog(shelf)
    assert [backlog(shelf) for _ in range(5)] == pytest.approx([first] * 5, abs=3)


def test_the_file_is_shortened_when_a_backlog_has_drained(shelf, monkeypatch):
    """`tick` gives the disk back what is free, if little is left to be moved; what is left is as it was."""
    monkeypatch.setattr(file, "TRIM_FREE", 50)
    monkeypatch.setattr(file, "TRIM_LIVE", 60)
    KeptIdentities(shelf.store).save("d", "", {"key": "x"})
    shelf.put(*["kept"] * 3, lane=OTHER)
    most = backlog(shelf)
    shelf.put("y" * 100_000, lane=INPUT)
    before = [parcel.id for parcel in shelf.queues.read(OTHER)]
    shelf.clock.advance(61)
    shelf.tick()
    shelf.store._checkpointer.join()
    assert pages(shelf) < most / 2
    assert shelf.path.stat().st_size == pages(shelf) * PAGE
    assert [parcel.id for parcel in shelf.queues.read(OTHER)] == before
    shelf.put("later")
    shelf.reopen()
    assert (shelf.bodies(OTHER), shelf.bodies()) == (["kept"] * 3, ["later"])
    assert shelf.bodies(INPUT) == ["y" * 100_000]
    assert KeptIdentities(shelf.store).load("d") == {"key": "x"}


def test_the_file_is_not_shortened_for_little_or_at_great_cost(shelf, monkeypatch):
    """With little free, or much to move, or no room to do it, it stays as it is."""
    monkeypatch.setattr(file, "TRIM_FREE", 50)
    monkeypatch.setattr(file, "TRIM_LIVE", 60)
    assert not shelf.store.trim()
    backlog(shelf)
    shelf.put(*["x" * 1000] * 300)
    assert not shelf.store.trim()
    shelf.queues.purge(UP.endpoint)
    shelf.turns.run()
    other = sqlite3.connect(shelf.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    shelf.store.db.execute("PRAGMA busy_timeout = 0")
    assert not shelf.store.trim()
    other.execute("ROLLBACK")
    other.close()
    going_on = threading.Event()
    shelf.store._checkpointer = threading.Thread(target=going_on.wait)
    shelf.store._checkpointer.start()
    assert not shelf.store.trim()
    going_on.set()
    shelf.store._checkpointer.join()
    assert shelf.store.trim()
