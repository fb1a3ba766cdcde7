"""Two clients that fight for one identity, and a clock that is set back an hour."""

import threading
import time
from itertools import count, groupby

import pytest
from hub_clients import RawDevice

from iotedge_lab.errors import MessageLockLost
from iotedge_lab.hub.command_message import Draft
from iotedge_lab.wire import sas
from iotedge_lab.wire.mqtt.packets import ConnackCode, PublishRun
from iotedge_lab.wire.mqtt.runs import iter_publishes

HOUR = 3600.0


# -- two clients, one identity -------------------------------------------------------------------------


class Fighter(threading.Thread):
    """A device that connects again whenever it is cut off, and sends until it is told to stop.

    `first_id`: fighters of one identity share its session, so each takes packet ids of its own; by the id alone
    the hub tells a message that is sent again from another one.
    """

    def __init__(self, lab, device, name, stop, *, first_id=0, pause=0.0):
        super().__init__(name=name)
        self._raw = RawDevice(lab, device)
        self._raw.client._last_id = first_id
        self._stop_asked = stop
        self._pause = pause
        self.connections = 0
        self.acknowledged = {}  # body to the number of the connection on which it was first sent
        self.at_once = set()  # bodies that were acknowledged on the connection on which they were first sent
        self.failure = None

    def run(self):
        try:
            while not self._stop_asked.is_set():
                try:
                    self._fight()
                except (ConnectionError, TimeoutError):
                    continue
            self._finish()
        except Exception as error:  # noqa: BLE001 - the test raises it
            self.failure = error
        finally:
            self._raw.close()

    def _connect(self):
        self._raw.close()
        connack = self._raw.connect()
        assert connack.code is ConnackCode.ACCEPTED, connack
        self.connections += 1
        again = dict(self._raw.client.in_flight)
        if again:
            self._raw.sock.sendall(self._raw.client.resend())
        return again

    def _fight(self):
        self._connect()
        self._raw.drain()
        for number in count():
            if self._stop_asked.is_set():
                return
            body = f"{self.name} {self.connections} {number}".encode()
            self.acknowledged[body] = self.connections
            self._raw.send(body)
            self.at_once.add(body)
            if self._pause:
                time.sleep(self._pause)

    def _finish(self):
        """Nobody fights any more: what is still unacknowledged goes out."""
        while True:
            try:
                self._connect()
                self._raw.drain()
                return
            except (ConnectionError, TimeoutError):
                continue


def _fight(lab, device, seconds):
    """Let two clients fight for `device` while two more send in peace; all four, when they have ended."""
    names = [f"{device}-{word}" for word in ("calm", "calmer")]
    for name in names:
        lab.rest().call("PUT", f"/devices/{name}", {"deviceId": name})
    fight, peace = threading.Event(), threading.Event()
    fighters = [Fighter(lab, device, f"{device}-fighter-{n}", fight, first_id=n * 30_000) for n in range(2)]
    calm = [Fighter(lab, name, name, peace, pause=0.01) for name in names]
    for each in fighters + calm:
        each.start()
    most = 0
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end and all(each.is_alive() for each in fighters):
            most = max(most, lab.status()["connected"])
            time.sleep(0.01)
    finally:
        fight.set()
        fighters[0].join(30)  # one after the other, or they would take the last connection from each other
        fighters[1].join(30)
        peace.set()
        for each in calm:
            each.join(30)
    for each in fighters + calm:
        assert not each.is_alive()
        if each.failure is not None:
            raise each.failure
    return fighters, calm, most


def _log_of(consume, partition, wanted):
    """The bodies in one partition of the log, in their order, once `wanted` have come."""
    consumer = consume(partition_id=partition)
    bodies = lambda: [b"".join(event.body) for event in consumer.events]  # noqa: E731 - asked twice
    with consumer.news:
        assert consumer.news.wait_for(lambda: wanted <= set(bodies()) or consumer.errors, 60), consumer.errors
    return bodies()


