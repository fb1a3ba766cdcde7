"""The pump: one lane to its outlet, in order, at least once, with a bounded window."""

import pytest
from edge_shelf import OTHER, UP, Instant, Taker

from iotedge_lab.edge.store import EdgeStore, Entry, Pump, Queues, Unsendable, pump

NONE = 2_000_000_000


def test_nothing_goes_out_before_the_first_wake(shelf):
    """A new pump stands still until its outlet is there."""
    taker = Taker()
    made = shelf.pump(taker)
    shelf.put("a", "b")
    assert (taker.sent, made.length, made.in_flight) == ([], 2, 0)
    made.wake()
    assert taker.sent == ["a", "b"]
    assert (made.length, made.in_flight) == (2, 2)


def test_what_is_put_goes_out_at_once(shelf):
    """A put wakes the pump once it is committed, and not before."""
    taker = Taker()
    shelf.pump(taker).wake()
    shelf.put("a", turn=False)
    assert taker.sent == []
    shelf.turns.run()
    assert taker.sent == ["a"]
    shelf.put("b", lane=OTHER)
    assert taker.sent == ["a"]


def test_acknowledged_is_deleted(shelf):
    """An acknowledgement removes the parcel for good; without one it stays."""
    taker = Taker()
    made = shelf.pump(taker)
    made.wake()
    shelf.put("a", "b", "c")
    assert taker.acknowledge(2) == ["a", "b"]
    shelf.turns.run()
    assert (shelf.rows(), made.length, made.in_flight) == (1, 1, 1)
    shelf.crash()
    assert shelf.bodies() == ["c"]


def test_acknowledged_out_of_order(shelf):
    """Whatever was acknowledged is gone; the rest is sent again after a loss, in its order."""
    taker = Taker()
    made = shelf.pump(taker)
    made.wake()
    shelf.put(*"abcde")
    for index in (3, 1):
        taker.waiting[index][1]()
    shelf.turns.run()
    made.lost()
    taker.cut()
    assert made.in_flight == 0
    taker.take()
    made.wake()
    assert taker.take() == ["a", "c", "e"]


def test_the_window(shelf):
    """So many are in flight at most; each acknowledgement lets the next one out."""
    taker = Taker()
    made = shelf.pump(taker, window=3)
    made.wake()
    shelf.put(*map(str, range(200)))
    assert taker.sent == ["0", "1", "2"]
    for number in range(3, 200):
        taker.acknowledge(1)
        assert taker.sent[-1] == str(number)
        assert made.in_flight == 3
    taker.acknowledge()
    shelf.turns.run()
    assert (shelf.rows(), made.in_flight) == (0, 0)


@pytest.mark.parametrize(("size", "count"), [(400, 3), (1000, 1), (5000, 1)])
def test_the_window_in_bytes(shelf, size, count):
    """Bodies in flight are bounded too, and one parcel may always be, however large."""
    taker = Taker()
    made = shelf.pump(taker, window_bytes=1000)
    made.wake()
    shelf.put(*["x" * size] * 10)
    assert made.in_flight == count
    for left in range(10, 0, -1):
        assert made.in_flight == min(count, left)
        taker.acknowledge(1)
    assert len(taker.sent) == 10


def test_a_higher_priority_goes_next(shelf):
    """What arrives with a higher priority goes before all that waits, beyond the window in flight."""
    taker = Taker()
    made = shelf.pump(taker, window=2)
    made.wake()
    shelf.put(*[f"low{n}" for n in range(5)], priority=NONE)
    shelf.put("high1", "high2", priority=0)
    shelf.put("middle", priority=5)
    shelf.put("high3", priority=0)
    while taker.waiting:
        taker.acknowledge(1)
    expected = ["low0", "low1", "high1", "high2", "high3", "middle", "low2", "low3", "low4"]
    assert taker.sent == expected


def test_a_lower_priority_waits_its_turn(shelf):
    """What arrives with a lower priority goes after all that waits."""
    taker = Taker(room=1)
    made = shelf.pump(taker)
    made.wake()
    shelf.put("a", "b", priority=3)
    shelf.put("z", priority=4)
    shelf.put("c", priority=3)
    while taker.waiting:
        taker.acknowledge(1)
    assert taker.sent == ["a", "b", "c", "z"]


