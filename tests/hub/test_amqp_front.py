"""One AMQP connection onto the hub: its tokens, its time, and the readers of the built-in endpoint."""

import pytest
from house import HOST, LOCAL, FakeTransport

from iotedge_lab.hub.amqp_front import AmqpFront
from iotedge_lab.hub.amqp_redirect import target
from iotedge_lab.hub.names import EVENTS_NAME
from iotedge_lab.wire import sas
from iotedge_lab.wire.amqp.connection import AmqpConnection
from iotedge_lab.wire.amqp.events import ConnectionClosed, LinkConfirmed, LinkDetached, MessageReceived
from iotedge_lab.wire.amqp.message import Message, decode_message, encode_message
from iotedge_lab.wire.amqp.performatives import Properties, Source, Target
from iotedge_lab.wire.amqp.states import Role
from iotedge_lab.wire.amqp.types import Described, Symbol

SELECTOR = "apache.org:selector-filter:string"


class Slow(FakeTransport):
    """A transport whose peer reads nothing: `close` waits for the buffer, which never empties."""

    def __init__(self, protocol):
        super().__init__(protocol)
        self.closing = self.aborted = False

    def close(self):
        self.closing = True

    def abort(self):
        self.aborted = True
        super().close()

    def is_closing(self):
        return self.closing


class Consumer:
    """A client of Event Hubs without a socket."""

    def __init__(self, house, *, transport=FakeTransport, idle=None):
        self.house = house
        self.front = AmqpFront(house.hub, LOCAL)
        self.transport = transport(self.front)
        self.front.connection_made(self.transport)
        self.wire = AmqpConnection(
            role=Role.CLIENT, container_id="test", hostname=HOST, sasl=False, idle_timeout_ms=idle
        )
        self.wire.start()
        self._read = 0
        self.turn()
        self.session = self.wire.begin_session()
        self.turn()

    def turn(self):
        """Both sides speak until they have nothing more to say; what came."""
        seen = []
        while True:
            data = self.wire.data_to_send()
            if data and not self.transport.closed:
                self.front.data_received(data)
            self.house.turns.run()
            fresh = self.transport.written[self._read :]
            self._read = len(self.transport.written)
            if not fresh and not data:
                return seen
            seen += self.wire.receive(fresh) if fresh else []

    def put_token(self, policy="service", *, seconds=3600, token=None, body=None, properties=None):
        """$cbs put-token; (status, description)."""
        key = self.house.hub.access.policies[policy].primary_key
        expiry = int(self.house.clock.now()) + seconds
        token = token or sas.build(f"sb://{HOST}/{EVENTS_NAME}", key, expiry, policy, raw_key=True)
        asked = {"operation": "put-token", "type": "servicebus.windows.net:sastoken", "name": EVENTS_NAME}
        return self.ask("$cbs", token if body is None else body, asked | (properties or {}))

    def ask(self, node, body, asked):
        replies = self.session.attach_receiver(
            f"r{node}", source=Source(address=node), target=Target(address=node)
        )
        requests = self.session.attach_sender(
            f"s{node}", target=Target(address=node), source=Source(address=node)
        )
        self.turn()
        replies.grant(5)
        self.turn()
        message = Message(
            properties=Properties(message_id="m", reply_to=node), application_properties=asked, value=body
        )
        requests.send(encode_message(message))
        [reply] = [event for event in self.turn() if isinstance(event, MessageReceived)]
        answer = decode_message(reply.payload)
        replies.detach()
        requests.detach()
        self.turn()
        assert answer.properties.correlation_id == "m"
        return answer.application_properties["status-code"], answer

    def read(self, partition=0, *, group="$Default", selector=None, credit=10, epoch=None, name="reader"):
        """Attach a reader; (link, events)."""
        filters = {Symbol(SELECTOR): Described(Symbol(SELECTOR), selector)} if selector is not None else None
        link = self.session.attach_receiver(
            name,
            source=Source(
                address=f"{EVENTS_NAME}/ConsumerGroups/{group}/Partitions/{partition}", filter=filters
            ),
            properties=None if epoch is None else {Symbol("com.microsoft:epoch"): epoch},
        )
        told = self.turn()
        link.grant(credit)
        return link, told + self.turn()


