"""The partition log: numbers that count up by one, times that never step back, and nothing lost by ageing."""

import zlib

import pytest
from house import Turns

from iotedge_lab.clock import FakeClock
from iotedge_lab.errors import StoreUnavailable
from iotedge_lab.hub.events import Cursor
from iotedge_lab.hub.log import Log, Source
from iotedge_lab.hub.store import Store
from iotedge_lab.wire.mqtt.encode import encode_publish

DAY = 86_400
SOURCE = Source("dev1", "", "1", "{}")


class Shelf:
    """A store and its log, which can be closed and opened again."""

    def __init__(self, folder, **options):
        self.path = folder / "hub.db"
        self.options = options
        self.clock = FakeClock()
        self.open()

    def open(self):
        self.turns = Turns()
        self.store = Store(self.path)
        self.store.attach_loop(self.turns)
        self.log = Log(self.store, self.clock, **self.options)
        self.source = self.log.source_id(SOURCE)

    def reopen(self):
        self.store.close()
        self.open()

    def append(self, *bodies, partition=0, epoch=0, turn=True):
        """One chunk of these messages; the list gets what `done` was told."""
        told = []
        raw = b"".join(_packet(body, number + 1) for number, body in enumerate(bodies))
        self.log.append(partition, self.source, raw, len(bodies), told.append, epoch=epoch)
        if turn:
            self.turns.run()
        return told

    def read(self, partition=0, seq=0, most=1_000):
        return Cursor(self.log, partition, seq).take(most)


def _packet(body, packet_id):
    return encode_publish("devices/dev1/messages/events/", body.encode(), 1, packet_id)


@pytest.fixture
def shelf(tmp_path):
    made = Shelf(tmp_path)
    yield made
    made.store.close()


def _numbered(events):
    return [(event.seq, event.body.decode()) for event in events]


def test_messages_are_numbered_from_zero_by_one(shelf):
    """Sequence numbers count up by one in a partition, across chunks, and each partition has its own."""
    shelf.append("a", "b")
    shelf.append("x", partition=1)
    shelf.append("c")
    assert _numbered(shelf.read()) == [(0, "a"), (1, "b"), (2, "c")]
    assert _numbered(shelf.read(1)) == [(0, "x")]
    assert (shelf.log.info(0).begin_seq, shelf.log.info(0).last_seq) == (0, 2)


def test_nothing_is_told_before_the_commit(shelf):
    """`done` is called once the chunk is committed, and no reader sees it earlier."""
    woken = []
    shelf.log.listen(0, lambda: woken.append(shelf.log.next_seq(0)))
    told = shelf.append("a", turn=False)
    assert (told, woken, shelf.read(), shelf.log.next_seq(0)) == ([], [], [], 0)
    shelf.turns.run()
    assert (told, woken) == ([None], [1])
    assert _numbered(shelf.read()) == [(0, "a")]


def test_chunks_of_one_turn_keep_their_order(shelf):
    """What connections send in one turn is numbered in the order in which it came, and woken for once."""
    woken = []
    shelf.log.listen(0, lambda: woken.append(1))
    for body in "abc":
        shelf.append(body, turn=False)
    shelf.turns.run()
    assert _numbered(shelf.read()) == [(0, "a"), (1, "b"), (2, "c")]
    assert woken == [1]


def test_a_refused_commit_uses_no_number(shelf):
    """A full disk refuses the chunk, its sender is told, and the next one gets the number."""
    shelf.append("a")
    pages = shelf.store.db.execute("PRAGMA page_count").fetchone()[0]
    shelf.store.db.execute(f"PRAGMA max_page_count = {pages}")
    told = shelf.append("b" * 50_000)
    assert len(told) == 1
    assert isinstance(told[0], StoreUnavailable)
    shelf.store.db.execute("PRAGMA max_page_count = 1000000")
    shelf.append("c")
    assert _numbered(shelf.read()) == [(0, "a"), (1, "c")]