def _check_fight(lab, device, consume, partition_of, seconds):
    fighters, calm, most = _fight(lab, device, seconds)
    assert min(each.connections for each in fighters) >= 3  # else there was no fight
    assert most <= 3
    # Once, and once to finish: the fight did not touch them.
    assert [each.connections for each in calm] == [2, 2]
    seen = {}
    for partition in {partition_of(each) for each in (device, *(each.name for each in calm))}:
        sent = [each for each in (*fighters, *calm) if partition_of(_device_of(each, device)) == partition]
        wanted = {body for each in sent for body in each.acknowledged}
        seen[partition] = _log_of(consume, partition, wanted)
    fought = [body for body in seen[partition_of(device)] if body.startswith(f"{device}-fighter-".encode())]
    for each in calm:
        mine = [body for body in seen[partition_of(each.name)] if body.startswith(each.name.encode() + b" ")]
        assert mine == list(each.acknowledged)  # in their order, each once
    both = fighters[0].acknowledged | fighters[1].acknowledged
    assert sorted(fought) == sorted(both)  # none lost, none twice
    # Never two at once: what each connection had acknowledged lies in one piece, not among the other's.
    at_once = fighters[0].at_once | fighters[1].at_once
    pieces = [who for who, _ in groupby(tuple(body.split()[:2]) for body in fought if body in at_once)]
    assert len(pieces) == len(set(pieces)) >= 2


def _device_of(fighter, device):
    return device if "-fighter-" in fighter.name else fighter.name


def test_two_clients_fight_for_one_identity(lab, device, consume, partition_of):
    """For some seconds: never two at once, what was acknowledged is in the log once, and others notice nothing."""
    _check_fight(lab, device, consume, partition_of, 2.5)


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_two_clients_fight_for_a_minute(request, lab, device, consume, partition_of):
    """As above, and the hub holds no more memory for it."""
    if "soak" not in request.config.getoption("markexpr"):
        pytest.skip("a minute long: run with -m soak")
    import psutil

    process = psutil.Process(lab._told.pid)
    _check_fight(lab, device, consume, partition_of, 5)
    before = process.memory_full_info().uss
    other = f"{device}-long"
    lab.rest().call("PUT", f"/devices/{other}", {"deviceId": other})
    _check_fight(lab, other, consume, partition_of, 60)
    assert process.memory_full_info().uss - before < 64 * 1024 * 1024


# -- a clock that is set back --------------------------------------------------------------------------


@pytest.fixture
def set_back(house):
    """`set_back()`: the wall clock goes back an hour; what counts seconds does not."""

    def turn():
        house.clock.time -= HOUR

    return turn


def _tick(house, seconds):
    """Let time pass as the hub's process does: a tick each second (at most 5,000 of them)."""
    for _ in range(int(seconds)):
        house.clock.advance(1)
        house.hub.tick()
        house.turns.run()


def test_enqueued_times_never_step_back(house, set_back):
    """Each event's time is that of the one before it or later, also across a restart within that hour."""
    wire = house.connected("d")
    for step in (lambda: None, set_back, lambda: house.clock.advance(60), house.restart, set_back):
        step()
        if wire.front.hub is not house.hub:
            wire = house.connected("d")
        wire.publish(f"{step}".encode())
    house.clock.advance(3 * HOUR)
    wire.publish(b"later")
    times = [event.enqueued for event in house.events()]
    assert len(times) == 6
    assert times == sorted(times)
    assert times[-1] == int(house.clock.now() * 1000)  # the clock counts again, once it has caught up


def test_connections_outlive_it(house, set_back):
    """Nobody is dropped: keep-alives count seconds, and tokens are good for longer than before."""
    wire = house.connected("d", keep_alive=10)
    set_back()
    house.hub.tick()
    assert not wire.transport.closed
    assert wire.publish(b"x")
    house.clock.advance(14)
    house.hub.tick()
    assert not wire.transport.closed
    house.clock.advance(2)
    house.hub.tick()
    assert wire.transport.closed  # 1.5 times the keep-alive, by the watch and not by the clock