def _detached(events):
    [event] = [event for event in events if isinstance(event, LinkDetached)]
    return str(event.error.condition), event.error.description


def _bodies(events):
    return [decode_message(event.payload).data[0] for event in events if isinstance(event, MessageReceived)]


@pytest.fixture
def device(house):
    """A device in partition 0, that has sent three messages."""
    name = next(f"d{number}" for number in range(9) if house.hub.log.partition_of(f"d{number}") == 0)
    wire = house.connected(name, keep_alive=0)
    for body in (b"0", b"1", b"2"):
        wire.publish(body)
        house.clock.advance(1)
    return wire


# -- tokens -------------------------------------------------------------------------------------------


def test_a_reader_needs_a_token(house, device):
    """Without one the link is refused; with one of the policy service it reads."""
    consumer = Consumer(house)
    assert _detached(consumer.read(name="too early")[1])[0] == "amqp:unauthorized-access"
    assert consumer.put_token()[0] == 200
    assert _bodies(consumer.read()[1]) == [b"0", b"1", b"2"]


@pytest.mark.parametrize("policy", ["device", "registryRead", "registryReadWrite"])
def test_a_token_of_another_policy_does_not_open(house, device, policy):
    """The endpoint asks for ServiceConnect, and so does $management."""
    consumer = Consumer(house)
    consumer.put_token(policy)
    assert _detached(consumer.read()[1])[0] == "amqp:unauthorized-access"
    asked = {"operation": "READ", "name": EVENTS_NAME, "type": "com.microsoft:eventhub"}
    assert consumer.ask("$management", None, asked)[0] == 401


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"token": "nonsense"}, 401),
        ({"token": sas.build(HOST, "a2V5" * 8, 2_000_000_000, "service")}, 401),
        ({"token": sas.build("elsewhere", "a2V5" * 8, 2_000_000_000, "service")}, 401),
        ({"seconds": -1}, 401),
        ({"body": 5}, 400),
        ({"body": b"bytes"}, 400),
        ({"properties": {"operation": "take-token"}}, 400),
        ({"properties": {"operation": 7}}, 400),
    ],
)
def test_tokens_that_are_refused(house, change, status):
    """401 for a wrong token, 400 for what is none; the connection goes on."""
    consumer = Consumer(house)
    assert consumer.put_token(**change)[0] == status
    assert not consumer.transport.closed
    assert consumer.put_token()[0] == 200


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"type": "com.microsoft:eventhub"}, 200),
        ({"type": "com.microsoft:partition", "partition": "1"}, 200),
        ({"type": "com.microsoft:partition", "partition": "2"}, 404),
        ({"type": "com.microsoft:partition", "partition": "-1"}, 404),
        ({"type": "com.microsoft:partition", "partition": "9" * 5000}, 404),
        ({"type": "com.microsoft:partition", "partition": "\u0663"}, 404),
        ({"type": "com.microsoft:partition"}, 404),
        ({"type": "com.microsoft:moon"}, 404),
        ({"type": "com.microsoft:eventhub", "name": "other"}, 404),
        ({"type": "com.microsoft:eventhub", "name": 7}, 404),
        ({"type": "com.microsoft:eventhub", "operation": "DELETE"}, 501),
        ({"type": ["com.microsoft:eventhub"]}, 404),
        ({}, 404),
    ],
    ids=lambda value: str(value)[:60],
)
def test_management(house, asked, status):
    """READ of the endpoint and of its partitions; all else is refused by a status, on a connection that lives."""
    consumer = Consumer(house)
    consumer.put_token()
    body = {"operation": "READ", "name": EVENTS_NAME} | asked
    assert consumer.ask("$management", None, body)[0] == status
    assert not consumer.transport.closed


# -- for which part of the hub a token speaks ----------------------------------------------------------

PARTITION = f"{EVENTS_NAME}/ConsumerGroups/$Default/Partitions/0"
DEVICEBOUND, FEEDBACK = "/messages/devicebound", "/messages/serviceBound/feedback"


def _token(house, path, policy="iothubowner"):
    key = house.hub.access.policies[policy].primary_key
    return sas.build(f"{HOST}{path}", key, int(house.clock.now()) + 3600, policy)


