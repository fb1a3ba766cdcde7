"""The queues: durable before it is told, in order, each by its priority, and counted right."""

import math
import sqlite3

import pytest
from edge_shelf import INPUT, OTHER, UP

from iotedge_lab.edge.store import Entry, Lane, ledger
from iotedge_lab.errors import StoreUnavailable

NONE = 2_000_000_000  # the priority of a route that names none


def test_nothing_is_told_before_the_commit(shelf):
    """`done` and the lane's listener are called once it is committed, and no reader sees it earlier."""
    woken = []
    shelf.queues.listen(UP, lambda priority: woken.append((priority, shelf.bodies())))
    told = shelf.put("a", "b", turn=False)
    assert (told, woken, shelf.bodies(), shelf.queues.lanes()) == ([], [], [], [])
    shelf.turns.run()
    assert (told, woken) == ([None], [(5, ["a", "b"])])
    assert shelf.queues.lanes() == [UP]


def test_a_parcel_is_what_was_put(shelf):
    """Lane, priority, topic, body and times come back as they were, and the id grows."""
    now = shelf.clock.now()
    body = bytes(range(256)) * 1024
    told = []
    topic = "%24.mid=1&größe=ü&empty="
    shelf.queues.put(
        [Entry(UP, 3, topic, body, 60.0), Entry(UP, 3, "", b"", math.inf), Entry(INPUT, NONE, "x", b"y", 1)],
        told.append,
    )
    shelf.turns.run()
    one, two = shelf.queues.read(UP)
    assert (one.lane, one.priority, one.topic, one.body) == (UP, 3, topic, body)
    assert (one.enqueued, one.expires) == (now, now + 60)
    assert (two.topic, two.body, two.expires) == ("", b"", math.inf)
    assert one.id < two.id
    (three,) = shelf.queues.read(INPUT)
    assert (three.lane, three.priority, three.topic, three.body) == (INPUT, NONE, "x", b"y")
    assert told == [None]


def test_priorities_come_in_their_order_and_each_in_its_own(shelf):
    """0 first, the default last; within one the order of putting, over several turns and restarts."""
    shelf.put("d1", "d2", priority=NONE)
    shelf.put("five1", priority=5)
    shelf.put("zero1", priority=0)
    shelf.reopen()
    shelf.put("five2", priority=5)
    shelf.put("zero2", priority=0)
    shelf.put("d3", priority=NONE)
    expected = ["zero1", "zero2", "five1", "five2", "d1", "d2", "d3"]
    assert shelf.bodies() == expected
    shelf.crash()
    assert shelf.bodies() == expected
    assert shelf.bodies(count=3) == expected[:3]


def test_lanes_are_apart(shelf):
    """A lane is an endpoint and a source: what waits in one is not read in another."""
    shelf.put("a", lane=UP)
    shelf.put("b", lane=OTHER)
    shelf.put("c", lane=INPUT)
    shelf.put("d", lane=Lane("filter/other"))
    assert [shelf.bodies(lane) for lane in (UP, OTHER, INPUT)] == [["a"], ["b"], ["c"]]
    assert set(shelf.queues.lanes()) == {UP, OTHER, INPUT, Lane("filter/other")}
    assert shelf.queues.read(Lane("nobody/in")) == []
    assert shelf.queues.length(Lane("nobody/in")) == 0
    shelf.reopen()
    assert [shelf.bodies(lane) for lane in (UP, OTHER, INPUT)] == [["a"], ["b"], ["c"]]


def test_one_put_to_several_lanes_is_all_or_none(shelf):
    """A message that several routes take is stored for each of its endpoints before it is acknowledged, or for none."""
    told = []
    entries = [Entry(UP, 1, "", b"x" * 9_000), Entry(INPUT, 0, "", b"x" * 60_000)]
    shelf.put("first")
    shelf.no_room(4)
    shelf.queues.put(entries, told.append)
    shelf.turns.run()
    assert isinstance(told.pop(), StoreUnavailable)
    assert (shelf.bodies(), shelf.bodies(INPUT)) == (["first"], [])
    shelf.no_room(None)
    shelf.queues.put(entries, told.append)
    shelf.turns.run()
    assert told == [None]
    assert (shelf.queues.length(UP), shelf.queues.length(INPUT)) == (2, 1)