def test_numbers_go_on_after_a_restart(shelf):
    """A hub that comes back counts on from what it has stored."""
    shelf.append("a", "b")
    shelf.reopen()
    shelf.append("c")
    assert _numbered(shelf.read()) == [(0, "a"), (1, "b"), (2, "c")]


def test_the_number_of_partitions_is_fixed_when_the_hub_is_made(shelf):
    """Asking for another number later changes nothing: a device would be in two partitions."""
    shelf.options["partitions"] = 7
    shelf.reopen()
    assert shelf.log.partitions == 2


def test_a_device_is_always_in_the_same_partition(shelf):
    """The partition is a hash of the device id, the same in every process, and both are used."""
    names = [f"dev{number}" for number in range(50)]
    assert [shelf.log.partition_of(name) for name in names] == [zlib.crc32(n.encode()) % 2 for n in names]
    assert {shelf.log.partition_of(name) for name in names} == {0, 1}


def test_enqueued_times_never_step_back(shelf):
    """When the machine's clock is set back, messages go on with the last time there was, also after a restart."""
    shelf.append("a")
    first = shelf.read()[0].enqueued
    shelf.clock.time -= 3600
    shelf.append("b")
    shelf.reopen()
    shelf.append("c")
    shelf.clock.time += 7200
    shelf.append("d")
    times = [event.enqueued for event in shelf.read()]
    assert times == [first, first, first, first + 3_600_000]


def test_a_position_by_time(shelf):
    """`first_seq_enqueued` finds the first message after a moment, or at it, in a log of many chunks."""
    start = int(shelf.clock.now() * 1000)
    for number in range(20):
        shelf.append(f"{number}a", f"{number}b")
        shelf.clock.advance(1)
    find = shelf.log.first_seq_enqueued
    assert find(0, start - 1) == 0
    assert find(0, start) == 2
    assert find(0, start, after=False) == 0
    assert find(0, start + 7_000) == 16
    assert find(0, start + 7_000, after=False) == 14
    assert find(0, start + 7_500) == find(0, start + 7_500, after=False) == 16
    assert find(0, start + 99_000) == 40
    assert find(1, start) == 0


@pytest.mark.parametrize("start", range(8))
@pytest.mark.parametrize("step", [1, 2, 3, 100])
def test_a_cursor_reads_across_chunks_from_anywhere(shelf, start, step):
    """A reader that begins in the middle of a chunk and takes a few at a time misses and repeats nothing."""
    shelf.append("0")
    shelf.append("1", "2", "3")
    shelf.append("4", "5")
    shelf.append("6")
    cursor = Cursor(shelf.log, 0, start)
    found = []
    while taken := cursor.take(step):
        found += _numbered(taken)
    assert found == [(number, str(number)) for number in range(start, 7)]
    shelf.append("7")
    assert _numbered(cursor.take(step)) == [(7, "7")]


def test_a_cursor_reads_on_where_more_chunks_lie_than_one_read_takes(shelf):
    """Many small chunks come out whole and in order, whatever one look into the store fetches."""
    for number in range(100):
        shelf.append(str(number))
    assert _numbered(shelf.read()) == [(number, str(number)) for number in range(100)]


def test_old_messages_are_dropped_and_numbers_go_on(shelf):
    """Retention drops what is older; a reader that starts at the beginning starts at what is kept."""
    shelf.append("old", "older")
    shelf.clock.advance(DAY / 2)
    shelf.append("young")
    shelf.clock.advance(DAY / 2 + 1)
    assert shelf.log.prune(1) == 2
    assert shelf.log.prune(1) == 0
    assert _numbered(shelf.read()) == [(2, "young")]
    assert shelf.log.info(0).begin_seq == 2


