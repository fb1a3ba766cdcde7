"""Sessions: what outlives a connection and a restart, and the epochs that say what may be sent again."""

import itertools
import json

import pytest

from iotedge_lab.broker.sessions import Sessions


class Memory:
    """A store of sessions that a restart does not empty."""

    def __init__(self):
        self.kept = {}
        self.saves = 0

    def load(self, device, module):
        return self.kept.get((device, module))

    def save(self, device, module, epoch, subscriptions):
        self.saves += 1
        self.kept[(device, module)] = (epoch, subscriptions)

    def forget(self, device, module):
        self.kept.pop((device, module), None)


class Line:
    """A connection that remembers why it was dropped."""

    def __init__(self):
        self.dropped = []

    def drop(self, reason):
        self.dropped.append(reason)


@pytest.fixture
def memory():
    return Memory()


@pytest.fixture
def epochs():
    return itertools.count(1)


@pytest.fixture
def sessions(memory, epochs):
    return Sessions(memory, lambda: next(epochs))


def test_a_first_connection_has_no_session(sessions, memory):
    """Session present is false, and the session is kept at once, before anything is subscribed to."""
    session, present = sessions.open("d", "", Line(), clean=False)
    assert not present
    assert memory.kept[("d", "")] == (session.epoch, "{}")


def test_subscriptions_outlive_connection_and_restart(sessions, memory):
    """The SDK never subscribes twice: a session comes back with its filters, from another process as well."""
    line = Line()
    session, _ = sessions.open("d", "m", line, clean=False)
    sessions.subscribe(session, "a/#", 1)
    sessions.subscribe(session, "b/#", 0)
    sessions.unsubscribe(session, "b/#")
    sessions.close(session, line, clean=False)
    for again in (sessions, Sessions(memory, lambda: 99)):
        session, present = again.open("d", "m", Line(), clean=False)
        assert present
        assert session.subscriptions == {"a/#": 1}


def test_a_subscription_is_kept_before_it_is_confirmed(sessions, memory):
    """`subscribe` returns once the store has it; the same one again costs nothing."""
    session, _ = sessions.open("d", "", Line(), clean=False)
    sessions.subscribe(session, "a/#", 1)
    assert json.loads(memory.kept[("d", "")][1]) == {"a/#": 1}
    before = memory.saves
    sessions.subscribe(session, "a/#", 1)
    sessions.unsubscribe(session, "never/there")
    assert memory.saves == before
    sessions.subscribe(session, "a/#", 0)
    assert json.loads(memory.kept[("d", "")][1]) == {"a/#": 0}


def test_a_clean_session_forgets_the_kept_one_and_keeps_nothing(sessions, memory):
    """clean_session=1 begins anew and leaves nothing behind [MQTT-3.1.2-6]."""
    session, _ = sessions.open("d", "", Line(), clean=False)
    sessions.subscribe(session, "a/#", 1)
    line = Line()
    session, present = sessions.open("d", "", line, clean=True)
    assert (present, session.subscriptions, session.persistent) == (False, {}, False)
    sessions.subscribe(session, "b/#", 1)
    sessions.close(session, line, clean=True)
    assert memory.kept == {}
    assert sessions.open("d", "", Line(), clean=False)[1] is False


def test_a_newer_connection_drops_the_older(sessions):
    """One connection an identity: the older is dropped, and its end does not unseat the newer."""
    first, second, other = Line(), Line(), Line()
    old, _ = sessions.open("d", "", first, clean=False)
    sessions.open("d", "m", other, clean=False)
    sessions.open("d", "", second, clean=False)
    assert len(first.dropped) == 1
    assert second.dropped == other.dropped == []
    sessions.close(old, first, clean=False)
    assert sessions.connection_of("d") is second
    assert len(sessions) == 2


def test_the_epoch_ends_with_a_goodbye_only(sessions, memory):
    """A DISCONNECT ends what may be sent again; a cut connection and a restart do not."""
    line = Line()
    session, _ = sessions.open("d", "", line, clean=False)
    epoch = session.epoch
    sessions.close(session, line, clean=False)
    line = Line()
    session, _ = sessions.open("d", "", line, clean=False)
    assert session.epoch == epoch
    assert Sessions(memory, lambda: 99).open("d", "", Line(), clean=False)[0].epoch == epoch
    sessions.close(session, line, clean=True)
    session, present = sessions.open("d", "", Line(), clean=False)
    assert present
    assert session.epoch != epoch


def test_each_clean_session_has_its_own_epoch(sessions):
    """Two clean sessions share nothing, not even the epoch."""
    one = sessions.open("d", "", Line(), clean=True)[0].epoch
    two = sessions.open("d", "", Line(), clean=True)[0].epoch
    assert one != two


@pytest.mark.parametrize(
    ("module", "gone"),
    [(None, {"", "m", "n"}), ("", {""}), ("m", {"m"}), ("unknown", set())],
)
def test_dropping_a_device_or_one_module(sessions, module, gone):
    """`drop` ends a device with its modules, the device's own connection alone, or one module; never another's."""
    lines = {}
    for name in ("", "m", "n"):
        lines[name] = Line()
        sessions.open("d", name, lines[name], clean=False)
    stranger = Line()
    sessions.open("d2", "", stranger, clean=False)
    sessions.drop("d", module, "why")
    assert {name for name, line in lines.items() if line.dropped == ["why"]} == gone
    assert stranger.dropped == []
    assert len(sessions) == 4 - len(gone)
    for name in gone:
        assert sessions.connection_of("d", name) is None
