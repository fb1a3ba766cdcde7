"""What the camera's modules have in common: settings as a table, the outbox, the twin, over a hub in a few lines."""

import logging
import threading
from dataclasses import dataclass

import pytest

from iotedge_lab.car.device import outbox as outbox_module
from iotedge_lab.car.device import twin as twin_module
from iotedge_lab.car.device.outbox import Outbox, Parcel
from iotedge_lab.car.device.settings import (
    Setting,
    Table,
    flag,
    merged,
    names,
    number,
    one_of,
    structure,
    text,
    whole,
)
from iotedge_lab.car.device.twin import Twin, difference, handlers

PATIENCE = 30.0
log = logging.getLogger("test")


@dataclass(frozen=True)
class Values:
    rate: float = 1.0
    words: tuple[str, ...] = ("a",)
    limits: object = None


TABLE = Table(
    Values,
    (
        Setting("rate", "rate", "T_RATE", number(0.0, 10.0)),
        Setting("words", "words", "T_WORDS", names(("a", "b", "c"))),
        Setting("limits", "limits", "T_LIMITS", structure),
    ),
)


def test_the_environment():
    """Text becomes values; what is not set keeps its default; what is wrong names the variable."""
    assert TABLE.from_environment({"T_RATE": "2.5", "T_WORDS": "b, a"}) == Values(2.5, ("b", "a"))
    assert TABLE.from_environment({"T_LIMITS": '{"a": 1}'}).limits == {"a": 1}
    with pytest.raises(ValueError, match="T_RATE is 'often'; a number from 0 to 10 belongs there"):
        TABLE.from_environment({"T_RATE": "often"})


def test_desired_properties():
    """They go before the environment; null gives that back; what is wrong leaves what is in force, and says why."""
    base, before = Values(2.0), Values(3.0, ("b",))
    after, errors = TABLE.desired(base, before, {"words": ["c", "c"], "$version": 4})
    assert (after, errors) == (Values(2.0, ("c",)), {})
    after, errors = TABLE.desired(base, before, {"rate": 11, "words": [], "colour": "red"})
    assert after == Values(3.0, ("b",))
    assert set(errors) == {"rate", "words", "colour"}
    assert "from 0 to 10 belongs there" in errors["rate"]
    assert "some of a, b, c" in errors["words"]
    assert "which has rate, words, limits" in errors["colour"]
    assert TABLE.told(after) == {"rate": 3.0, "words": ["b"], "limits": None}
    assert TABLE.differing(base, before) == ["rate", "words"]


@pytest.mark.parametrize(
    ("read", "good", "value", "bad"),
    [
        (number(1, 2), "1.5", 1.5, [0.5, "x", True, None, float("nan"), float("inf"), 10**400, [1]]),
        (whole(1, 9), 3.0, 3, [2.5, "2.5", 10, True, None, ""]),
        (text(5), " ab ", "ab", ["", "  ", "abcdef", 5, "a\nb", None]),
        (one_of(("x", "y")), "y", "y", ["z", 1, None, ["x"]]),
        (flag, "True", True, ["yes", 1, None]),
        (names(("a", "b")), ["b", "a", "b"], ("b", "a"), [[], ["c"], "", "a,,b", 3, [["a"]], {"a": 1}]),
    ],
)
def test_readers(read, good, value, bad):
    """Each takes what fits, and says of everything else what belongs there."""
    assert read(good) == value
    for each in bad:
        with pytest.raises(ValueError, match=r"\w"):
            read(each)


def test_patches_are_merged():
    """Null takes back, objects are merged member by member."""
    desired = {"a": 1, "t": {"Car": 0.5, "Person": 0.4}}
    assert merged(desired, {"a": None, "t": {"Car": None, "Bicycle": 0.2}}) == {
        "t": {"Person": 0.4, "Bicycle": 0.2}
    }
    assert merged(desired, {"t": 0.5}) == {"a": 1, "t": 0.5}
    assert difference({}, {"errors": {}}) == {"errors": {}}
    assert difference({"a": 1, "b": {"c": 1, "d": 2}}, {"b": {"c": 1}}) == {"b": {"d": None}, "a": None}


class Hub:
    """A connection that a test holds in its hand; it is its own client."""

    def __init__(self):
        self.connected = threading.Event()
        self.connected.set()
        self.online, self.stopping = True, False
        self.client = self
        self.news = threading.Condition()
        self.sent, self.patches, self.answers = [], [], []
        self.failures = 0
        self.may_send = threading.Event()
        self.may_send.set()
        self.twin = {"desired": {"$version": 1}, "reported": {"$version": 1}}

    def note(self, place, what):
        with self.news:
            place.append(what)
            self.news.notify_all()

    def wait(self, condition):
        with self.news:
            assert self.news.wait_for(condition, PATIENCE), (self.sent, self.patches)

    def send_message_to_output(self, message, output):
        assert self.may_send.wait(PATIENCE)
        if self.failures:
            self.failures -= 1
            raise ConnectionError("away")
        self.note(self.sent, (message, output))

    def get_twin(self):
        return self.twin

    def patch_twin_reported_properties(self, patch):
        self.note(self.patches, patch)

    def send_method_response(self, response):
        self.note(self.answers, response)


@pytest.fixture
def hub():
    return Hub()


