"""The parts of a link by themselves: delays, messages on their way, receipts, subscriptions, answers."""

import pytest
from fake_cloud import EDGE

from iotedge_lab.edge.errors import UpstreamAway, UpstreamRefused
from iotedge_lab.edge.upstream import CloudIdentity, Patience, Registered
from iotedge_lab.edge.upstream.answers import refusal
from iotedge_lab.edge.upstream.receipts import Receipts
from iotedge_lab.edge.upstream.subscriptions import Subscriptions, Topic
from iotedge_lab.edge.upstream.telemetry import MESSAGE_LIMIT, Telemetry
from iotedge_lab.edge.upstream.twin_requests import read_twin, read_version, write_patch
from iotedge_lab.errors import (
    ArgumentInvalid,
    DeviceNotFound,
    MessageTooLarge,
    ModuleAlreadyExists,
    ModuleNotFound,
    PreconditionFailed,
    ProtocolViolation,
    QuotaExceeded,
    Unauthorized,
)
from iotedge_lab.wire.mqtt.client import MqttClient
from iotedge_lab.wire.mqtt.encode import encode
from iotedge_lab.wire.mqtt.packets import ConnAck
from iotedge_lab.wire.mqtt.server import MqttServer
from iotedge_lab.wire.topics import TwinResponse

# -- delays --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failures", "delay"), [(0, 1), (1, 1), (2, 2), (3, 4), (5, 16), (6, 30), (10_000, 30)]
)
def test_delays(failures, delay):
    """They double from 1 s up to 30 s, a quarter more or less."""
    patience = Patience()
    assert patience.delay(failures, 0.5) == delay
    assert (patience.delay(failures, 0.0), patience.delay(failures, 1.0)) == (0.75 * delay, 1.25 * delay)
    assert 22 < patience.refused(0.0) < patience.refused(1.0) < 38


# -- messages on their way -----------------------------------------------------------------------------


def open_client():
    """A client that a server has let in."""
    client = MqttClient("edge", "h/edge/", "t")
    client.connect()
    client.receive(encode(ConnAck()))
    return client


def test_messages_are_called_as_the_device_or_module_is():
    """The topic has the property bag as it was given."""
    server = MqttServer()
    server.receive(MqttClient("edge", "h/edge/", "t").connect())
    server.connack()
    for identity, topic in (
        (EDGE, b"devices/edge/messages/events/a=b"),
        (CloudIdentity("edge", "m"), b"devices/edge/modules/m/messages/events/a=b"),
    ):
        data = Telemetry(identity, 10, 1000).publish(open_client(), "a=b", b"body", lambda: None)
        (run,) = server.receive(data)
        assert (run.topics, run.count) == ((topic,), 1)


def test_the_window():
    """So many messages, or so many bytes; what has arrived makes room, once, and is told."""
    done = []
    for telemetry in (Telemetry(EDGE, 2, 10_000), Telemetry(EDGE, 100, 50)):
        client = open_client()
        for number in (1, 2):
            assert telemetry.room
            telemetry.publish(client, "", b"body", lambda number=number: done.append(number))
        assert (telemetry.room, len(telemetry)) == (False, 2)
        for call in telemetry.arrived((1, 1, 77)):
            call()
        assert (done, telemetry.room, len(telemetry)) == ([1], True, 1)
        assert telemetry.arrived((1,)) == []
        assert (telemetry.sent, telemetry.acknowledged) == (2, 1)
        assert (telemetry.forget(), telemetry.forget(), telemetry.room) == (1, 0, True)
        done.clear()


@pytest.mark.parametrize("bag", ["a=#", "a=+", "a=\0", "a=%FF", "a" * 66_000, "\ud800"])
def test_properties_that_cannot_be_sent(bag):
    """They are refused here: the hub would close the connection for them, again and again."""
    telemetry, client = Telemetry(EDGE, 10, 10**9), open_client()
    with pytest.raises(ArgumentInvalid, match="properties of a message"):
        telemetry.publish(client, bag, b"", lambda: None)
    assert len(telemetry) == 0
    assert not client.in_flight