def test_reading_on(shelf):
    """`after` says for each priority where to read on; what was put since comes too."""
    shelf.put("a", "b", "c", priority=5)
    shelf.put("x", "y", priority=7)
    first = shelf.queues.read(UP, count=2)
    after = {5: first[-1].id}
    assert shelf.bodies(after=after) == ["c", "x", "y"]
    shelf.put("d", priority=5)
    shelf.put("now", priority=1)
    assert shelf.bodies(after=after) == ["now", "c", "d", "x", "y"]
    assert shelf.bodies() == ["now", "a", "b", "c", "d", "x", "y"]  # a new reader begins at the front


@pytest.mark.parametrize(("most", "count"), [(0, 1), (1, 1), (1000, 1), (1001, 2), (2500, 3), (10_000, 5)])
def test_a_read_is_bounded_by_bytes(shelf, most, count):
    """A read ends once its bodies come to the limit, though not before the first."""
    shelf.put(*["x" * 1000] * 5)
    assert len(shelf.queues.read(UP, count=100, most_bytes=most)) == count


def test_the_bound_in_bytes_is_of_the_whole_read(shelf):
    """It counts over all priorities of the lane."""
    for priority in (1, 2, 3):
        shelf.put(*["x" * 1000] * 2, priority=priority)
    found = shelf.queues.read(UP, most_bytes=2500)
    assert [parcel.priority for parcel in found] == [1, 1, 2]


def test_what_is_removed_is_not_read_again(shelf):
    """From `remove` on a parcel is gone for readers; its row goes with the turn's transaction."""
    shelf.put("a", "b", "c", "d")
    found = shelf.queues.read(UP)
    shelf.queues.remove([found[0].id, found[2].id])
    assert shelf.bodies() == ["b", "d"]
    assert shelf.rows() == 4
    shelf.turns.run()
    assert shelf.bodies() == ["b", "d"]
    assert shelf.rows() == shelf.queues.length(UP) == 2
    shelf.crash()
    assert shelf.bodies() == ["b", "d"]


def test_a_kill_before_the_deletion_brings_it_back(shelf):
    """At least once: a removal that was not committed is undone by a kill, and the order is as it was."""
    shelf.put("a", "b", "c")
    found = shelf.queues.read(UP)
    shelf.queues.remove([found[0].id])
    shelf.turns.run()
    shelf.queues.remove([found[1].id])
    shelf.crash()
    assert shelf.bodies() == ["b", "c"]


def test_removing_again_or_what_never_was_changes_nothing(shelf):
    """A second acknowledgement, or one of a made-up id, neither removes another parcel nor counts one twice."""
    shelf.put("a", "b")
    found = shelf.queues.read(UP)
    for _ in range(3):
        shelf.queues.remove([found[0].id, found[0].id])
        shelf.turns.run()
    shelf.queues.remove([])
    shelf.queues.remove([12345, -1, 1 << 60])
    shelf.turns.run()
    assert shelf.bodies() == ["b"]
    assert shelf.queues.length(UP) == shelf.rows() == 1


def test_a_large_purge_is_done_bit_by_bit(shelf, monkeypatch):
    """One transaction deletes so many rows of it at most, and what is acknowledged meanwhile goes first and whole."""
    monkeypatch.setattr(ledger, "_PURGE_MOST", 10)
    shelf.put(*map(str, range(95)), lane=INPUT)
    shelf.put(*map(str, range(20)))
    shelf.put("stays")
    shelf.queues.purge(INPUT.endpoint)
    shelf.queues.remove(parcel.id for parcel in shelf.queues.read(UP, count=20))
    shelf.turns.once()
    assert shelf.rows() == 86
    assert shelf.turns.run() >= 9
    assert shelf.rows() == shelf.queues.length(UP) == 1


def test_an_orderly_stop_brings_nothing_back(shelf, monkeypatch):
    """What was acknowledged before `close` is deleted by it, however much else is to be deleted."""
    monkeypatch.setattr(ledger, "_PURGE_MOST", 3)
    shelf.put(*"abcdefgh", lane=INPUT)
    shelf.put(*"abcdef", "stays")
    shelf.queues.purge(INPUT.endpoint)
    shelf.queues.remove(parcel.id for parcel in shelf.queues.read(UP, count=6))
    shelf.reopen()
    assert (shelf.bodies(), shelf.bodies(INPUT), shelf.rows()) == (["stays"], [], 1)