def _opened(house, token):
    """What a token opens of the four addresses of a service."""
    consumer = Consumer(house)
    assert consumer.put_token(token=token)[0] == 200
    opened = set()
    for name, address in (("events", PARTITION), ("feedback", FEEDBACK)):
        link = consumer.session.attach_receiver(name, source=Source(address=address))
        refused = [event for event in consumer.turn() if isinstance(event, LinkDetached)]
        assert [str(event.error.condition) for event in refused] in ([], ["amqp:unauthorized-access"])
        opened |= {name} if link.attached else set()
    link = consumer.session.attach_sender("send", target=Target(address=DEVICEBOUND))
    consumer.turn()
    opened |= {"send"} if link.attached else set()
    asked = {"operation": "READ", "name": EVENTS_NAME, "type": "com.microsoft:eventhub"}
    return opened | ({"management"} if consumer.ask("$management", None, asked)[0] == 200 else set())


@pytest.mark.parametrize(
    ("path", "opens"),
    [
        ("", {"events", "feedback", "send", "management"}),
        (":5671/", {"events", "feedback", "send", "management"}),
        (f"/{EVENTS_NAME}", {"events", "management"}),
        (f"/{EVENTS_NAME.upper()}/", {"events", "management"}),
        (f"/{EVENTS_NAME}/ConsumerGroups/$default/Partitions/0", {"events"}),
        (f"/{EVENTS_NAME}/ConsumerGroups/$Default/Partitions/1", set()),
        (f"/{EVENTS_NAME}/$management", {"management"}),
        ("/messages/devicebound", {"send"}),
        ("/messages/servicebound/feedback", {"feedback"}),
        ("/messages", {"feedback", "send"}),
        ("/devices/d", set()),
        ("/devices", set()),
        (f"/{EVENTS_NAME}-2", set()),
    ],
)
def test_a_token_opens_the_part_that_it_speaks_for(house, path, opens):
    """A token that an owner signed for one device, or for one partition, opens nothing beside it."""
    assert _opened(house, _token(house, path)) == opens


def test_the_end_of_one_token_ends_what_it_alone_opened(house, device):
    """Another good token, for another part of the hub, keeps no reader."""
    consumer = Consumer(house)
    consumer.put_token(token=_token(house, "/messages"))
    consumer.put_token(seconds=60, properties={"name": "short"})
    link, _ = consumer.read()
    house.clock.advance(60)
    house.hub.tick()
    assert _detached(consumer.turn())[0] == "amqp:unauthorized-access"
    assert not link.attached


def test_a_connection_has_so_many_tokens(house):
    """A thousand; the next is 403, and one of a known name is still renewed."""
    consumer = Consumer(house)
    assert consumer.put_token()[0] == 200
    grant = consumer.front.tokens[EVENTS_NAME]
    consumer.front.tokens |= {f"token {number}": grant for number in range(999)}
    assert consumer.put_token(properties={"name": "one more"})[0] == 403
    assert consumer.put_token()[0] == 200


# -- from the hub's own address -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "rest"),
    [
        ("messages/events", ""),
        ("/messages/events/", ""),
        (f"amqps://{HOST}/messages/events/$management", "/$management"),
        ("/Messages/Events/ConsumerGroups/$Default/Partitions/0", "/ConsumerGroups/$Default/Partitions/0"),
        ("messages/events/nothing/of/that/kind", "/nothing/of/that/kind"),
    ],
)
@pytest.mark.parametrize("path", ["", "/messages/events"], ids=["for the hub", "for the events"])
def test_a_receiver_at_the_hubs_own_address_is_redirected(house, address, rest, path):
    """`amqp:link:redirect` with the Event Hub's address, as IoT Hub tells clients that know its name alone."""
    consumer = Consumer(house)
    consumer.put_token(token=_token(house, path, "service"))
    link = consumer.session.attach_receiver("r", source=Source(address=address))
    assert not [event for event in consumer.turn() if isinstance(event, LinkDetached)]
    assert link.attached  # it is told once the link is open
    link.grant(5)
    consumer.turn()
    house.hub.tick()
    [event] = [event for event in consumer.turn() if isinstance(event, LinkDetached)]
    assert str(event.error.condition) == "amqp:link:redirect"
    assert {str(name): value for name, value in event.error.info.items()} == {
        "hostname": HOST,
        "network-host": HOST,
        "port": 5671,
        "address": f"amqps://{HOST}:5671/{EVENTS_NAME}{rest}",
    }
    house.hub.tick()
    assert not consumer.transport.closed


