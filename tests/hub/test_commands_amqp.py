"""Cloud-to-device messages and feedback over AMQP: our engine as the client against the front, on a fake wire."""

import json
import uuid

import pytest
from house import HOST, LOCAL, FakeTransport

from iotedge_lab.errors import StoreUnavailable
from iotedge_lab.hub.amqp_front import AmqpFront
from iotedge_lab.hub.command_message import Draft
from iotedge_lab.hub.command_settings import CommandSettings
from iotedge_lab.wire import sas
from iotedge_lab.wire.amqp.connection import AmqpConnection
from iotedge_lab.wire.amqp.events import (
    ConnectionClosed,
    ConnectionOpened,
    DeliverySettled,
    LinkConfirmed,
    LinkDetached,
    MessageReceived,
    SaslMechanisms,
    SaslOutcome,
)
from iotedge_lab.wire.amqp.link import SND_SETTLED
from iotedge_lab.wire.amqp.message import Message, decode_message, encode_message
from iotedge_lab.wire.amqp.performatives import (
    ACCEPTED,
    RELEASED,
    Accepted,
    Modified,
    Properties,
    Rejected,
    Source,
    Target,
)
from iotedge_lab.wire.amqp.sasl import encode_plain
from iotedge_lab.wire.amqp.states import Role
from iotedge_lab.wire.amqp.types import Symbol, Timestamp, UInt, ULong

TO = "/devices/d/messages/devicebound"


class Service:
    """A service's AMQP connection to the hub, logged in with SASL PLAIN."""

    def __init__(self, house, *, policy="iothubowner", user=None, seconds=3600):
        self.house = house
        self.front = AmqpFront(house.hub, LOCAL)
        self.transport = FakeTransport(self.front)
        self.front.connection_made(self.transport)
        self.wire = AmqpConnection(role=Role.CLIENT, container_id="test", hostname=HOST)
        self._read = 0
        key = house.hub.access.policies[policy].primary_key
        token = sas.build(HOST, key, int(house.clock.now()) + seconds, policy)
        self.login = encode_plain(user or f"{policy}@sas.root.lab", token)
        self.wire.start()
        self.opening = self.turn()

    def turn(self):
        """Let both sides speak until neither has anything more to say; what the client was told."""
        seen = []
        while True:
            data = self.wire.data_to_send()
            if data and not self.transport.closed:
                self.front.data_received(data)
            self.house.turns.run()
            fresh = self.transport.written[self._read :]
            self._read = len(self.transport.written)
            if not fresh:
                return seen
            for event in self.wire.receive(fresh):
                seen.append(event)
                if isinstance(event, SaslMechanisms):
                    self.wire.sasl_init("PLAIN", self.login)

    def session(self):
        session = self.wire.begin_session()
        self.turn()
        return session

    def sender(self, address="/messages/devicebound"):
        link = self.session().attach_sender("s", target=Target(address=address), source=Source(address="me"))
        return link, self.turn()

    def receiver(self, address="/messages/serviceBound/feedback", *, credit=10, **options):
        link = self.session().attach_receiver("r", source=Source(address=address), **options)
        told = self.turn()
        link.grant(credit)
        return link, told + self.turn()

    def outcome(self, link, payload):
        """Send one message; what became of it."""
        link.send(payload)
        [settled] = [event for event in self.turn() if isinstance(event, DeliverySettled)]
        assert settled.settled
        return settled.state


def kinds(events, kind):
    found = [event for event in events if isinstance(event, kind)]
    assert found, f"no {kind.__name__} among {events}"
    return found


@pytest.fixture
def service(house):
    house.register("d")
    return Service(house)


def message(**changes):
    properties = {"to": TO, "message_id": "m"} | changes.pop("properties", {})
    return encode_message(Message(properties=Properties(**properties), data=(b"x",), **changes))


def queued(house, device="d"):
    found = house.hub.commands.receive(device)
    return found and found.command.draft


# -- to devices ----------------------------------------------------------------------------------------


