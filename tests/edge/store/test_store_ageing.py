"""Time to live: what is over goes, counted and logged; a clock that is set anew loses nothing."""

import math

import pytest
from edge_shelf import INPUT, UP, Taker

from iotedge_lab.clock import FakeClock
from iotedge_lab.edge.store import ledger, queues
from iotedge_lab.edge.store.ageing import STEP, SteadyTime

YEAR = 365 * 86_400.0


def test_what_is_over_is_not_read(shelf):
    """A parcel is dropped when its time to live is over, at the very second, wherever it stands."""
    shelf.put("long", ttl=100.0)
    shelf.put("short", ttl=10.0)
    shelf.put("endless", ttl=math.inf)
    shelf.clock.advance(9.5)
    assert shelf.bodies() == ["long", "short", "endless"]
    shelf.clock.advance(0.5)
    assert shelf.bodies() == ["long", "endless"]
    shelf.turns.run()
    assert shelf.rows() == 2
    told = shelf.figures()
    assert (told.length, told.expired) == (2, 1)
    shelf.clock.advance(10 * YEAR)
    assert shelf.bodies() == ["endless"]


def test_what_is_over_goes_while_nobody_reads(shelf, caplog):
    """An edge that is offline for long keeps no message beyond its time: `tick` drops them, counts them, says so."""
    shelf.put(*"abc", ttl=10.0)
    shelf.put("d", lane=INPUT, ttl=20.0)
    shelf.clock.advance(15)
    shelf.tick()
    assert shelf.rows() == 1
    assert (shelf.figures().length, shelf.figures().expired, shelf.figures().oldest) == (0, 3, 0)
    assert shelf.figures(INPUT).expired == 0
    (line,) = caplog.messages
    assert line.startswith("3 waiting messages were dropped")


def test_dropping_does_not_flood_the_log(shelf, caplog):
    """While messages expire each second there is a line a minute, with their sum."""
    shelf.put("first", ttl=1.0)
    shelf.clock.advance(1)
    for number in range(130):
        shelf.put(str(number), ttl=1.0)
        shelf.tick()
        shelf.clock.advance(1)
    assert [line.split()[0] for line in caplog.messages] == ["1", "60", "60"]


def test_a_long_sweep_takes_several_turns(shelf, monkeypatch):
    """One turn drops so many at most; what is in flight stays, and does not keep it from the others."""
    monkeypatch.setattr(queues, "_SWEEP_MOST", 10)
    shelf.put(*map(str, range(35)), ttl=10.0)
    for parcel in shelf.queues.read(UP, count=12):
        shelf.queues.hold(parcel.id)
    shelf.clock.advance(20)
    shelf.queues.tick()
    shelf.turns.once()
    assert (shelf.rows(), shelf.figures().expired) == (25, 20)
    shelf.crash()
    assert shelf.figures().expired + shelf.rows() == 35


def test_what_was_purged_does_not_expire_as_well(shelf, monkeypatch):
    """Purged rows that wait for their deletion are counted as expired for nobody."""
    monkeypatch.setattr(ledger, "_PURGE_MOST", 5)
    shelf.put(*map(str, range(20)), ttl=10.0)
    shelf.put("b", lane=INPUT, ttl=10.0)
    shelf.queues.purge(UP.endpoint)
    shelf.clock.advance(20)
    shelf.tick()
    assert shelf.rows() == 0
    assert [one.expired for one in shelf.queues.figures()] == [1]


def test_reading_past_very_much_that_is_over(shelf, monkeypatch):
    """A read does not walk through an endless run of them; the next one goes on, and the order of priorities holds."""
    monkeypatch.setattr(queues, "_SWEEP_MOST", 10)
    shelf.put(*map(str, range(25)), ttl=10.0, priority=1)
    shelf.put("high", ttl=100.0, priority=1)
    shelf.put("low", ttl=100.0, priority=2)
    shelf.clock.advance(20)
    assert [shelf.bodies() for _ in range(3)] == [[], [], ["high", "low"]]
    shelf.turns.run()
    assert shelf.figures(priority=1).expired == 25


def test_what_is_in_flight_does_not_expire(shelf):
    """A parcel that was sent may still be acknowledged; released, its time counts again."""
    shelf.put("a", "b", ttl=10.0)
    parcel = shelf.queues.read(UP)[0]
    shelf.queues.hold(parcel.id)
    shelf.clock.advance(11)
    shelf.tick()
    assert (shelf.rows(), shelf.figures().expired) == (1, 1)
    shelf.queues.release([parcel.id])
    shelf.tick()
    assert (shelf.rows(), shelf.figures().expired) == (0, 2)