@pytest.mark.parametrize("room", [1, 2, 7])
def test_an_outlet_that_is_full(shelf, room):
    """False stops the pump without losing the parcel; an acknowledgement or `wake` has it go on, in order."""
    taker = Taker(room=room)
    made = shelf.pump(taker)
    made.wake()
    bodies = [str(number) for number in range(100)]
    shelf.put(*bodies)
    assert taker.sent == bodies[:room]
    made.wake()
    assert taker.sent == bodies[:room]
    taker.acknowledge(1)
    assert taker.sent == bodies[: room + 1]
    taker.room += 5
    made.wake()
    assert taker.sent == bodies[: room + 6]
    while taker.waiting:
        taker.acknowledge(1)
    assert taker.sent == bodies


def test_an_outlet_that_is_away_is_left_alone(shelf):
    """While it is away puts do not ask it, and nothing read ahead stays in memory; `wake` sends all."""
    taker = Taker(room=0)
    made = shelf.pump(taker)
    asked = []
    send, taker.send = taker.send, lambda parcel, done: (asked.append(parcel.body), send(parcel, done))[1]
    made.wake()
    shelf.put("a", "b")
    assert asked == [b"a"]
    assert not made._ready
    shelf.put("c")
    assert asked == [b"a"]
    taker.room = 10
    made.wake()
    assert taker.sent == ["a", "b", "c"]


def test_lost_and_found(shelf):
    """After a loss all that is unacknowledged goes again, in order, before what came since - not before `wake`."""
    taker = Taker()
    made = shelf.pump(taker, window=4)
    made.wake()
    shelf.put(*"abcdef")
    assert taker.take() == ["a", "b", "c", "d"]
    taker.acknowledge(1)
    assert taker.take() == ["e"]
    made.lost()
    taker.cut()
    shelf.put("g")
    shelf.put("first", priority=0)
    assert taker.take() == []
    made.wake()
    assert taker.take() == ["first", "b", "c", "d"]


def test_a_late_acknowledgement_counts(shelf):
    """What a lost connection acknowledges after all is not sent again, or if it was, once more at most."""
    taker = Taker()
    made = shelf.pump(taker)
    made.wake()
    shelf.put("a", "b", "c")
    old = list(taker.waiting)
    made.lost()
    taker.cut()
    old[0][1]()  # before it was sent again
    made.wake()
    assert taker.take() == ["a", "b", "c", "b", "c"]
    old[1][1]()  # and after
    assert made.in_flight == 1
    shelf.turns.run()
    taker.acknowledge()
    old[2][1]()
    shelf.turns.run()
    assert (shelf.rows(), made.length, made.in_flight) == (0, 0, 0)
    shelf.put("d")
    assert taker.take() == ["d"]


def test_a_late_acknowledgement_of_what_is_read_ahead(shelf):
    """Acknowledged by the lost connection while it waits to be sent again: it is not."""
    taker = Taker()
    made = shelf.pump(taker)
    made.wake()
    shelf.put("a", "b", "c")
    old = list(taker.waiting)
    made.lost()
    taker.cut()
    taker.room = 1
    taker.take()
    made.wake()
    old[1][1]()
    taker.acknowledge(1)
    assert taker.take() == ["a", "c"]


def test_a_connection_that_breaks_while_it_sends(shelf):
    """`lost` from within `send` loses nothing, whatever `send` then says."""
    for answer in (True, False):

        class Breaking(Taker):
            def send(self, parcel, done):
                super().send(parcel, done)
                if parcel.body == b"b" and not self.broken:
                    self.broken = True
                    made.lost()  # noqa: B023
                    self.cut()
                    return answer  # noqa: B023
                return True

        taker = Breaking()
        taker.broken = False
        made = shelf.pump(taker)
        made.wake()
        shelf.put("a", "b", "c")
        assert taker.take() == ["a", "b"]
        made.wake()
        assert taker.take() == ["a", "b", "c"]
        taker.acknowledge()
        shelf.turns.run()
        assert shelf.rows() == 0
        made.close()


def test_an_outlet_that_acknowledges_at_once(shelf):
    """It gets all, in order, a window a turn of the loop: others have their turn between."""
    outlet = Instant()
    made = shelf.pump(outlet, window=10)
    bodies = [str(number) for number in range(95)]
    shelf.put(*bodies)
    made.wake()
    assert outlet.sent == bodies[:10]
    shelf.turns.once()
    assert 10 < len(outlet.sent) <= 30
    shelf.turns.run()
    assert outlet.sent == bodies
    assert (shelf.rows(), made.in_flight) == (0, 0)