def test_a_message_is_accepted_with_all_its_properties(house, service):
    """Each property of the message arrives in the queue under the name of IoT Hub, values as texts."""
    link, _ = service.sender()
    identifier = uuid.UUID(int=7)
    payload = message(
        properties={
            "message_id": ULong(12),
            "correlation_id": identifier,
            "user_id": b"me",
            "content_type": Symbol("application/json"),
            "content_encoding": Symbol("utf-8"),
            "absolute_expiry_time": Timestamp(1_700_000_060_000),
        },
        application_properties={
            "text": "t",
            "int": UInt(5),
            "yes": True,
            "none": None,
            "f": 1.5,
            "iothub-ack": "full",
        },
    )
    assert service.outcome(link, payload) == Accepted()
    assert queued(house) == Draft(
        "d",
        b"x",
        {
            "message-id": "12",
            "correlation-id": str(identifier),
            "user-id": "me",
            "content-type": "application/json",
            "content-encoding": "utf-8",
        },
        {"text": "t", "int": "5", "yes": "true", "none": None, "f": "1.5"},
        "full",
        1_700_000_060_000,
    )


@pytest.mark.parametrize(
    "body",
    [{"data": (b"a", b"b")}, {"value": "ab"}, {"value": b"ab"}],
    ids=["two data sections", "a text", "bytes"],
)
def test_bodies_of_each_kind_arrive_as_bytes(house, service, body):
    """Data sections are joined; an amqp-value that is bytes or a text is the body."""
    link, _ = service.sender()
    payload = encode_message(Message(properties=Properties(to=TO), **body))
    assert service.outcome(link, payload) == Accepted()
    assert queued(house).body == b"ab"


@pytest.mark.parametrize(
    ("device", "to"),
    [
        ("d", "/devices/d/messages/devicebound"),
        ("d", "devices/d/messages/deviceBound"),
        ("a:b@c", "/devices/a%3Ab%40c/messages/devicebound"),
        ("a:b@c", "/devices/a:b@c/messages/devicebound"),
        ("a%20b", "/devices/a%20b/messages/devicebound"),
        ("a%20b", "/devices/a%2520b/messages/devicebound"),
    ],
)
def test_the_address_is_read_encoded_or_not(house, service, device, to):
    """SDKs differ in whether they percent-encode the device id; an id may itself hold '%'."""
    if device != "d":
        house.register(device)
    link, _ = service.sender()
    assert service.outcome(link, message(properties={"to": to})) == Accepted()
    assert queued(house, device).body == b"x"


