"""The group commit: nobody is told before the transaction is committed, and nobody is told a lie."""

import sqlite3
import stat

import pytest
from configuring import desired, device_content, put
from house import Turns

from iotedge_lab.errors import EnvironmentProblem, StoreUnavailable
from iotedge_lab.hub.store import Store


class Part:
    """A participant that writes one row and keeps what it is told."""

    def __init__(self, store, key, diary, *, fault=None):
        self.store = store
        self.key = key
        self.diary = diary
        self.fault = fault

    def write(self, db):
        self.diary.append(("write", self.key))
        if self.fault is not None:
            raise self.fault
        db.execute("INSERT INTO meta VALUES (?, 'x')", (self.key,))

    def durable(self):
        with sqlite3.connect(self.store.path) as other:  # another connection sees only what is committed
            seen = other.execute("SELECT COUNT(*) FROM meta WHERE key = ?", (self.key,)).fetchone()[0]
        other.close()
        self.diary.append(("durable", self.key, seen))

    def failed(self, error):
        assert isinstance(error, StoreUnavailable)
        self.diary.append(("failed", self.key))


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "hub.db")
    yield made
    made.close()


@pytest.fixture
def turns(store):
    made = Turns()
    store.attach_loop(made)
    return made


def test_what_comes_in_one_turn_is_one_transaction(store, turns):
    """Participants write together, in the order of enlisting, and are told once all of it is committed."""
    diary = []
    for key in ("a", "b", "c"):
        store.enlist(Part(store, key, diary))
    assert diary == []
    assert len(turns.waiting) == 1
    turns.run()
    assert [entry[:2] for entry in diary] == [
        ("write", "a"), ("write", "b"), ("write", "c"), ("durable", "a"), ("durable", "b"), ("durable", "c"),
    ]  # fmt: skip
    assert all(entry[2] == 1 for entry in diary if entry[0] == "durable")


def test_without_a_loop_each_is_committed_at_once(store):
    """A store that no loop drives (start-up, tools) commits as it is told."""
    diary = []
    store.enlist(Part(store, "a", diary))
    assert diary == [("write", "a"), ("durable", "a", 1)]


def test_a_refused_transaction_stores_nothing_and_tells_each(store, turns):
    """If one participant's write is refused, all are rolled back, and each is told so."""
    diary = []
    store.enlist(Part(store, "good", diary))
    store.enlist(Part(store, "bad", diary, fault=sqlite3.OperationalError("database or disk is full")))
    turns.run()
    assert [entry for entry in diary if entry[0] != "write"] == [("failed", "good"), ("failed", "bad")]
    assert store.get_meta("good") is None
    assert not store.db.in_transaction


def test_after_a_refusal_the_next_turn_works(store, turns):
    """A full disk that has room again needs no restart."""
    diary = []
    store.enlist(Part(store, "bad", diary, fault=sqlite3.OperationalError("disk is full")))
    turns.run()
    store.enlist(Part(store, "later", diary))
    turns.run()
    assert diary[-1] == ("durable", "later", 1)


def test_a_fault_of_ours_is_told_to_all_and_does_not_stop_the_store(store, turns):
    """A participant with a bug neither hangs the others' acknowledgements nor the turns after it."""
    diary = []
    store.enlist(Part(store, "good", diary))
    store.enlist(Part(store, "buggy", diary, fault=OverflowError("Python int too large")))
    turns.run()
    assert ("failed", "good") in diary
    assert ("failed", "buggy") in diary
    store.enlist(Part(store, "later", diary))
    turns.run()
    assert diary[-1] == ("durable", "later", 1)


def test_a_transaction_that_raises_is_rolled_back(store):
    """An exception inside `transaction` takes back what was written before it."""
    with pytest.raises(KeyError), store.transaction() as db:
        db.execute("INSERT INTO meta VALUES ('half', 'x')")
        raise KeyError
    assert store.get_meta("half") is None
    store.set_meta("whole", "x")
    assert store.get_meta("whole") == "x"


def test_a_full_store_says_so_and_recovers(store):
    """Where SQLite has no room the refusal is `StoreUnavailable` (503), and room again means work again."""
    pages = store.db.execute("PRAGMA page_count").fetchone()[0]
    store.db.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StoreUnavailable, match="full") as caught:
        store.set_meta("big", "x" * 100_000)
    assert caught.value.status == 503
    assert store.get_meta("big") is None
    store.db.execute("PRAGMA max_page_count = 1000000")
    store.set_meta("big", "x" * 100_000)
    assert store.get_meta("big") == "x" * 100_000


def test_close_commits_what_is_pending_and_again_does_nothing(tmp_path):
    """What was enlisted before `close` is in the file, and acknowledged."""
    store = Store(tmp_path / "hub.db")
    store.attach_loop(Turns())
    diary = []
    store.enlist(Part(store, "a", diary))
    store.close()
    store.close()
    assert diary[-1] == ("durable", "a", 1)
    again = Store(tmp_path / "hub.db")
    assert again.get_meta("a") == "x"
    again.close()