def test_what_an_outlet_did_not_take_or_lost_expires(shelf):
    """Refused for now, or sent over a connection that was lost: it is not in flight, and its time counts."""
    shelf.put("a", "b", ttl=10.0)
    taker = Taker(room=1)
    made = shelf.pump(taker)
    made.wake()
    shelf.clock.advance(11)
    shelf.tick()
    assert shelf.figures().expired == 1
    made.lost()
    shelf.tick()
    assert (shelf.figures().expired, shelf.rows()) == (2, 0)


def test_acknowledged_after_its_time_is_delivered_and_not_dropped(shelf):
    """An acknowledgement that comes late counts as one."""
    shelf.put("a", ttl=10.0)
    taker = Taker()
    shelf.pump(taker).wake()
    shelf.clock.advance(11)
    shelf.tick()
    taker.acknowledge()
    shelf.turns.run()
    assert (shelf.rows(), shelf.figures().expired) == (0, 0)


def test_over_between_reading_and_sending(shelf):
    """What was read ahead and has expired meanwhile is not sent any more."""
    shelf.put("a", ttl=100.0)
    shelf.put("b", ttl=10.0)
    shelf.put("c", ttl=100.0)
    taker = Taker(room=1)
    shelf.pump(taker).wake()
    shelf.clock.advance(11)
    taker.acknowledge()
    assert taker.sent == ["a", "c"]
    shelf.turns.run()
    assert (shelf.figures().length, shelf.figures().expired) == (1, 1)


@pytest.mark.parametrize("ttl", [0.0, -5.0])
def test_no_time_at_all(shelf, ttl):
    """A time to live of nothing is acknowledged, and dropped before it is sent."""
    assert shelf.put("a", ttl=ttl) == [None]
    assert shelf.bodies() == []
    shelf.turns.run()
    assert (shelf.rows(), shelf.figures().expired) == (0, 1)


# -- a clock that is set anew --------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [56 * YEAR, 3600.0, -3600.0, -56 * YEAR])
@pytest.mark.parametrize("again", [None, "reopen", "crash"])
def test_a_step_while_the_runtime_runs(shelf, step, again, caplog):
    """Set forward or back, all that waits keeps its age and the rest of its life, also over a restart; it is logged."""
    shelf.put("a", ttl=100.0)
    shelf.clock.advance(40)
    shelf.clock.time += step
    shelf.tick()
    assert "the clock was set" in caplog.text
    shelf.put("b", ttl=100.0)
    if again:
        getattr(shelf, again)()
    one, two = shelf.queues.read(UP)
    now = shelf.clock.now()
    assert (one.enqueued, one.expires) == pytest.approx((now - 40, now + 60))
    assert (two.enqueued, two.expires) == pytest.approx((now, now + 100))
    assert shelf.figures().oldest == pytest.approx(40)
    shelf.clock.advance(59)
    assert shelf.bodies() == ["a", "b"]
    shelf.clock.advance(2)
    assert shelf.bodies() == ["b"]
    shelf.clock.advance(40)
    assert shelf.bodies() == []


def test_a_step_between_reading_and_sending(shelf):
    """What a pump has read ahead is not taken for old when the clock jumps."""
    shelf.put("a", "b", "c", ttl=100.0)
    taker = Taker(room=1)
    shelf.pump(taker).wake()
    shelf.clock.time += YEAR
    taker.acknowledge(1)
    taker.acknowledge(1)
    assert taker.sent == ["a", "b", "c"]
    shelf.turns.run()
    assert shelf.figures().expired == 0


def test_a_step_between_reading_and_asking(shelf):
    """A parcel that was read before a step waits as long as it would have without it."""
    shelf.put("a", ttl=100.0)
    (parcel,) = shelf.queues.read(UP)
    shelf.clock.time += YEAR
    assert shelf.queues.still_waits(parcel)
    shelf.clock.advance(101)
    assert not shelf.queues.still_waits(parcel)
    shelf.turns.run()
    assert not shelf.queues.still_waits(parcel)
    assert (shelf.figures().expired, shelf.rows()) == (1, 0)


