"""The queues against a list: whatever is done in whatever order, what goes out is what a list would give.

The model is told of a put when its `done` is called. From then on it says, at each `send`, which parcel must come:
of those that wait and are not in flight, the first by priority and then by age. So nothing is lost, nothing is
invented, nothing comes out of order, and after a kill exactly that comes back which was not committed.
"""

import copy
import tempfile
from pathlib import Path

from edge_shelf import INPUT, OTHER, UP, Shelf
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from iotedge_lab.edge.store import Entry, ledger
from iotedge_lab.errors import StoreUnavailable

LANES = (UP, OTHER, INPUT)
PRIORITIES = (0, 5, 2_000_000_000)
lanes = st.sampled_from(LANES)


class Model:
    """What waits, by lane: (priority, number, body, when it is over)."""

    def __init__(self):
        self.waiting = {lane: [] for lane in LANES}
        self.numbers = 0

    def put(self, lane, priority, body, until):
        self.numbers += 1
        self.waiting[lane].append((priority, self.numbers, body, until))
        self.waiting[lane].sort()

    def expire(self, now, in_flight):
        for lane, waiting in self.waiting.items():
            waiting[:] = [one for one in waiting if one[3] > now or one[2] in in_flight[lane]]

    def following(self, lane, in_flight):
        return next((one[2] for one in self.waiting[lane] if one[2] not in in_flight), None)

    def remove(self, lane, body):
        self.waiting[lane][:] = [one for one in self.waiting[lane] if one[2] != body]


class Outlet:
    """Takes what the model says must come, and nothing else."""

    def __init__(self, machine, lane):
        self.machine = machine
        self.lane = lane
        self.room = 0
        self.on_its_way = {}  # body to done

    def send(self, parcel, done):
        machine = self.machine
        machine.model.expire(machine.seconds, machine.in_flight())
        body = parcel.body.decode()
        expected = machine.model.following(self.lane, self.on_its_way)
        if (body, parcel.lane) != (
            expected,
            self.lane,
        ):  # raised here it would be taken for a fault of the outlet
            machine.faults.append(f"{self.lane}: {body[:6]} was sent, and not {expected and expected[:6]}")
        if len(self.on_its_way) >= self.room:
            return False
        self.on_its_way[body] = done
        return True