def test_its_files_are_for_the_owner_alone(store):
    """Keys lie in the store: neither it nor its write-ahead log may be read by others."""
    store.set_meta("a", "x")
    found = list(store.path.parent.iterdir())
    assert {file.name for file in found} >= {"hub.db", "hub.db-wal", "hub.db-shm"}
    for file in found:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"this is no database, but a text that is long enough to look like one" * 20, "cannot be read"),
        (None, "schema 99"),
    ],
)
def test_a_store_that_is_none_says_what_to_do(tmp_path, content, word):
    """A damaged file and another version's raise `EnvironmentProblem` with advice, and stay as they are."""
    path = tmp_path / "hub.db"
    if content is None:
        Store(path).close()
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version = 99")
        db.close()
        content = path.read_bytes()
    else:
        path.write_bytes(content)
    with pytest.raises(EnvironmentProblem, match=word):
        Store(path)
    assert path.read_bytes() == content


def test_the_write_ahead_log_does_not_grow_without_end(tmp_path):
    """Checkpoints keep the write-ahead log near its limit, and one is not begun anew at each commit."""
    store = Store(tmp_path / "hub.db", checkpoint_pages=64)
    store.attach_loop(Turns())
    begun = []
    checkpoint = store._checkpoint
    store._checkpoint = lambda: (begun.append(1), checkpoint())[1]
    wal = tmp_path / "hub.db-wal"
    for number in range(400):
        store.enlist(Part(store, f"{number}", []))
        store.flush()
        if store._checkpointer is not None:
            store._checkpointer.join()
    size = wal.stat().st_size
    store.close()
    assert begun, "no checkpoint in 400 commits"
    assert size < 4 * 64 * 4096
    assert len(begun) < 50, "a checkpoint for each commit"


def test_transactions_of_their_own_keep_it_short_too(tmp_path):
    """What is written outside the group commit (identities, twins) counts as well."""
    store = Store(tmp_path / "hub.db", checkpoint_pages=64)
    for number in range(400):
        store.set_meta(f"{number}", "x")
        if store._checkpointer is not None:
            store._checkpointer.join()
    size = (tmp_path / "hub.db-wal").stat().st_size
    store.close()
    assert size < 4 * 64 * 4096


def test_one_who_reads_is_not_waited_for(tmp_path):
    """The log grows while somebody reads an old state of the file, and is cut when that has ended."""
    store = Store(tmp_path / "hub.db", checkpoint_pages=16)
    wal = tmp_path / "hub.db-wal"
    patience = store.db.execute("PRAGMA busy_timeout").fetchone()
    reader = sqlite3.connect(store.path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT COUNT(*) FROM meta").fetchone()
    for number in range(400):  # five seconds' patience for each would be half an hour
        store.set_meta(f"{number}", "x")
    assert wal.stat().st_size > 4 * 16 * 4096
    assert store.db.execute("PRAGMA busy_timeout").fetchone() == patience
    reader.execute("COMMIT")
    reader.close()
    for number in range(100):
        store.set_meta(f"{number}", "y")
        if store._checkpointer is not None:
            store._checkpointer.join()
    assert wal.stat().st_size < 4 * 16 * 4096
    store.close()


def _tables(path):
    with sqlite3.connect(path) as db:
        found = db.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
    db.close()
    return found


def test_a_store_of_an_earlier_version_is_brought_up_to_date(house):
    """It keeps what it has, gets the tables that it lacks, and is then as a new one."""
    device = house.register("kept")
    house.hub.twins.patch("kept", "", {"tags": {"a": 1}}, None)
    house.turns.run()
    house.hub.close()
    path = house.hub.store.path
    new = _tables(path)
    with sqlite3.connect(path) as db:
        for table in ("configuration", "assignment", "file_upload", "file_notice", "job", "job_device"):
            db.execute(f"DROP TABLE {table}")
        db.execute("PRAGMA user_version = 1")
    db.close()
    assert _tables(path) != new
    house.start()
    assert _tables(path) == new
    assert house.hub.store.db.execute("PRAGMA user_version").fetchone() == (Store.layout.version,)
    assert house.hub.identities.get("kept", "") == device
    put(house, "c", device_content(b=1), "tags.a = 1")
    assert desired(house, "kept") == {"b": 1}


def test_a_store_that_cannot_be_brought_up_to_date_stays_as_it_is(tmp_path):
    """What goes wrong in the middle is taken back."""
    path = tmp_path / "hub.db"
    Store(path).close()
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE configuration")  # and the other one is there already
        db.execute("PRAGMA user_version = 1")
    db.close()
    before = _tables(path)
    with pytest.raises(EnvironmentProblem, match="assignment already exists"):
        Store(path)
    assert _tables(path) == before