def test_without_a_loop(tmp_path, shelf):
    """A store that no loop drives delivers all the same (tools, tests): a long queue, one put at a time as well."""
    store = EdgeStore(tmp_path / "other.db")
    queues = Queues(store, shelf.clock)
    told = []
    for number in range(3):
        queues.put([Entry(UP, 5, "", b"%d" % number)], told.append)
    outlet = Instant()
    made = Pump(queues, UP, outlet, window=2)
    made.wake()
    queues.put([Entry(UP, 5, "", b"%d" % number) for number in range(3, 3000)], told.append)
    queues.put([Entry(UP, 0, "", b"last")], told.append)
    assert outlet.sent == [*map(str, range(3000)), "last"]
    assert told == [None] * 5
    assert queues.length(UP) == 0
    store.close()


def test_a_higher_priority_from_within_send(tmp_path, shelf):
    """Without a loop a put from within `send` is committed there; if `send` then says no, the newcomer goes first."""
    store = EdgeStore(tmp_path / "other.db")
    queues = Queues(store, shelf.clock)

    class Chatty(Taker):
        def send(self, parcel, done):
            if parcel.body == b"b" and self.room < 10:
                self.room = 10
                queues.put([Entry(UP, 0, "", b"high")], lambda _: None)
                return False
            return super().send(parcel, done)

    taker = Chatty(room=2)
    made = Pump(queues, UP, taker)
    queues.put([Entry(UP, 5, "", body) for body in (b"a", b"b", b"c")], lambda _: None)
    made.wake()
    made.wake()
    assert taker.sent == ["a", "high", "b", "c"]
    store.close()


def test_what_will_never_be_taken_is_dropped(shelf, caplog):
    """`Unsendable` drops a parcel, counts it and says why; the others go on."""

    class Picky(Taker):
        def send(self, parcel, done):
            if parcel.body == b"huge":
                raise Unsendable("it is over 256 KB")
            return super().send(parcel, done)

    taker = Picky()
    made = shelf.pump(taker)
    made.wake()
    shelf.put("a", "huge", "b", "huge")
    assert taker.sent == ["a", "b"]
    shelf.turns.run()
    told = shelf.figures()
    assert (told.length, told.refused, made.in_flight) == (2, 2, 2)
    assert "over 256 KB" in caplog.text


def test_refused_by_the_receiver_later(shelf):
    """A parcel in flight that the receiver refuses for good makes room in the window like one that it took."""
    taker = Taker()
    made = shelf.pump(taker, window=1)
    made.wake()
    shelf.put("a", "b")
    made.refuse(taker.waiting[0][0], "no such property")
    assert taker.sent == ["a", "b"]
    shelf.turns.run()
    assert (shelf.figures().refused, made.length) == (1, 1)


def test_an_outlet_with_a_fault(shelf, caplog):
    """One that raises is logged and taken for away: the parcel stays, and `wake` tries it again."""

    class Faulty(Taker):
        def send(self, parcel, done):
            if self.room == 0:
                raise RuntimeError("a bug")
            return super().send(parcel, done)

    taker = Faulty(room=0)
    made = shelf.pump(taker)
    made.wake()
    shelf.put("a", "b")
    assert "a bug" in caplog.text
    taker.room = 5
    made.wake()
    assert taker.sent == ["a", "b"]


def test_close(shelf):
    """A closed pump sends nothing; what was unacknowledged waits for the next one. Again does nothing."""
    taker = Taker()
    made = shelf.pump(taker)
    made.wake()
    shelf.put("a", "b")
    late = taker.waiting[1][1]
    made.close()
    made.close()
    shelf.put("c")
    made.wake()
    assert taker.take() == ["a", "b"]
    late()
    following = shelf.pump(taker)
    following.wake()
    assert taker.take() == ["a", "c"]


def test_a_purge_reaches_what_was_read_ahead(shelf):
    """After a purge the pump sends nothing of what it had read, and goes on with what is put since."""
    taker = Taker(room=1)
    made = shelf.pump(taker)
    made.wake()
    shelf.put(*"abcdef")
    shelf.queues.purge(UP.endpoint)
    shelf.put("new")
    taker.acknowledge(1)
    taker.acknowledge(1)
    shelf.turns.run()
    assert taker.sent == ["a", "new"]
    assert (shelf.rows(), made.length, made.in_flight) == (0, 0, 0)


def test_memory_is_bounded(shelf, monkeypatch):
    """A pump holds the window and a small piece read ahead, never the queue."""
    monkeypatch.setattr(pump, "READ_AHEAD", 8)
    taker = Taker(room=20)
    made = shelf.pump(taker, window=50)
    made.wake()
    shelf.put(*["x"] * 1000)
    assert len(made._ready) + made.in_flight <= 28