def test_tokens_are_taken_by_the_clock_as_it_is(house, set_back):
    """A token that had ended is good again until that time comes round; the connection ends with it then."""
    house.register("d")
    token = house.token("d", seconds=60)
    house.clock.advance(120)
    assert house.connect(house.client("d", token=token)).connack.code is ConnackCode.NOT_AUTHORIZED
    set_back()
    wire = house.connect(house.client("d", token=token))
    assert wire.connack.code is ConnackCode.ACCEPTED
    house.clock.advance(HOUR - 61)
    wire.publish(b"x")
    house.hub.tick()
    assert not wire.transport.closed
    house.clock.advance(2)
    house.hub.tick()
    assert wire.transport.closed


def _send(house, body, device="d", **more):
    told = []
    house.hub.commands.send(Draft(device, body, **more), told.append)
    house.turns.run()
    assert told == [None]


def test_commands_wait_until_their_hour_has_come(house, set_back):
    """A message expires at the time that it was given, not before and not never; a newer one has its full hour."""
    house.register("d")
    _send(house, b"before")
    set_back()
    _send(house, b"after")
    commands = house.hub.commands
    assert commands.count("d") == 2
    _tick(house, HOUR - 1)
    assert commands.count("d") == 2
    _tick(house, 2)
    assert commands.count("d") == 1  # the newer one's hour is over
    _tick(house, HOUR)
    assert commands.count("d") == 0


def test_a_lock_from_before_can_still_be_settled(house, set_back):
    """Whoever holds a message completes or abandons it; a lock ends at the time that it was given."""
    house.register("d")
    for body in (b"one", b"two", b"three"):
        _send(house, body)
    commands = house.hub.commands
    first, second, third = (commands.receive("d") for _ in range(3))
    set_back()
    commands.complete("d", first.lock)
    commands.abandon("d", second.lock)
    assert commands.receive("d").command.draft.body == b"two"
    assert commands.receive("d") is None  # the third is locked still
    _tick(house, HOUR + 61)
    assert [commands.receive("d").command.draft.body for _ in range(2)] == [b"two", b"three"]
    with pytest.raises(MessageLockLost):
        commands.complete("d", third.lock)


def test_delivery_goes_on(house, set_back):
    """A connected device gets what is sent while the clock is behind, in order, and completes it."""
    wire = house.connected("d")
    _, data = wire.client.subscribe(["devices/d/messages/devicebound/#"])
    wire.send(data)
    _send(house, b"one")
    set_back()
    _send(house, b"two")
    runs = wire.answers()
    assert {type(event) for event in runs} == {PublishRun}
    assert [body for run in runs for _, body, _ in iter_publishes(run.raw)] == [b"one", b"two"]
    for run in runs:
        wire.send(run.acks)
    assert house.hub.commands.count("d") == 0


def test_feedback_does_not_wait_for_the_clock(house, set_back):
    """Feedback goes out by seconds passed."""
    house.register("d")
    _send(house, b"x", system={"message-id": "m1"}, ack="full")
    locked = house.hub.commands.receive("d")
    set_back()
    house.hub.commands.complete("d", locked.lock)
    _tick(house, 20)
    message = house.hub.commands.feedback.take()
    assert message is not None
    assert b"m1" in message.body
    house.hub.commands.feedback.complete(message.lock)


def test_a_service_token_made_before_still_opens(house, set_back):
    """An end that lies further away than it did is no reason to refuse."""
    key = house.hub.access.policies["service"].primary_key
    token = sas.build("localhost", key, int(house.clock.now()) + 60, "service")
    set_back()
    assert house.hub.access.check(token).policy.name == "service"


def test_the_twin_counts_by_versions(house, set_back):
    """Changes while the clock is behind are changes: versions rise, and a read shows them."""
    house.register("d")
    twins = house.hub.twins
    twins.patch("d", "", {"properties": {"desired": {"a": 1}}}, None)
    set_back()
    _, twin = twins.patch("d", "", {"properties": {"desired": {"a": 2}}}, None)
    assert (twin.desired.version, twin.desired.values) == (3, {"a": 2})
    assert twins.report("d", "", {"b": 1}) == 2


def test_nothing_is_swept_early(house, set_back):
    """Retention by days drops no message of the hour that comes twice."""
    wire = house.connected("d")
    wire.publish(b"before")
    set_back()
    wire.publish(b"after")
    _tick(house, 120)
    assert house.bodies() == [b"before", b"after"]