def test_a_client_that_leaves_before_it_is_redirected(house):
    """Its detach is answered, and nothing more is said of that link."""
    consumer = Consumer(house)
    consumer.put_token()
    consumer.put_token(token=_token(house, ""))
    link = consumer.session.attach_receiver("r", source=Source(address="messages/events"))
    consumer.turn()
    link.detach()
    [event] = [event for event in consumer.turn() if isinstance(event, LinkDetached)]
    assert event.error is None
    house.hub.tick()
    assert consumer.turn() == []
    assert not consumer.transport.closed


@pytest.mark.parametrize(
    ("hostname", "told"),
    [("localhost", "localhost"), ("127.0.0.1", "127.0.0.1"), ("elsewhere.example", HOST), (None, HOST)],
)
def test_the_name_that_a_redirect_tells(house, hostname, told):
    """The one by which the client came, if it is the hub's; over clear text the port of clear text."""
    [host, port, address] = [
        target(house.hub, "messages/events", hostname, tls=tls)[Symbol(field)]
        for tls, field in ((True, "hostname"), (False, "port"), (False, "address"))
    ]
    assert (host, port, address) == (told, 5672, f"amqp://{told}:5672/{EVENTS_NAME}")


@pytest.mark.parametrize("policy", [None, "device", "registryReadWrite"])
def test_who_may_not_read_is_not_redirected(house, policy):
    """Where the events are is told to those who may read them."""
    consumer = Consumer(house)
    if policy:
        consumer.put_token(policy)
    consumer.session.attach_receiver("r", source=Source(address="messages/events"))
    assert _detached(consumer.turn())[0] == "amqp:unauthorized-access"


def test_addresses_that_azure_has_and_this_hub_has_not(house):
    """Refused with amqp:not-implemented and a word, never a guess."""
    consumer = Consumer(house)
    consumer.put_token(token=_token(house, ""))
    for number, (attach, address) in enumerate(
        [
            (consumer.session.attach_receiver, "/devices/d/messages/devicebound"),
            (consumer.session.attach_sender, "/devices/d/messages/events"),
            (consumer.session.attach_sender, "/devices/d/twin"),
        ]
    ):
        terminus = {"source": Source(address=address), "target": Target(address=address)}
        attach(f"l{number}", **terminus)
        assert _detached(consumer.turn())[0] == "amqp:not-implemented"


# -- places -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selector", "bodies"),
    [
        (None, [b"0", b"1", b"2"]),
        ("amqp.annotation.x-opt-offset > '-1'", [b"0", b"1", b"2"]),
        ("amqp.annotation.x-opt-offset > '0'", [b"1", b"2"]),
        ("amqp.annotation.x-opt-offset >= '1'", [b"1", b"2"]),
        ("amqp.annotation.x-opt-sequence-number > '1'", [b"2"]),
        ("amqp.annotation.x-opt-sequence-number >= '2'", [b"2"]),
        ("amqp.annotation.x-opt-enqueued-time > '1700000000000'", [b"1", b"2"]),
        ("amqp.annotation.x-opt-enqueued-time >= '1700000000000'", [b"0", b"1", b"2"]),
        ("amqp.annotation.x-opt-enqueued-time > '1700000001500'", [b"2"]),
        ("amqp.annotation.x-opt-offset > '@latest'", []),
        ("amqp.annotation.x-opt-enqueued-time > '9999999999999999999999'", []),
        ("amqp.annotation.x-opt-sequence-number >= '-99999999999999999999999'", [b"0", b"1", b"2"]),
    ],
)
def test_where_a_reader_starts(house, device, selector, bodies):
    """The filter of Event Hubs, by offset, sequence number and time."""
    consumer = Consumer(house)
    consumer.put_token()
    assert _bodies(consumer.read(selector=selector)[1]) == bodies