@pytest.mark.parametrize("way", ["prune", "clear"])
def test_an_emptied_log_keeps_counting(shelf, way):
    """After all messages went, by age or by a reset, the next one gets the next number, also after a restart."""
    shelf.append("a", "b")
    shelf.append("z", partition=1)
    shelf.clock.advance(2 * DAY)
    identity = shelf.log.id
    if way == "prune":
        assert shelf.log.prune(1) == 3
    else:
        shelf.log.clear()
    assert shelf.read() == []
    info = shelf.log.info(0)
    assert (info.is_empty, info.begin_seq, info.last_seq) == (True, 2, 1)
    shelf.reopen()
    assert (shelf.log.id == identity) == (way == "prune")
    shelf.append("c")
    assert _numbered(shelf.read()) == [(2, "c")]
    assert shelf.log.info(1).last_seq == 0


def test_clear_takes_what_is_pending_with_it(shelf):
    """What arrived in the same turn as a reset is acknowledged, and goes with the rest."""
    told = shelf.append("a", turn=False)
    shelf.log.clear()
    shelf.turns.run()
    assert (told, shelf.read(), shelf.log.next_seq(0)) == ([None], [], 1)


def test_a_cursor_behind_the_kept_messages_goes_on_with_the_first(shelf):
    """A slow reader whose next message was dropped by age continues with the oldest that is kept."""
    shelf.append("a")
    shelf.append("b")
    cursor = Cursor(shelf.log, 0, 0)
    assert _numbered(cursor.take(1)) == [(0, "a")]
    shelf.clock.advance(2 * DAY)
    shelf.append("c")
    fresh = Cursor(shelf.log, 0, 0)
    shelf.log.prune(1)
    assert _numbered(fresh.take(5)) == [(2, "c")]


def test_who_sent_a_message_is_kept(shelf):
    """A chunk knows its source as it was when it connected, across a restart."""
    shelf.append("a")
    shelf.reopen()
    assert shelf.read()[0].source == SOURCE
    assert shelf.log.source_id(SOURCE) == shelf.source


def test_no_longer_listening(shelf):
    """A listener that was taken off is not called."""
    woken = []
    stop = shelf.log.listen(0, lambda: woken.append(1))
    stop()
    stop()
    shelf.append("a")
    assert woken == []


# -- what a re-sending client may repeat ------------------------------------------------------------------


def _replayed(shelf, epoch, partition=0):
    from iotedge_lab.wire.mqtt.runs import iter_publishes

    return [
        [body.decode() for _, body, _ in iter_publishes(raw)] for raw in shelf.log.replays(partition, epoch)
    ]


def test_replays_are_the_epochs_own_newest_first(shelf):
    """Only chunks of the epoch come, the newest first, before and after a restart."""
    shelf.append("a", epoch=5)
    shelf.append("stranger", epoch=6)
    shelf.append("b", "c", epoch=5)
    shelf.append("stranger", epoch=6)
    assert _replayed(shelf, 5) == [["b", "c"], ["a"]]
    shelf.reopen()
    assert _replayed(shelf, 5) == [["b", "c"], ["a"]]
    assert _replayed(shelf, 7) == []


def test_replays_end_a_minute_before_the_newest(shelf):
    """Older messages were acknowledged long ago: a minute of the epoch is looked at, however long ago it was."""
    shelf.append("old", epoch=5)
    shelf.clock.advance(61)
    shelf.append("a", epoch=5)
    shelf.clock.advance(59)
    shelf.append("b", epoch=5)
    shelf.clock.advance(10_000)
    assert _replayed(shelf, 5) == [["b"], ["a"]]


def test_replays_do_not_reach_back_to_the_last_use_of_a_packet_id(shelf):
    """Packet ids come round after 65,535: what is looked at is far less, so that none is met twice."""
    for _ in range(70):
        shelf.append(*["x"] * 1000, epoch=5)
    assert 30_000 <= sum(map(len, _replayed(shelf, 5))) <= 40_000


def test_replays_see_what_came_after_a_restart(shelf):
    """A session that wrote on after a restart of the hub is looked up where it ended, not where the hub began."""
    shelf.append("a", epoch=5)
    shelf.reopen()
    shelf.append("b", epoch=5)
    assert _replayed(shelf, 5) == [["b"], ["a"]]