def test_a_step_back_does_not_keep_what_is_over(shelf):
    """What was read ahead is not sent beyond its time because the clock was set back."""
    shelf.put("a", "b", ttl=100.0)
    taker = Taker(room=1)
    shelf.pump(taker).wake()
    shelf.clock.time -= YEAR
    shelf.clock.advance(101)
    taker.acknowledge(1)
    assert taker.sent == ["a"]
    shelf.turns.run()
    assert (shelf.figures().expired, shelf.rows()) == (1, 0)


def test_many_steps(shelf):
    """A clock that is set again and again still counts true seconds."""
    shelf.put("a", ttl=1000.0)
    for number in range(50):
        shelf.clock.time += (-1) ** number * 86_400.0 * number
        shelf.clock.advance(10)
        shelf.tick()
        if number % 10 == 9:
            shelf.crash()
    assert shelf.figures().oldest == pytest.approx(500)
    assert shelf.bodies() == ["a"]


def test_a_clock_that_was_set_back_while_the_runtime_was_down(shelf, caplog):
    """A machine that lost its clock goes on from the last message that waits, and is right when it learns the time."""
    shelf.put("a", ttl=100.0)
    shelf.clock.advance(30)
    shelf.put("b", ttl=100.0)
    shelf.store.close()
    true = shelf.clock.time
    shelf.clock.time = 0.0  # 1970
    shelf.open()
    assert "behind the last message" in caplog.text
    assert shelf.bodies() == ["a", "b"]
    assert shelf.figures().oldest == pytest.approx(30)
    shelf.clock.advance(20)
    shelf.clock.time = true + 20  # the network tells the time
    shelf.tick()
    assert shelf.figures().oldest == pytest.approx(50)
    shelf.reopen()
    assert shelf.figures().oldest == pytest.approx(50)
    shelf.clock.advance(51)
    assert shelf.bodies() == ["b"]


def test_a_clock_that_was_lost_for_one_start_alone(shelf):
    """A start in 1970 and the next one with the right time do not make 56 years pass for what waits."""
    shelf.put("a", ttl=100.0)
    shelf.store.close()
    true = shelf.clock.time
    shelf.clock.time = 0.0
    shelf.open()
    shelf.put("b", ttl=100.0)
    shelf.clock.advance(10)
    shelf.store.close()
    shelf.clock.time = true + 30
    shelf.open()
    assert shelf.bodies() == ["a", "b"]
    assert shelf.figures().oldest == pytest.approx(30)


def test_time_out_of_power_counts(shelf, caplog):
    """A start much later finds over what is over: dropped, counted, and said."""
    shelf.put("a", ttl=100.0)
    shelf.put("b", ttl=10_000.0)
    shelf.store.close()
    shelf.clock.time += 5_000
    shelf.open()
    shelf.tick()
    assert shelf.bodies() == ["b"]
    assert shelf.figures().expired == 1
    assert "1 waiting messages were dropped" in caplog.text


def test_slewing_is_not_a_step(caplog):
    """A clock that is brought to time in small parts is followed."""
    clock = FakeClock(1000.0)
    steady = SteadyTime(clock)
    for _ in range(100):
        clock.advance(1)
        clock.time += STEP / 10
        steady.now()
    assert steady.now() == clock.now()
    assert (steady.shift, steady.unsaved, caplog.messages) == (0.0, False, [])
    assert steady.wall(steady.now()) == clock.now()


def test_a_little_behind_is_no_news(caplog):
    """At a start a clock a moment behind the last message is corrected for without a word."""
    clock = FakeClock(1000.0)
    steady = SteadyTime(clock)
    steady.resume(1001.0)
    assert (steady.now(), steady.unsaved) == (1001.0, True)
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("shift", "last", "now"),
    [
        (0.0, 900.0, 1000.0),
        (0.0, 1200.0, 1200.0),  # behind
        (300.0, 600.0, 700.0),  # a step forward that is known
        (300.0, 900.0, 1000.0),  # and was taken back while nobody looked
        (-300.0, 1250.0, 1300.0),  # a step back that is known
        (-300.0, 950.0, 1000.0),  # and was made good
        (-300.0, 1400.0, 1400.0),
        (300.0, -math.inf, 1000.0),
        (-300.0, -math.inf, 1000.0),
    ],
)
def test_at_a_start_the_least_time_has_passed(shift, last, now):
    """Of the ways to read a clock that shows 1000, the one that makes the least time pass since the last message."""
    steady = SteadyTime(FakeClock(1000.0), shift)
    steady.resume(last)
    assert steady.now() == now
    assert steady.unsaved == (steady.shift != shift)