@pytest.fixture
def threads():
    """`threads(work)`: runs it in the background; each has to end by itself."""
    running = []

    def start(work):
        running.append(threading.Thread(target=work))
        running[-1].start()

    yield start
    for thread in running:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_the_outbox_sends_until_it_is_acknowledged(hub, threads, monkeypatch, caplog):
    """In order, again after an error, and tells who put it in."""
    monkeypatch.setattr(outbox_module, "RETRY", 0.01)
    outbox = Outbox(hub, "out", log)
    hub.failures = 3
    arrived = []
    for number_ in range(3):
        outbox.put(Parcel(lambda number_=number_: number_, arrived.append), wait=True)
    threads(outbox.run)
    assert outbox.drained(PATIENCE)
    hub.wait(lambda: len(arrived) == 3)
    assert hub.sent == [(0, "out"), (1, "out"), (2, "out")]
    assert (outbox.sent, outbox.retries, outbox.waiting, outbox.dropped) == (3, 3, 0, 0)
    assert len(caplog.records) == 1
    outbox.close()


def test_a_full_outbox(hub, threads):
    """Who waits goes on when there is a place; who does not loses the oldest; closing lets go of both."""
    hub.may_send.clear()
    outbox = Outbox(hub, "out", log, most=2)
    for each in "abc":
        outbox.put(Parcel(lambda each=each: each), wait=False)
    assert (outbox.waiting, outbox.dropped) == (2, 1)
    waited = threading.Event()

    def put():
        outbox.put(Parcel(lambda: "d"), wait=True)
        waited.set()

    threads(put)
    assert not waited.is_set()
    threads(outbox.run)
    hub.may_send.set()
    assert waited.wait(PATIENCE)
    assert outbox.drained(PATIENCE)
    assert [message for message, _ in hub.sent] == ["b", "c", "d"]
    outbox.close()


def test_a_closed_outbox_ends_in_the_middle_of_trying(hub, threads, monkeypatch):
    """The message that could not be sent stays unsent, and the thread ends."""
    monkeypatch.setattr(outbox_module, "RETRY", 60.0)
    hub.failures = 10**6
    outbox = Outbox(hub, "out", log)
    outbox.put(Parcel(lambda: 1), wait=True)
    threads(outbox.run)
    while not outbox.retries:
        pass  # pytest's time-out ends it
    outbox.close()
    assert outbox.sent == 0


class Owner:
    """A module that keeps what it was told."""

    report_seconds = 60.0

    def __init__(self, hub):
        self._hub = hub
        self.told = []
        self.now = {"a": 1}

    def configure(self, desired):
        self._hub.note(self.told, dict(desired))

    def status(self):
        return dict(self.now)


def test_the_twin(hub, threads):
    """The whole of it first, then patches, each version once; what is new is reported; a new connection asks again."""
    owner = Owner(hub)
    twin = Twin(hub, owner, log)
    hub.twin = {
        "desired": {"$version": 3, "rate": 1, "gone": None},
        "reported": {"a": 0, "old": 1, "$version": 9},
    }
    twin.patched({"$version": 2, "rate": 7})  # the twin that is read has it already
    threads(twin.run)
    assert twin.ready.wait(PATIENCE)
    hub.wait(lambda: hub.patches)
    assert owner.told == [{"rate": 1}]
    assert hub.patches == [{"a": 1, "old": None}]
    owner.now = {"a": 1, "b": {"c": 2}}
    twin.patched({"$version": 4, "limits": {"x": 1}})
    twin.patched({"$version": 5, "rate": None, "limits": {"y": 2}})
    hub.wait(lambda: len(owner.told) == 3 and len(hub.patches) > 1)
    assert owner.told[1:] == [{"rate": 1, "limits": {"x": 1}}, {"limits": {"x": 1, "y": 2}}]
    assert twin.version == 5
    assert {"b": {"c": 2}} in hub.patches
    hub.twin = {"desired": {"$version": 8, "rate": 2}, "reported": {}}
    called = handlers(hub, twin, lambda name, payload: (200, {name: payload}), lambda *told: told[1:], log)
    called["on_connection_state_change"]()
    hub.wait(lambda: len(owner.told) == 4)
    assert owner.told[3] == {"rate": 2}
    hub.stopping = True
    twin.release()


def test_a_twin_that_cannot_be_had_holds_nobody_up(hub, threads, caplog, monkeypatch):
    """It is said once, and tried again."""
    monkeypatch.setattr(twin_module, "RETRY", 0.01)
    owner, tries = Owner(hub), []

    def get_twin():
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("away")
        return hub.twin

    hub.get_twin = get_twin
    twin = Twin(hub, owner, log)
    threads(twin.run)
    assert twin.ready.wait(PATIENCE)
    hub.wait(lambda: owner.told)
    hub.stopping = True
    twin.release()
    assert len([each for each in caplog.records if "cannot be reached" in each.message]) == 1


def test_a_method_is_answered(hub):
    """With status and payload of the module's; an answer that cannot be sent is the caller's time-out."""

    class Request:
        name, payload = "status", {"x": 1}

    called = handlers(
        hub, Twin(hub, None, log), lambda name, payload: (200, {name: payload}), lambda *told: told[1:], log
    )
    called["on_method_request_received"](Request)
    assert hub.answers == [(200, {"status": {"x": 1}})]
    hub.send_method_response = lambda _: 1 / 0
    called["on_method_request_received"](Request)