def test_a_wide_gap_is_stepped_over(shelf, monkeypatch):
    """Deletion of a span in which few rows are left takes no transaction for each of its numbers."""
    monkeypatch.setattr(ledger, "_PURGE_MOST", 10)
    shelf.put(*map(str, range(1000)))
    found = [parcel.id for parcel in shelf.queues.read(UP, count=1000)]
    shelf.queues.remove(found[1:-1])
    shelf.turns.run()
    shelf.queues.purge(UP.endpoint)
    assert shelf.turns.run() < 5
    assert shelf.rows() == 0


def test_ids_are_not_used_again_while_the_runtime_lives(shelf):
    """An emptied queue counts on: a late acknowledgement cannot meet another message."""
    shelf.put("a")
    first = shelf.queues.read(UP)[0].id
    shelf.queues.remove([first])
    shelf.turns.run()
    shelf.put("b")
    assert shelf.queues.read(UP)[0].id > first
    shelf.queues.remove([first])
    shelf.turns.run()
    assert shelf.bodies() == ["b"]


# -- figures -----------------------------------------------------------------------------------------------


def test_figures(shelf):
    """Length and age of the oldest, for each lane and priority; an emptied queue is there with zeros."""
    shelf.put("a", "b", priority=1)
    shelf.clock.advance(10)
    shelf.put("c", priority=1)
    shelf.put("d", priority=NONE)
    shelf.put("e", lane=INPUT)
    shelf.clock.advance(5)

    def told():
        return {(one.lane, one.priority): (one.length, one.oldest) for one in shelf.queues.figures()}

    assert told() == {(UP, 1): (3, 15), (UP, NONE): (1, 5), (INPUT, 5): (1, 5)}
    found = shelf.queues.read(UP)
    shelf.queues.remove([found[0].id, found[1].id, found[3].id])
    shelf.turns.run()
    assert told() == {(UP, 1): (1, 5), (UP, NONE): (0, 0), (INPUT, 5): (1, 5)}
    shelf.reopen()
    shelf.clock.advance(1)
    assert told() == {(UP, 1): (1, 6), (UP, NONE): (0, 0), (INPUT, 5): (1, 6)}


def test_the_oldest_is_not_one_that_is_gone(shelf):
    """Between an acknowledgement and its commit the age is that of the next one."""
    shelf.put("a")
    shelf.clock.advance(10)
    shelf.put("b")
    assert shelf.figures().oldest == 10
    shelf.queues.remove([shelf.queues.read(UP)[0].id])
    assert shelf.figures().oldest == 0
    shelf.turns.run()
    shelf.clock.advance(3)
    assert shelf.figures().oldest == 3


def test_figures_do_not_look_at_what_waits(shelf):
    """Asked each second, they cost no more with many waiting: at most one row is looked up for each queue."""
    for priority in range(3):
        shelf.put(*["x" * 100] * 3000, priority=priority)
    steps = []
    shelf.store.db.set_progress_handler(lambda: steps.append(1), 1)
    shelf.queues.figures()
    assert 0 < len(steps) < 200
    steps.clear()
    shelf.queues.figures()
    assert steps == []
    shelf.store.db.set_progress_handler(None, 1)
    plan = shelf.store.rows("EXPLAIN QUERY PLAN SELECT id >> 42, COUNT(*) FROM parcel GROUP BY 1")
    assert "COVERING INDEX parcel_expires" in plan[0][3]


def test_counts_after_a_restart(shelf):
    """Lengths are those of what is there, and what was dropped stays counted, after a stop and after a kill."""
    shelf.put("a", "b", "c", "d")
    shelf.put("e", ttl=1.0)
    shelf.put("f", lane=INPUT)
    found = shelf.queues.read(UP)
    shelf.queues.remove([found[0].id])
    shelf.queues.refuse(found[1], "too large")
    shelf.clock.advance(2)
    shelf.tick()
    for again in (shelf.reopen, shelf.crash):
        again()
        told = shelf.figures()
        assert (told.length, told.expired, told.refused) == (2, 1, 1)
        assert shelf.figures(INPUT).length == 1


