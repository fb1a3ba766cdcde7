"""What is kept of sessions, identities and twins is there after a kill, and nothing else is."""

import sqlite3

import pytest

from iotedge_lab.broker.sessions import Sessions
from iotedge_lab.edge.store import KeptIdentities, KeptSessions, KeptTwin, KeptTwins
from iotedge_lab.errors import StoreUnavailable


class Connection:
    def deliver(self, topic, payload):
        raise NotImplementedError

    def drop(self, reason):
        raise NotImplementedError


@pytest.fixture
def held(shelf):
    """The file, held by another process: no write gets through."""
    shelf.store.db.execute("PRAGMA busy_timeout = 0")
    other = sqlite3.connect(shelf.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


def test_sessions_of_the_broker(shelf):
    """A session with its subscriptions and its epoch is there after a kill; a clean session forgets it."""
    sessions = Sessions(KeptSessions(shelf.store), iter(range(100, 200)).__next__)
    session, present = sessions.open("d", "m", Connection(), clean=False)
    assert not present
    sessions.subscribe(session, "devices/d/modules/m/inputs/#", 1)
    shelf.crash()
    sessions = Sessions(KeptSessions(shelf.store), iter(range(200, 300)).__next__)
    connection = Connection()
    session, present = sessions.open("d", "m", connection, clean=False)
    assert (present, session.epoch, session.subscriptions) == (True, 100, {"devices/d/modules/m/inputs/#": 1})
    sessions.close(session, connection, clean=False)
    _, present = sessions.open("d", "m", Connection(), clean=True)
    assert not present
    assert KeptSessions(shelf.store).list() == []


def test_sessions_one_by_one(shelf):
    """Save, load, list, forget; a device and its modules are apart."""
    kept = KeptSessions(shelf.store)
    assert kept.load("d", "") is None
    kept.save("d", "", 1, "{}")
    kept.save("d", "m", 2, '{"a": 1}')
    kept.save("d", "", 3, '{"b": 0}')
    assert (kept.load("d", ""), kept.load("d", "m")) == ((3, '{"b": 0}'), (2, '{"a": 1}'))
    assert kept.list() == [("d", ""), ("d", "m")]
    kept.forget("d", "")
    kept.forget("d", "")
    assert kept.list() == [("d", "m")]


def test_identities(shelf):
    """One by one, by device, and the whole scope at once."""
    kept = KeptIdentities(shelf.store)
    document = {"deviceId": "d", "authentication": {"symmetricKey": {"primaryKey": "a2V5"}}, "ö": [1, None]}
    kept.save("d", "", document)
    kept.save("d", "m", {"moduleId": "m"})
    kept.save("e", "", {"deviceId": "e"})
    kept.save("e", "", {"deviceId": "e", "status": "disabled"})
    shelf.crash()
    kept = KeptIdentities(shelf.store)
    assert kept.load("d") == document
    assert kept.load("d", "m") == {"moduleId": "m"}
    assert kept.load("d", "x") is None
    assert [entry[:2] for entry in kept.list()] == [("d", ""), ("d", "m"), ("e", "")]
    kept.delete("d")
    assert [entry[:2] for entry in kept.list()] == [("d", "m"), ("e", "")]
    kept.save("d", "", document)
    kept.delete("d", None)
    kept.delete("nobody", None)
    assert kept.list() == [("e", "", {"deviceId": "e", "status": "disabled"})]
    kept.replace([("f", "", {"a": 1}), ("f", "m", {"a": 2})])
    assert kept.list() == [("f", "", {"a": 1}), ("f", "m", {"a": 2})]
    kept.replace([])
    assert kept.list() == []


def test_a_scope_is_replaced_whole_or_not_at_all(shelf):
    """When the new scope cannot be written the old one is still known."""
    kept = KeptIdentities(shelf.store)
    kept.replace([("old", "", {})])
    shelf.no_room()
    with pytest.raises(StoreUnavailable, match="full"):
        kept.replace([("new", "", {"padding": "x" * 100_000})])
    assert kept.list() == [("old", "", {})]
    with pytest.raises(TypeError):
        kept.replace([("new", "", {"not": object()})])
    assert kept.list() == [("old", "", {})]


def test_twins(shelf):
    """A twin with its pending patch, and which twins have one."""
    kept = KeptTwins(shelf.store)
    one = KeptTwin({"desired": {"$version": 3, "a": {"b": [1, 2]}}, "reported": {"$version": 1}})
    two = KeptTwin({"reported": {}}, {"x": None, "y": {}})
    kept.save("d", "m", one)
    kept.save("e", "", two)
    kept.save("f", "", KeptTwin({}, {}))  # an empty patch is one
    shelf.crash()
    kept = KeptTwins(shelf.store)
    assert (kept.load("d", "m"), kept.load("e"), kept.load("d")) == (one, two, None)
    assert kept.pending() == [("e", ""), ("f", "")]
    kept.save("e", "", KeptTwin({"reported": {"y": {}}}))
    kept.delete("f")
    assert kept.pending() == []
    assert kept.list() == [("d", "m", one), ("e", "", KeptTwin({"reported": {"y": {}}}))]
    kept.save("d", "", one)
    kept.delete("d", None)
    assert [entry[0] for entry in kept.list()] == ["e"]


def test_a_report_is_durable_before_it_is_acknowledged(shelf):
    """`save_soon` joins the turn's transaction; what was told survives a kill, what was not told does not come back."""
    kept = KeptTwins(shelf.store)
    told = []
    first, second = KeptTwin({"v": 1}, {"a": 1}), KeptTwin({"v": 2}, {"a": 2})
    kept.save_soon("d", "", first, told.append)
    assert told == []
    shelf.turns.run()
    assert told == [None]
    kept.save_soon("d", "", second, told.append)
    shelf.crash()
    assert KeptTwins(shelf.store).load("d") == first
    assert told == [None]


def test_reports_of_one_turn_build_on_each_other(shelf):
    """A twin that was saved a moment ago is loaded as it was saved, before its commit too, and the last one stays."""
    kept = KeptTwins(shelf.store)
    told = []
    for number in range(5):
        before = kept.load("d")
        assert before == (KeptTwin({"v": number - 1}) if number else None)
        kept.save_soon("d", "", KeptTwin({"v": number}), told.append)
    shelf.turns.run()
    assert told == [None] * 5
    shelf.crash()
    assert KeptTwins(shelf.store).load("d") == KeptTwin({"v": 4})


def test_a_save_at_once_comes_after_those_of_the_turn(shelf):
    """`save` and `delete` are not undone by what was to be saved with the turn's transaction."""
    kept = KeptTwins(shelf.store)
    told = []
    kept.save_soon("d", "", KeptTwin({"v": 1}), told.append)
    kept.save("d", "", KeptTwin({"v": 2}))
    kept.save_soon("e", "", KeptTwin({"v": 1}), told.append)
    kept.delete("e")
    shelf.turns.run()
    assert told == [None, None]
    assert kept.list() == [("d", "", KeptTwin({"v": 2}))]


@pytest.mark.usefixtures("held")
def test_what_the_disk_refuses_is_told(shelf):
    """Nothing is acknowledged that is not stored, and the twin is loaded as it was."""
    kept = KeptTwins(shelf.store)
    told = []
    kept.save_soon("d", "", KeptTwin({"v": 1}, {"a": 1}), told.append)
    assert kept.load("d") == KeptTwin({"v": 1}, {"a": 1})
    shelf.turns.run()
    assert isinstance(told.pop(), StoreUnavailable)
    assert kept.load("d") is None
    for work in (
        lambda: kept.save("d", "", KeptTwin({})),
        lambda: kept.delete("d"),
        lambda: KeptIdentities(shelf.store).save("d", "", {}),
        lambda: KeptIdentities(shelf.store).delete("d"),
        lambda: KeptSessions(shelf.store).save("d", "", 1, "{}"),
        lambda: KeptSessions(shelf.store).forget("d", ""),
    ):
        with pytest.raises(StoreUnavailable):
            work()


def test_a_document_that_is_no_json_fails_its_caller_alone(shelf):
    """It raises at once, before it could refuse the transaction of others."""
    kept = KeptTwins(shelf.store)
    told = shelf.put("a", turn=False)
    with pytest.raises(TypeError):
        kept.save_soon("d", "", KeptTwin({"bad": object()}), told.append)
    assert kept.load("d") is None
    shelf.turns.run()
    assert told == [None]