@pytest.mark.parametrize(
    ("payload", "condition", "says"),
    [
        (message(properties={"to": "/devices/nobody/messages/devicebound"}), "amqp:not-found", "404001"),
        (message(properties={"to": None}), "amqp:invalid-field", "no `to`"),
        (message(properties={"to": ULong(1)}), "amqp:invalid-field", "no `to`"),
        (message(properties={"to": ""}), "amqp:invalid-field", "`to` is ''"),
        (message(properties={"to": "/devices//messages/devicebound"}), "amqp:invalid-field", "`to` is"),
        (message(properties={"to": TO + "/more"}), "amqp:invalid-field", "`to` is"),
        (
            message(properties={"to": "/devices/d/modules/m/messages/devicebound"}),
            "amqp:invalid-field",
            "modules",
        ),
        (message(properties={"message_id": "a b"}), "amqp:invalid-field", "message-id"),
        (message(properties={"message_id": b"\xff"}), "amqp:invalid-field", "message-id"),
        (message(properties={"correlation_id": b"\xff"}), "amqp:invalid-field", "correlation-id"),
        (message(properties={"user_id": b"\xff"}), "amqp:invalid-field", "user-id"),
        (message(properties={"absolute_expiry_time": Timestamp(1)}), "amqp:invalid-field", "milliseconds"),
        (message(application_properties={"iothub-ack": "loud"}), "amqp:invalid-field", "iothub-ack"),
        (message(application_properties={"iothub-ack": None}), "amqp:invalid-field", "iothub-ack"),
        (message(application_properties={"iothub-ack": 1}), "amqp:invalid-field", "iothub-ack"),
        (message(application_properties={"a": [1]}), "amqp:invalid-field", "'a' is a list"),
        (message(application_properties={"a": b"1"}), "amqp:invalid-field", "'a' is a bytes"),
        (message(application_properties={"a b": "1"}), "amqp:invalid-field", "'a b'"),
        (message(application_properties={ULong(1): "1"}), "amqp:invalid-field", "names are texts"),
        (
            encode_message(Message(properties=Properties(to=TO), sequence=([1],))),
            "amqp:invalid-field",
            "body",
        ),
        (encode_message(Message(properties=Properties(to=TO), value=5)), "amqp:invalid-field", "body"),
        (
            encode_message(Message(properties=Properties(to=TO), data=(b"x" * 65_537,))),
            "amqp:link:message-size-exceeded",
            "413001",
        ),
        (b"no message", "amqp:decode-error", ""),
        (b"", "amqp:invalid-field", "no `to`"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else value,
)
def test_a_malformed_message_is_rejected_and_the_link_goes_on(house, service, payload, condition, says):
    """Each refusal has its condition and says what is wrong; the next message is taken."""
    link, _ = service.sender()
    state = service.outcome(link, payload)
    assert isinstance(state, Rejected)
    assert state.error.condition == condition
    assert says in state.error.description
    assert house.hub.commands.count("d") == 0
    assert service.outcome(link, message()) == Accepted()


def test_the_51st_message_is_rejected(house, service):
    """amqp:resource-limit-exceeded with DeviceMaximumQueueDepthExceeded, as the service SDKs know it."""
    link, _ = service.sender()
    states = [service.outcome(link, message()) for _ in range(51)]
    assert states[:50] == [Accepted()] * 50
    assert states[50].error.condition == "amqp:resource-limit-exceeded"
    assert "DeviceMaximumQueueDepthExceeded" in states[50].error.description
    assert "403004" in states[50].error.description


def test_a_store_that_refuses_gives_an_error_that_sdks_retry(house, service, monkeypatch):
    """amqp:internal-error: nothing was stored, and uamqp sends again by itself."""
    link, _ = service.sender()

    def full(*_):
        raise StoreUnavailable("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(house.hub.commands, "_insert", full)
        state = service.outcome(link, message())
    assert state.error.condition == "amqp:internal-error"
    assert service.outcome(link, message()) == Accepted()


def test_a_service_that_has_gone_harms_nothing(house, service):
    """Its message is stored all the same; nobody is left to be told."""
    link, _ = service.sender()
    link.send(message())
    service.front.data_received(service.wire.data_to_send())
    service.transport.close()
    house.turns.run()
    assert house.hub.commands.count("d") == 1


# -- who may -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["device", "registryReadWrite"])
@pytest.mark.parametrize("kind", ["sender", "receiver"])
def test_links_need_service_connect(house, policy, kind):
    """A policy without ServiceConnect opens neither endpoint."""
    _, told = getattr(Service(house, policy=policy), kind)()
    [gone] = kinds(told, LinkDetached)
    assert gone.error.condition == "amqp:unauthorized-access"


@pytest.mark.parametrize("kind", ["sender", "receiver"])
def test_links_open_with_service_connect(house, kind):
    """The policy `service` is enough, and the case of the address does not matter."""
    service = Service(house, policy="service")
    kinds(service.sender("amqps://localhost/Messages/DeviceBound")[1], LinkConfirmed)
    kinds(service.receiver("messages/servicebound/feedback")[1], LinkConfirmed)


def test_a_token_that_has_expired_sends_no_more(house):
    """A link that was opened with it is detached."""
    house.register("d")
    service = Service(house, seconds=60)
    link, _ = service.sender()
    house.clock.advance(61)
    link.send(message())
    [gone] = kinds(service.turn(), LinkDetached)
    assert gone.error.condition == "amqp:unauthorized-access"
    assert house.hub.commands.count("d") == 0


def test_a_plain_login_is_checked(house):
    """PLAIN with the token as password opens the connection; another policy's name as the user does not."""
    kinds(Service(house).opening, ConnectionOpened)
    refused = Service(house, user="service@sas.root.lab").opening
    assert kinds(refused, SaslOutcome)[0].code == 1
    kinds(refused, ConnectionClosed)
    kinds(Service(house, seconds=-10).opening, ConnectionClosed)


# -- feedback ------------------------------------------------------------------------------------------


def feedback(house, *mids):
    """Have messages end, and their feedback go out."""
    house.hub.commands.configure(CommandSettings(feedback_interval=0))
    if house.hub.identities.find("d") is None:
        house.register("d")
    for mid in mids:
        house.hub.commands.send(Draft("d", b"x", {"message-id": mid}, ack="full"), lambda _: None)
        house.turns.run()
        house.hub.commands.complete("d", house.hub.commands.receive("d").lock)
        house.hub.tick()
        house.turns.run()


def records(event):
    return [one["originalMessageId"] for one in json.loads(decode_message(event.payload).body)]


def test_feedback_has_the_documented_form(house, service):
    """Content type, user id of the hub, time of enqueueing; the delivery tag is the lock, a GUID."""
    feedback(house, "1")
    _, told = service.receiver()
    [event] = kinds(told, MessageReceived)
    found = decode_message(event.payload)
    assert found.properties.content_type == "application/vnd.microsoft.iothub.feedback.json"
    assert found.properties.user_id == b"lab"
    assert found.annotations[Symbol("iothub-enqueuedtime")] == int(house.clock.now() * 1000)
    assert len(event.delivery_tag) == 16
    assert records(event) == ["1"]


@pytest.mark.parametrize(
    ("state", "again"),
    [(ACCEPTED, False), (Rejected(), False), (RELEASED, True), (Modified(delivery_failed=True), True)],
)
def test_the_outcome_decides_whether_feedback_comes_again(house, service, state, again):
    """Accepted and rejected are the end of it; released and modified bring it back, counted."""
    feedback(house, "1")
    link, told = service.receiver()
    [event] = kinds(told, MessageReceived)
    link.settle(event.delivery_id, state)
    found = [one for one in service.turn() if isinstance(one, MessageReceived)]
    assert len(found) == again
    if again:
        assert decode_message(found[0].payload).header.delivery_count == 1


def test_feedback_comes_as_it_is_made_and_as_credit_allows(house, service):
    """A waiting link is told at once; one without credit is told when it has some."""
    link, told = service.receiver(credit=1)
    assert not [one for one in told if isinstance(one, MessageReceived)]
    feedback(house, "1", "2")
    assert [records(one) for one in kinds(service.turn(), MessageReceived)] == [["1"]]
    link.grant(1)
    assert [records(one) for one in kinds(service.turn(), MessageReceived)] == [["2"]]


@pytest.mark.parametrize("end", ["detach", "break", "expiry"])
def test_feedback_that_was_not_settled_goes_to_the_next_reader(house, end):
    """A link that ends by itself, with its connection or with its token gives back what it held."""
    first, second = Service(house, seconds=60), Service(house)
    feedback(house, "1")
    link, told = first.receiver()
    kinds(told, MessageReceived)
    _, told = second.receiver()
    assert not [one for one in told if isinstance(one, MessageReceived)]
    if end == "detach":
        link.detach()
        first.turn()
    elif end == "break":
        first.transport.close()
    else:
        house.clock.advance(60)
        house.hub.tick()
        [gone] = kinds(first.turn(), LinkDetached)
        assert gone.error.condition == "amqp:unauthorized-access"
    assert [records(one) for one in kinds(second.turn(), MessageReceived)] == [["1"]]


def test_a_lock_that_has_ended_is_settled_without_effect(house, service):
    """Feedback that was held for too long comes again, and the late outcome is passed over."""
    feedback(house, "1")
    link, told = service.receiver()
    [event] = kinds(told, MessageReceived)
    house.clock.advance(60)
    house.hub.tick()
    [again] = kinds(service.turn(), MessageReceived)
    link.settle(event.delivery_id, ACCEPTED)
    service.turn()
    link.settle(again.delivery_id, ACCEPTED)
    service.turn()
    assert house.hub.commands.feedback.take() is None


def test_a_link_of_settled_deliveries_completes_what_it_sends(house, service):
    """snd-settle-mode settled is receive-and-delete."""
    feedback(house, "1")
    _, told = service.receiver(snd_settle_mode=SND_SETTLED)
    assert kinds(told, MessageReceived)[0].settled
    service.transport.close()
    assert house.hub.commands.feedback.take() is None


def test_a_reader_that_does_not_read_is_not_sent_more(house, service):
    """While the socket is full nothing is locked for it."""
    service.receiver()
    service.front.pause_writing()
    feedback(house, "1")
    assert house.hub.commands.feedback.take() is not None
    feedback(house, "2")
    service.front.resume_writing()
    assert [records(one) for one in kinds(service.turn(), MessageReceived)] == [["2"]]


def test_feedback_waits_while_the_store_refuses(house, service, monkeypatch):
    """A message that cannot be locked is not sent, and the link goes on when it can be."""
    service.receiver()

    def full():
        raise StoreUnavailable("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(house.hub.commands.feedback, "take", full)
        feedback(house, "1")
        assert service.turn() == []
    feedback(house, "2")
    assert [records(one) for one in kinds(service.turn(), MessageReceived)] == [["1"], ["2"]]