def test_a_refused_parcel_is_dropped_counted_and_logged(shelf, caplog):
    """What its outlet will never take goes, once, with a line that says why and does not show the message."""
    shelf.put("secret", "b")
    parcel = shelf.queues.read(UP)[0]
    shelf.queues.refuse(parcel, "it is too large")
    shelf.queues.refuse(parcel, "it is too large")
    shelf.turns.run()
    assert shelf.bodies() == ["b"]
    assert shelf.figures().refused == 1
    (line,) = caplog.messages
    assert "too large" in line
    assert "$upstream" in line
    assert "secret" not in line


def test_refusals_do_not_flood_the_log(shelf, caplog):
    """A sender whose every message is refused has a line a minute, with how many there were; the count is whole."""
    shelf.put(*map(str, range(121)))
    for parcel in shelf.queues.read(UP):
        shelf.queues.refuse(parcel, "too large")
        shelf.clock.advance(1)
    shelf.turns.run()
    assert shelf.figures().refused == 121
    assert len(caplog.messages) == 3
    assert ["(and 59 before)" in line for line in caplog.messages] == [False, True, True]


def test_what_others_change_between_write_and_commit_is_not_forgotten(shelf):
    """One of the same transaction who is told first may refuse a message, or notice that the clock was set."""
    shelf.put(*"abcd")
    found = shelf.queues.read(UP)

    class Early:
        def write(self, db):
            pass

        def durable(self):
            shelf.queues.refuse(found[1], "too large")
            shelf.queues.remove([found[2].id])
            shelf.clock.time += 1_000_000
            shelf.queues.figures()

        failed = None

    shelf.store.enlist(Early())
    shelf.queues.refuse(found[0], "too large")
    shelf.turns.run()
    assert shelf.figures().refused == 2
    shelf.crash()
    told = shelf.figures()
    assert (told.refused, told.length, told.oldest) == (2, 1, 0)


# -- purging -----------------------------------------------------------------------------------------------


def test_purge_drops_what_waits_for_an_endpoint(shelf):
    """All priorities of an endpoint go, the others stay, and what comes later is delivered."""
    shelf.put("a", "b", lane=INPUT, priority=1)
    shelf.put("c", lane=INPUT, priority=2)
    shelf.put("d", lane=UP)
    assert shelf.queues.purge(INPUT.endpoint) == 3
    assert shelf.bodies(INPUT) == []
    assert shelf.queues.lanes() == [UP]
    shelf.put("e", lane=INPUT, priority=2)
    assert shelf.bodies(INPUT) == ["e"]
    shelf.turns.run()
    assert shelf.rows() == 2
    assert shelf.queues.purge("nobody/in") == 0


def test_purge_of_one_source(shelf):
    """With a source named, the other lanes of the endpoint stay."""
    shelf.put("a", lane=UP)
    shelf.put("b", lane=OTHER)
    assert shelf.queues.purge(UP.endpoint, UP.source) == 1
    assert (shelf.bodies(UP), shelf.bodies(OTHER)) == ([], ["b"])


def test_purge_is_durable_before_the_rows_are_deleted(shelf, monkeypatch):
    """A kill right after a purge does not bring back what was purged, and the next start deletes it."""
    monkeypatch.setattr(ledger, "_PURGE_MOST", 5)
    shelf.put(*map(str, range(50)))
    shelf.put("kept", lane=OTHER)
    shelf.queues.purge(UP.endpoint, UP.source)
    assert shelf.rows() == 51
    shelf.crash()
    assert shelf.bodies() == []
    assert shelf.rows() == 1
    shelf.put("new")
    assert (shelf.bodies(), shelf.bodies(OTHER)) == (["new"], ["kept"])


@pytest.mark.parametrize("before", ["", "a"])
def test_what_is_put_while_a_purge_goes_on_is_not_taken_for_purged(shelf, monkeypatch, before):
    """Also after a kill amid the deletions: the same lane begins anew, beside what is left of the old one."""
    monkeypatch.setattr(ledger, "_PURGE_MOST", 5)
    shelf.put(*map(str, range(50)))
    shelf.queues.purge(UP.endpoint)
    if before:
        shelf.put(*before, turn=False)
        shelf.turns.once()
    shelf.crash(turn=False)
    after = [*map(str, range(60))]
    assert shelf.put(*after, turn=False) == []
    shelf.turns.once()
    assert shelf.rows() > 61
    assert shelf.bodies() == [*before, *after]
    shelf.turns.run()
    assert shelf.bodies() == [*before, *after]
    assert shelf.rows() == shelf.queues.length(UP) == 60 + len(before)