@pytest.mark.parametrize(
    "selector",
    [
        "",
        "nonsense",
        "amqp.annotation.x-opt-offset < '5'",
        "amqp.annotation.x-opt-offset > '5' OR 1=1",
        "amqp.annotation.x-opt-offset > 'five'",
        "amqp.annotation.x-opt-offset > '" + "9" * 5000 + "'",
        "amqp.annotation.x-opt-colour > '5'",
        7,
        ["list"],
        b"amqp.annotation.x-opt-offset > '1'",
    ],
    ids=lambda value: str(value)[:40],
)
def test_filters_that_are_none(house, selector):
    """Another filter is refused on its link; the connection goes on."""
    consumer = Consumer(house)
    consumer.put_token()
    assert _detached(consumer.read(selector=selector, name="bad")[1])[0] == "amqp:invalid-field"
    assert consumer.read()[0].attached


@pytest.mark.parametrize(
    "address",
    [
        "",
        "nothing",
        f"{EVENTS_NAME}/ConsumerGroups/nobody/Partitions/0",
        f"{EVENTS_NAME}/ConsumerGroups/$Default/Partitions/2",
        f"{EVENTS_NAME}/ConsumerGroups/$Default/Partitions/" + "9" * 5000,
        f"{EVENTS_NAME}/ConsumerGroups/$Default/Partitions/zero",
        "another/ConsumerGroups/$Default/Partitions/0",
        "/".join(["x"] * 2000),
        "amqps://",
        f"{EVENTS_NAME}/ConsumerGroups/'; DROP TABLE chunk; --/Partitions/0",
    ],
    ids=lambda value: value[:50],
)
def test_addresses_where_nothing_is(house, address):
    """Each is refused on its link with amqp:not-found, and the connection goes on."""
    consumer = Consumer(house)
    consumer.put_token()
    consumer.session.attach_receiver("bad", source=Source(address=address))
    assert _detached(consumer.turn())[0] == "amqp:not-found"
    assert consumer.read()[0].attached


@pytest.mark.parametrize("address", [f"{EVENTS_NAME}", f"/{EVENTS_NAME}/Partitions/0", "elsewhere"])
def test_nobody_sends_to_the_endpoint(house, address):
    """Only devices feed it."""
    consumer = Consumer(house)
    consumer.put_token("iothubowner")
    consumer.session.attach_sender("s", target=Target(address=address))
    assert _detached(consumer.turn())[0] in ("amqp:not-allowed", "amqp:not-found")


# -- reading ------------------------------------------------------------------------------------------


def test_credit_is_kept_to(house, device):
    """No more events than the reader asked for, and the rest when it asks again."""
    consumer = Consumer(house)
    consumer.put_token()
    link, told = consumer.read(credit=2)
    assert _bodies(told) == [b"0", b"1"]
    link.grant(5)
    assert _bodies(consumer.turn()) == [b"2"]
    device.publish(b"3")
    assert _bodies(consumer.turn()) == [b"3"]


def test_a_slow_reader_is_not_flooded(house, device):
    """While its socket is full nothing more is sent; when it has caught up it goes on where it was."""
    consumer = Consumer(house)
    consumer.put_token()
    consumer.read()
    consumer.front.pause_writing()
    device.publish(b"3")
    assert _bodies(consumer.turn()) == []
    consumer.front.resume_writing()
    assert _bodies(consumer.turn()) == [b"3"]


def test_a_readers_place_is_free_when_its_connection_goes(house, device):
    """Five readers; after one connection is cut, the next finds room."""
    consumers = [Consumer(house) for _ in range(6)]
    for consumer in consumers:
        consumer.put_token()
    for consumer in consumers[:5]:
        assert consumer.read()[0].attached
    assert _detached(consumers[5].read(name="sixth")[1])[0] == "amqp:resource-limit-exceeded"
    consumers[0].transport.close()
    assert consumers[5].read()[0].attached