def test_messages_that_are_too_large():
    """256 KB, properties included, is the most."""
    telemetry, client = Telemetry(EDGE, 10, 10**9), open_client()
    telemetry.publish(client, "a=b", bytes(MESSAGE_LIMIT - 3), lambda: None)
    with pytest.raises(MessageTooLarge, match="262,145 bytes"):
        telemetry.publish(client, "a=b", bytes(MESSAGE_LIMIT - 2), lambda: None)
    assert len(telemetry) == len(client.in_flight) == 1


def test_many_different_properties():
    """What is remembered of them is bounded, and forgetting changes nothing."""
    telemetry, client = Telemetry(EDGE, 10_000, 10**9), open_client()
    for number in (*range(1500), 0):
        assert f"/events/n={number}".encode() in telemetry.publish(client, f"n={number}", b"", lambda: None)


# -- receipts ------------------------------------------------------------------------------------------


def acked(receipts):
    """The packet ids of the PUBACKs that may go out."""
    data = receipts.acks()
    return [int.from_bytes(data[at + 2 : at + 4], "big") for at in range(0, len(data), 4)]


def test_acknowledgements_keep_the_order_of_the_messages():
    """One that is not done holds back those after it."""
    receipts = Receipts()
    first, second, third = (receipts.came(number, b"t", b"b", dup=False)[0] for number in (7, 8, 9))
    assert len({first, second, third}) == 3
    assert receipts.done(second)
    assert acked(receipts) == []
    assert receipts.done(first)
    assert acked(receipts) == [7, 8]
    assert acked(receipts) == []
    assert receipts.done(third)
    assert acked(receipts) == [9]
    assert not receipts.done(third)
    assert not receipts.done(77)
    assert len(receipts) == 0


def test_a_message_that_comes_again_keeps_its_receipt():
    """If the hub says so by DUP, and packet id, topic and body are the same; one that was done is so still."""
    receipts = Receipts()
    first, second = (receipts.came(number, b"t", b"b", dup=False)[0] for number in (1, 2))
    receipts.lost()
    assert receipts.done(second)
    assert acked(receipts) == []
    assert receipts.came(1, b"t", b"b", dup=True) == (first, False)
    assert receipts.came(2, b"t", b"b", dup=True) == (second, True)
    assert receipts.done(first)
    assert acked(receipts) == [1, 2]


@pytest.mark.parametrize(("packet_id", "topic", "body", "dup"), [
    (1, b"t", b"b", False), (2, b"t", b"b", True), (1, b"u", b"b", True), (1, b"t", b"c", True),
])  # fmt: skip
def test_another_message_has_a_receipt_of_its_own(packet_id, topic, body, dup):
    """Though it may look alike: a hub that was restarted begins its packet ids anew."""
    receipts = Receipts()
    first, _ = receipts.came(1, b"t", b"b", dup=False)
    receipts.lost()
    second, done = receipts.came(packet_id, topic, body, dup=dup)
    assert second != first
    assert not done


def test_messages_of_quality_0_are_not_acknowledged():
    """They have no packet id."""
    receipts = Receipts()
    receipt, _ = receipts.came(0, b"t", b"b", dup=False)
    receipts.done(receipt)
    assert acked(receipts) == []


def test_messages_that_never_come_again_are_forgotten():
    """In time: what is remembered is bounded."""
    receipts = Receipts()
    first = receipts.came(1, b"t", b"b", dup=False)[0]
    for number in range(1500):
        receipts.came(2, b"t", b"%d" % number, dup=False)
    receipts.lost()
    assert not receipts.done(first)


# -- subscriptions -------------------------------------------------------------------------------------

COMMANDS = ("devices/edge/messages/devicebound/#", 1)
METHODS = ("$iothub/methods/POST/#", 0)
DESIRED = ("$iothub/twin/PATCH/properties/desired/#", 0)
ANSWERS = ("$iothub/twin/res/#", 0)


class Asked:
    """Subscriptions, a client, and what the server reads of what is written."""

    def __init__(self, identity=EDGE):
        self.subscriptions = Subscriptions(identity)
        self.client = open_client()
        self.server = MqttServer()
        self.server.receive(MqttClient("edge", "h/edge/", "t").connect())
        self.server.connack()
        self.last = None

    def want(self, topic, on=True):
        return self.read(self.subscriptions.want(self.client, topic, on))

    def read(self, data):
        """The packets, as (kind, filters)."""
        found = self.server.receive(data)
        self.last = found[-1] if found else None
        return [(type(event).__name__, event.filters) for event in found]

    def confirm(self, *codes):
        return self.subscriptions.confirmed(self.last.packet_id, codes)