def test_purge_takes_what_was_put_in_the_same_turn(shelf):
    """What was put before a purge is acknowledged and goes with the rest; what is put after it stays."""
    told = shelf.put("a", turn=False)
    assert shelf.queues.purge(UP.endpoint) == 1
    shelf.put("b", turn=False)
    shelf.turns.run()
    assert told == [None]
    assert shelf.bodies() == ["b"]


def test_purge_by_one_who_was_just_told(shelf):
    """Also from within a `done`, when others of the same transaction are not told yet."""
    shelf.put("old")
    told = []

    class Hasty:
        def write(self, db):
            pass

        def durable(self):
            shelf.queues.purge(UP.endpoint)

        failed = None

    shelf.store.enlist(Hasty())
    shelf.queues.put([Entry(UP, 5, "", b"a")], told.append)
    shelf.turns.run()
    assert told == [None]
    assert (shelf.bodies(), shelf.rows(), shelf.queues.length(UP)) == ([], 0, 0)
    shelf.put("b")
    assert shelf.bodies() == ["b"]


def test_a_late_removal_after_a_purge_meets_nobody(shelf):
    """An acknowledgement of what was purged does not remove what was put since."""
    shelf.put("a")
    old = shelf.queues.read(UP)
    shelf.queues.purge(UP.endpoint)
    shelf.put("b")
    assert not shelf.queues.still_waits(old[0])
    shelf.queues.remove([old[0].id])
    shelf.queues.refuse(old[0], "too late")
    shelf.turns.run()
    assert shelf.bodies() == ["b"]


def test_a_purge_that_the_disk_refuses_purges_nothing(shelf):
    """With the file held by another process a purge raises 503, and all is as before."""
    shelf.put("a", "b")
    shelf.store.db.execute("PRAGMA busy_timeout = 0")
    other = sqlite3.connect(shelf.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        shelf.queues.purge(UP.endpoint)
    other.execute("ROLLBACK")
    other.close()
    assert shelf.bodies() == ["a", "b"]
    assert shelf.queues.purge(UP.endpoint) == 2


# -- those who are told --------------------------------------------------------------------------------------


def test_listeners_hear_of_the_first_to_go(shelf):
    """One call a turn for each lane, with the lowest number of the priorities that were put."""
    woken = []
    stop = shelf.queues.listen(UP, woken.append)
    shelf.queues.listen(INPUT, lambda priority: woken.append(("in", priority)))
    shelf.put("a", priority=7, turn=False)
    shelf.put("b", priority=3, turn=False)
    shelf.put("c", priority=NONE, turn=False)
    shelf.put("d", lane=INPUT, turn=False)
    shelf.turns.run()
    assert sorted(woken, key=str) == [("in", 5), 3]
    stop()
    stop()
    shelf.put("e")
    assert len(woken) == 2


def test_a_fault_of_one_is_not_the_others(shelf, caplog):
    """A `done` or a listener that raises is logged; the others are told all the same."""
    told = []

    def fault(_):
        raise RuntimeError("a bug")

    shelf.queues.listen(UP, fault)
    shelf.queues.listen(UP, told.append)
    shelf.queues.put([Entry(UP, 1, "", b"a")], fault)
    shelf.queues.put([Entry(UP, 1, "", b"b")], told.append)
    shelf.turns.run()
    assert told == [None, 1]
    assert len(caplog.records) == 2
    assert shelf.bodies() == ["a", "b"]


def test_text_that_is_none_is_refused_alone(shelf):
    """Half a surrogate pair cannot be stored: its sender gets ValueError, and the others' messages are stored."""
    told = shelf.put("a", turn=False)
    for entry in (Entry(UP, 1, "x=\ud800", b""), Entry(Lane("$upstream", "\ud800"), 1, "", b"")):
        with pytest.raises(ValueError, match="surrogate"):
            shelf.queues.put([entry], told.append)
    shelf.turns.run()
    assert told == [None]
    assert shelf.bodies() == ["a"]


def test_an_empty_put_is_told_too(shelf):
    """A message that no route takes has no entry, and is acknowledged like any other."""
    told = []
    shelf.queues.put([], told.append)
    shelf.turns.run()
    assert told == [None]