class QueuesAgainstAList(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.shelf = Shelf(Path(self.folder.name))
        self.begun = self.shelf.clock.monotonic()
        self.model = Model()
        self.committed = copy.deepcopy(self.model)
        self.pumps = {}
        self.outlets = {}
        self.faults = []
        self.bodies = 0
        self.full = False
        self.most, ledger._PURGE_MOST = ledger._PURGE_MOST, 3

    @property
    def seconds(self):
        """True seconds since the start, whatever the wall clock shows."""
        return self.shelf.clock.monotonic() - self.begun

    def in_flight(self):
        return {lane: self.outlets[lane].on_its_way if lane in self.outlets else {} for lane in LANES}

    @initialize(window=st.integers(1, 6))
    def start(self, window):
        self.window = window
        self.begin_pumps()

    def begin_pumps(self):
        for lane in LANES:
            self.outlets[lane] = Outlet(self, lane)
            self.pumps[lane] = self.shelf.pump(self.outlets[lane], lane, window=self.window)

    def turn(self):
        self.shelf.turns.run()
        self.committed = copy.deepcopy(self.model)

    # -- what happens ------------------------------------------------------------------------------------------

    @rule(
        entries=st.lists(
            st.tuples(
                lanes, st.sampled_from(PRIORITIES), st.sampled_from((1.5, 7.5, 1000.0)), st.integers(0, 2)
            ),
            min_size=1,
            max_size=12,
        )
    )
    def put(self, entries):
        """Some messages to some lanes, in one put; stored in the coming turn."""
        made = []
        for lane, priority, ttl, size in entries:
            self.bodies += 1
            body = f"{self.bodies:06d}" + "x" * (0, 100, 9000)[size]
            made.append(Entry(lane, priority, "t", body.encode(), ttl))
        stored_at = self.seconds

        def done(error):
            if error is None:
                for entry in made:
                    self.model.put(
                        entry.lane, entry.priority, entry.body.decode(), stored_at + entry.time_to_live
                    )
            elif not (self.full and isinstance(error, StoreUnavailable)):
                self.faults.append(f"a put was refused: {error}")

        self.shelf.queues.put(made, done)

    @rule()
    def turn_ends(self):
        self.turn()

    @rule(lane=lanes, room=st.integers(0, 8))
    def outlet_has_room(self, lane, room):
        self.outlets[lane].room = room
        self.pumps[lane].wake()

    @rule(lane=lanes, count=st.integers(1, 8))
    def acknowledged(self, lane, count):
        self.acknowledge(lane, count)

    def acknowledge(self, lane, count):
        for body, done in list(self.outlets[lane].on_its_way.items())[:count]:
            del self.outlets[lane].on_its_way[body]
            self.model.remove(lane, body)
            done()

    @rule(lane=lanes, data=st.data())
    def acknowledged_out_of_order(self, lane, data):
        waiting = self.outlets[lane].on_its_way
        if waiting:
            body = data.draw(st.sampled_from(sorted(waiting)))
            done = waiting.pop(body)
            self.model.remove(lane, body)
            done()
            done()  # a second time means nothing

    @rule(lane=lanes)
    def connection_lost(self, lane):
        self.outlets[lane].on_its_way.clear()
        self.pumps[lane].lost()

    @rule(seconds=st.integers(1, 9))
    def time_passes(self, seconds):
        self.turn()  # so that what is put is stored at the second at which it was put
        self.shelf.clock.advance(seconds)
        self.shelf.tick()
        self.committed = copy.deepcopy(self.model)

    @rule(seconds=st.sampled_from((-1_000_000_000, -86_400, 86_400, 1_000_000_000)))
    def clock_is_set(self, seconds):
        self.turn()
        self.shelf.clock.time += seconds
        self.shelf.tick()
        self.committed = copy.deepcopy(self.model)

    @rule(lane=lanes)
    def purged(self, lane):
        self.turn()
        self.shelf.queues.purge(lane.endpoint, lane.source)
        self.model.waiting[lane].clear()  # what is on its way may be acknowledged yet
        self.committed = copy.deepcopy(self.model)

    @precondition(lambda self: not self.full)
    @rule(pages=st.integers(0, 6))
    def disk_fills(self, pages):
        self.turn()
        self.full = True
        self.shelf.no_room(pages)

    @precondition(lambda self: self.full)
    @rule()
    def disk_has_room(self):
        self.turn()
        self.full = False
        self.shelf.no_room(None)

    @rule(kill=st.booleans())
    def restart(self, kill):
        for outlet in self.outlets.values():
            outlet.on_its_way.clear()
        if kill:
            self.model = copy.deepcopy(self.committed)
            self.shelf.crash()
        else:
            for pump in self.pumps.values():
                pump.close()
            self.shelf.reopen()
        self.full = False
        self.committed = copy.deepcopy(self.model)
        self.begin_pumps()

    # -- what holds ----------------------------------------------------------------------------------------------

    @invariant()
    def what_was_sent_was_right(self):
        assert not self.faults, self.faults

    @invariant()
    def figures_agree(self):
        """In a quiet moment the counts are those of the file, and nothing is held that is not in flight."""
        if self.shelf.turns.waiting or not self.pumps:
            return
        self.shelf.tick()
        self.committed = copy.deepcopy(self.model)
        self.model.expire(self.seconds, self.in_flight())
        lengths = dict.fromkeys(LANES, 0)
        for one in self.shelf.queues.figures():
            lengths[one.lane] += one.length
        assert sum(lengths.values()) == self.shelf.rows()
        for lane in LANES:
            on_its_way = self.outlets[lane].on_its_way
            assert lengths[lane] == len(self.model.waiting[lane])
            assert self.pumps[lane].in_flight == len(on_its_way)
            assert self.pumps[lane].length == lengths[lane]
        assert set(self.shelf.queues.lanes()) == {lane for lane in LANES if lengths[lane]}
        assert len(self.shelf.queues._held) == sum(map(len, self.in_flight().values()))

    def teardown(self):
        try:
            if self.pumps:
                self.drain()
        finally:
            self.shelf.store.close()
            self.folder.cleanup()
            ledger._PURGE_MOST = self.most

    def drain(self):
        """In the end everything that waits comes out, once, in order."""
        self.turn()
        for lane in LANES:
            self.outlets[lane].room = 1_000
            self.pumps[lane].wake()
            while self.outlets[lane].on_its_way:
                self.acknowledge(lane, 1)
                self.turn()
        self.model.expire(self.seconds, self.in_flight())
        assert not self.faults, self.faults
        assert self.model.waiting == {lane: [] for lane in LANES}
        self.shelf.tick()
        assert self.shelf.rows() == 0


TestQueuesAgainstAList = QueuesAgainstAList.TestCase
TestQueuesAgainstAList.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
