"""An edge's store and queues without a loop: the test says when time passes, when turns end, and what is killed."""

from iotedge_lab.clock import FakeClock
from iotedge_lab.edge.store import EdgeStore, Entry, Lane, Pump, Queues

UP = Lane("$upstream", "edge/sender")
OTHER = Lane("$upstream", "leaf")
INPUT = Lane("filter/in", "")


class Turns:
    """An event loop's `call_soon` that turns when it is told to."""

    def __init__(self):
        self.waiting = []

    def __call__(self, callback):
        self.waiting.append(callback)

    def once(self):
        """One turn."""
        waiting, self.waiting = self.waiting, []
        for callback in waiting:
            callback()

    def run(self):
        """Turn until nothing waits; how many turns it took."""
        count = 0
        while self.waiting:
            self.once()
            count += 1
        return count


class Shelf:
    """A store and its queues, which can be closed, killed and opened again."""

    def __init__(self, folder, clock=None, **options):
        self.path = folder / "edge.db"
        self.options = options
        self.clock = clock or FakeClock()
        self.open()

    def open(self, *, turn=True):
        self.turns = Turns()
        self.store = EdgeStore(self.path, **self.options)
        self.store.attach_loop(self.turns)
        self.queues = Queues(self.store, self.clock)
        if turn:
            self.turns.run()

    def reopen(self):
        """An orderly stop and a start."""
        self.store.close()
        self.open()

    def crash(self, **options):
        """As after a kill: what was not committed is gone."""
        self.store._waiting.clear()
        self.store.close()
        self.open(**options)

    def put(self, *bodies, lane=UP, priority=5, ttl=7200.0, turn=True):
        """Put these; the list gets what `done` was told."""
        told = []
        self.queues.put(
            [Entry(lane, priority, "%24.mid=1", body.encode(), ttl) for body in bodies], told.append
        )
        if turn:
            self.turns.run()
        return told

    def bodies(self, lane=UP, **options):
        return [parcel.body.decode() for parcel in self.queues.read(lane, **options)]

    def figures(self, lane=UP, priority=5):
        found = [one for one in self.queues.figures() if (one.lane, one.priority) == (lane, priority)]
        assert len(found) == 1
        return found[0]

    def rows(self):
        """How many rows there are in the file."""
        return self.store.rows("SELECT COUNT(*) FROM parcel")[0][0]

    def pump(self, outlet, lane=UP, **options):
        return Pump(self.queues, lane, outlet, **options)

    def tick(self):
        self.queues.tick()
        self.turns.run()

    def no_room(self, pages=0):
        """The file may not grow by more than this from now on; None: it may again."""
        self.store.db.execute("PRAGMA max_page_count = 1073741823")
        if pages is not None:
            now = self.store.db.execute("PRAGMA page_count").fetchone()[0]
            self.store.db.execute(f"PRAGMA max_page_count = {now + pages}")


class Taker:
    """An outlet that takes `room` parcels at a time, and acknowledges when it is told to; 0: it is away."""

    def __init__(self, room=1_000_000):
        self.room = room
        self.sent = []
        self.waiting = []  # (parcel, done)

    def send(self, parcel, done):
        if len(self.waiting) >= self.room:
            return False
        self.sent.append(parcel.body.decode())
        self.waiting.append((parcel, done))
        return True

    def acknowledge(self, count=None):
        now, self.waiting = self.waiting[:count], self.waiting[len(self.waiting[:count]) :]
        for _, done in now:
            done()
        return [parcel.body.decode() for parcel, _ in now]

    def cut(self):
        """The connection ends: nothing that is on its way is acknowledged any more."""
        self.waiting.clear()

    def take(self):
        """What was sent since the last look."""
        sent, self.sent = self.sent, []
        return sent


class Instant(Taker):
    """An outlet that acknowledges at once, from within `send`."""

    def send(self, parcel, done):
        self.sent.append(parcel.body.decode())
        done()
        return True