def test_a_new_connection_says_all_that_it_wants():
    """And takes back what another process may have left in the session."""
    asked = Asked()
    asked.subscriptions.want_later(Topic.METHODS, on=True)
    asked.subscriptions.want_later(Topic.COMMANDS, on=True)
    assert asked.read(asked.subscriptions.connected(asked.client, present=True)) == [
        ("Unsubscribe", (DESIRED[0], ANSWERS[0])),
        ("Subscribe", (COMMANDS, METHODS)),
    ]
    assert not asked.subscriptions.settled
    assert asked.confirm(1, 0) == []
    assert asked.subscriptions.settled
    assert asked.subscriptions.has(Topic.METHODS)
    asked.subscriptions.lost()
    assert not asked.subscriptions.has(Topic.METHODS)
    assert asked.read(asked.subscriptions.connected(asked.client, present=False)) == [
        ("Subscribe", (COMMANDS, METHODS))
    ]


def test_a_session_that_is_new_has_nothing_to_take_back():
    """Nothing wanted, nothing written."""
    asked = Asked()
    assert asked.subscriptions.connected(asked.client, present=False) == b""
    assert asked.subscriptions.settled


def test_a_module_has_no_messages_from_the_cloud():
    """It is never subscribed to them, nor does it take them back."""
    asked = Asked(CloudIdentity("edge", "m"))
    assert not asked.subscriptions.knows(Topic.COMMANDS)
    assert asked.read(asked.subscriptions.connected(asked.client, present=True)) == [
        ("Unsubscribe", (METHODS[0], DESIRED[0], ANSWERS[0]))
    ]


def test_wishes_on_an_open_connection():
    """Each is written once."""
    asked = Asked()
    asked.subscriptions.connected(asked.client, present=False)
    assert asked.want(Topic.DESIRED) == [("Subscribe", (DESIRED,))]
    assert asked.want(Topic.DESIRED) == []
    asked.subscriptions.confirmed(1, (0,))
    assert asked.want(Topic.DESIRED, on=False) == [("Unsubscribe", (DESIRED[0],))]
    assert asked.want(Topic.DESIRED, on=False) == []
    assert not asked.subscriptions.has(Topic.DESIRED)


def test_a_suback_for_what_is_not_wanted_any_more():
    """It confirms nothing, also where the same was asked for again meanwhile."""
    asked = Asked()
    asked.want(Topic.DESIRED)
    stale = asked.last.packet_id
    asked.want(Topic.DESIRED, on=False)
    asked.want(Topic.DESIRED)
    assert asked.subscriptions.confirmed(stale, (0,)) == []
    assert not asked.subscriptions.has(Topic.DESIRED)
    assert asked.confirm(0) == []
    assert asked.subscriptions.has(Topic.DESIRED)
    assert asked.subscriptions.confirmed(9999, (0,)) == []


@pytest.mark.parametrize("codes", [(1, 128), (1,)])
def test_what_the_hub_does_not_grant(codes):
    """It is told, and asked for again on the next connection only; fewer answers than questions are no yes."""
    asked = Asked()
    for topic in (Topic.METHODS, Topic.COMMANDS):
        asked.subscriptions.want_later(topic, on=True)
    asked.read(asked.subscriptions.connected(asked.client, present=False))
    assert asked.confirm(*codes) == [Topic.METHODS]
    assert asked.subscriptions.settled
    asked.subscriptions.check({Topic.COMMANDS})
    with pytest.raises(UpstreamRefused, match="listen to direct methods"):
        asked.subscriptions.check({Topic.METHODS})
    asked.subscriptions.connected(asked.client, present=False)
    asked.subscriptions.check({Topic.METHODS})


# -- answers -------------------------------------------------------------------------------------------