def test_a_reader_with_a_higher_epoch_takes_over(house, device):
    """The one before is detached with amqp:link:stolen, a lower one is refused, an equal one takes over."""
    first, second, third = (Consumer(house) for _ in range(3))
    for consumer in (first, second, third):
        consumer.put_token()
    assert first.read(epoch=1)[0].attached
    assert second.read(epoch=2)[0].attached
    assert _detached(first.turn())[0] == "amqp:link:stolen"
    assert _detached(third.read(epoch=1, name="lower")[1])[0] == "amqp:link:stolen"
    assert _detached(third.read(name="plain")[1])[0] == "amqp:link:stolen"
    assert third.read(epoch=2, name="equal")[0].attached
    assert _detached(second.turn())[0] == "amqp:link:stolen"
    device.publish(b"3")
    assert _bodies(third.turn()) == [b"3"]
    assert _bodies(first.turn()) == _bodies(second.turn()) == []


@pytest.mark.parametrize("epoch", ["seven", [1], b"1"])
def test_an_epoch_that_is_none(house, epoch):
    """Refused on its link."""
    consumer = Consumer(house)
    consumer.put_token()
    assert _detached(consumer.read(epoch=epoch, name="bad")[1])[0] == "amqp:invalid-field"
    assert consumer.read()[0].attached


def test_a_reset_of_the_log_lets_readers_go_on(house, device):
    """A reader that waits at the end hears what comes after the messages were dropped."""
    consumer = Consumer(house)
    consumer.put_token()
    consumer.read()
    house.hub.log.clear()
    device.publish(b"new")
    assert _bodies(consumer.turn()) == [b"new"]


# -- time ---------------------------------------------------------------------------------------------


def test_without_a_token_a_connection_is_closed(house):
    """Twenty seconds to put one."""
    silent, good = Consumer(house), Consumer(house)
    good.put_token()
    house.clock.advance(19)
    house.hub.tick()
    assert not silent.transport.closed
    house.clock.advance(2)
    house.hub.tick()
    assert silent.transport.closed
    assert not good.transport.closed
    assert [e for e in silent.turn() if isinstance(e, ConnectionClosed)]


def test_the_tokens_end_ends_its_readers(house, device):
    """The link is detached when its token has ended; a new token in time keeps it."""
    short, renewed = Consumer(house), Consumer(house)
    for consumer in (short, renewed):
        consumer.put_token(seconds=60)
        consumer.read()
    house.clock.advance(59)
    renewed.put_token(seconds=60)
    house.clock.advance(2)
    house.hub.tick()
    assert _detached(short.turn())[0] == "amqp:unauthorized-access"
    device.publish(b"3")
    assert _bodies(renewed.turn()) == [b"3"]
    assert _bodies(short.turn()) == []


def test_ticks_after_the_end_do_no_harm(house, device, caplog):
    """A connection that is being closed, by a peer that does not read, is ticked on without a fault, and cut."""
    consumer = Consumer(house, transport=Slow)
    consumer.put_token(seconds=30)
    consumer.read()
    for _ in range(400):
        house.clock.advance(1)
        house.hub.tick()
    assert consumer.transport.closing
    assert "failed" not in caplog.text
    assert consumer.transport.closed, "it lingers for ever"
    assert consumer.front not in house.hub.connections


def test_heartbeats(house):
    """A peer that asks for signs of life gets them, and one that gives none is closed after the time-out."""
    consumer = Consumer(house, idle=10_000)
    consumer.put_token(seconds=100_000)
    before = len(consumer.transport.written)
    for _ in range(30):
        house.clock.advance(1)
        house.hub.tick()
    beats = consumer.transport.written[before:]
    assert beats == b"\0\0\0\x08\x02\0\0\0" * (len(beats) // 8)
    assert len(beats) // 8 >= 3
    house.clock.advance(241)
    house.hub.tick()
    assert consumer.transport.closed


def test_a_shut_down_hub_says_goodbye(house):
    """CLOSE with amqp:connection:forced."""
    consumer = Consumer(house)
    consumer.put_token()
    house.hub.close_connections()
    [closed] = [event for event in consumer.turn() if isinstance(event, ConnectionClosed)]
    assert str(closed.error.condition) == "amqp:connection:forced"


def test_links_confirmed_once(house, device):
    """An attach is answered once."""
    consumer = Consumer(house)
    consumer.put_token()
    assert len([event for event in consumer.read()[1] if isinstance(event, LinkConfirmed)]) == 1