REFUSALS = [
    (400, "ArgumentInvalid", ArgumentInvalid),
    (400, "", ArgumentInvalid),
    (401, "IotHubUnauthorizedAccess", Unauthorized),
    (401, "", Unauthorized),
    (403, "IotHubQuotaExceeded", QuotaExceeded),
    (403, "", UpstreamRefused),
    (404, "DeviceNotFound", DeviceNotFound),
    (404, "ModuleNotFound", ModuleNotFound),
    (404, "", DeviceNotFound),
    (408, "", UpstreamAway),
    (409, "ModuleAlreadyExistsOnDevice", ModuleAlreadyExists),
    (409, "Other", UpstreamRefused),
    (412, "PreconditionFailed", PreconditionFailed),
    (413, "", MessageTooLarge),
    (418, "", UpstreamRefused),
    (418, "DeviceNotFound", UpstreamRefused),
    (429, "ThrottlingException", UpstreamAway),
    (500, "ServerError", UpstreamAway),
    (501, "NotImplemented", UpstreamRefused),
    (503, "", UpstreamAway),
    (504, "", UpstreamAway),
]


@pytest.mark.parametrize(("status", "error", "kind"), REFUSALS)
def test_refusals(status, error, kind):
    """Each is an error of ours with the hub's words; those that pass by themselves are UpstreamAway."""
    made = refusal(status, error, "the word", 7.0)
    assert type(made) is kind
    assert "the word" in str(made)
    assert getattr(made, "retry_after", 7.0) == 7.0
    assert getattr(made, "http_status", status) == status
    assert str(refusal(status, error, ""))


def test_twins():
    """A twin, and what is none."""
    assert read_twin(TwinResponse(200, "r"), b'{"desired": {"$version": 3}, "reported": {}}')["desired"] == {
        "$version": 3
    }
    for body in (b"", b"[]", b"{}", b'{"desired": {}, "reported": 1}', b"[" * 100_000, b"\xff"):
        with pytest.raises(UpstreamAway, match="no twin"):
            read_twin(TwinResponse(200, "r"), body)
    with pytest.raises(UpstreamAway, match="throttling"):
        read_twin(TwinResponse(429, "r"), b"")


def test_versions():
    """The version of a patch that was taken, and the hub's word for one that was not."""
    assert read_version(TwinResponse(204, "r", 5), b"") == 5
    assert read_version(TwinResponse(200, "r", 5), b"") == 5
    with pytest.raises(UpstreamAway, match="version"):
        read_version(TwinResponse(204, "r"), b"")
    for body, word in ((b'{"message": "too deep"}', "too deep"), (b"no JSON", "no JSON"), (b"", "400")):
        with pytest.raises(ArgumentInvalid, match=word):
            read_version(TwinResponse(400, "r"), body)


def test_patches():
    """What cannot be JSON, or is too long to be sent, is refused here."""
    assert write_patch({"a": None}) == b'{"a":null}'
    deep = {}
    for _ in range(100_000):
        deep = {"a": deep}
    for patch in ({"a": float("nan")}, {"a": {1}}, {"a": "b" * 300_000}, deep):
        with pytest.raises(ArgumentInvalid, match="patch of reported properties"):
            write_patch(patch)
    while deep:  # Python's own destructor would recurse
        deep = deep.pop("a")


# -- identities ----------------------------------------------------------------------------------------

IDENTITIES = [
    Registered("d"),
    Registered("d", "m", "g", "e", "sas", "k1", "k2", managed_by="IotEdge"),
    Registered("d", auth_type="selfSigned", thumbprints=("AB" * 20, "CD" * 20), enabled=False),
    Registered("d", auth_type="selfSigned", thumbprints=("AB" * 20,)),
    Registered("d", iot_edge=True, device_scope="s", parent_scopes=("p", "q")),
    Registered("d", auth_type="none"),
]


@pytest.mark.parametrize("identity", IDENTITIES)
def test_identities_are_written_and_read(identity):
    """In the hub's shape; the key is in no repr."""
    assert Registered.from_json(identity.to_json()) == identity
    assert "k1" not in repr(identity)
    assert identity.has_key is (identity.primary_key != "")


@pytest.mark.parametrize("body", [
    None, [], {}, {"deviceId": ""}, {"deviceId": 5}, {"deviceId": "d", "authentication": []},
    {"deviceId": "d", "authentication": {"symmetricKey": "k"}}, {"deviceId": "d", "parentScopes": "s"},
])  # fmt: skip
def test_what_is_no_identity(body):
    """Told as the hub's fault."""
    with pytest.raises(ProtocolViolation):
        Registered.from_json(body)
