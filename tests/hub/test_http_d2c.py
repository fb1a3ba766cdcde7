"""Telemetry over HTTPS: what a message carries, batches, limits, who may send."""

import base64
import json
import time

import pytest
from finding import annotations, body, find, properties
from http_calls import Caller
from hub_clients import Consumer

from iotedge_lab.hub.http_telemetry import BATCH, BATCH_LIMIT, MESSAGE_LIMIT
from iotedge_lab.rest import quote
from iotedge_lab.wire import sas
from iotedge_lab.wire.connection_string import ConnectionString


@pytest.fixture(scope="module")
def sender(lab):
    """A device that speaks HTTPS."""
    lab.rest().call("PUT", "/devices/sender", {"deviceId": "sender"})
    return Caller(lab, "sender")


@pytest.fixture(scope="module")
def consumer(lab):
    """The vendor's consumer, which has all from the beginning."""
    made = Consumer(lab)
    yield made
    made.close()


def _count(lab):
    return lab.status()["messages"]


def test_acknowledged_is_kept(lab, sender):  # first: a consumer that is cut leaves its socket behind
    """What was answered with 204 is there after the hub was killed."""
    for number in range(20):
        assert sender.send(b"kept %d" % number).status_code == 204
    before = _count(lab)
    lab.crash()
    lab.start()
    assert _count(lab) == before


HEADERS = {
    # header: the field or property that the consumer sees
    ("iothub-messageid", "m 1"): lambda event: event.raw_amqp_message.properties.message_id,
    ("IoTHub-MessageId", "m-2"): lambda event: event.raw_amqp_message.properties.message_id,
    ("iothub-correlationid", "c"): lambda event: event.correlation_id,
    ("iothub-userid", "u"): lambda event: event.raw_amqp_message.properties.user_id,
    ("iothub-contenttype", "application/json"): lambda event: event.content_type,
    ("Content-Type", "application/json"): lambda event: event.content_type,
    ("iothub-contentencoding", "utf-8"): lambda event: event.raw_amqp_message.properties.content_encoding,
    ("Content-Encoding", "utf-8"): lambda event: event.raw_amqp_message.properties.content_encoding,
    ("iothub-creationtimeutc", "2026-11-22T10:00:00Z"): lambda event: annotations(event)[
        "iothub-creation-time-utc"
    ],
    ("iothub-creation-time-utc", "2026-11-22T10:00:01Z"): lambda event: annotations(event)[
        "iothub-creation-time-utc"
    ],
    ("iothub-interface-id", "urn:azureiot:Security:SecurityAgent:1"): lambda event: annotations(event)[
        "iothub-interface-id"
    ],
    ("iothub-app-Speed", "88"): lambda event: properties(event).get("Speed"),
    ("iothub-app-odd", "ä&=/+%#$"): lambda event: properties(event).get("odd"),
}


def test_what_a_message_carries(sender, consumer):
    """Each header of the table arrives as what it stands for, and nothing else does."""
    cases = [(name, value, seen) for (name, value), seen in HEADERS.items()]
    for number, (name, value, _) in enumerate(cases):
        answer = sender.send(b"case %d" % number, {name: value.encode()})
        assert (answer.status_code, answer.content) == (204, b"")
    for number, (name, value, seen) in enumerate(cases):
        event = find(consumer, lambda event, number=number: body(event) == b"case %d" % number)
        got = seen(event)
        assert (got.decode() if isinstance(got, bytes) else got) == value, name
        assert len(properties(event)) == name.startswith("iothub-app-"), name
    told = annotations(event)
    assert told["iothub-connection-device-id"] == "sender"
    assert json.loads(told["iothub-connection-auth-method"])["type"] == "sas"
    assert told["iothub-message-source"] == "Telemetry"


@pytest.mark.parametrize("kind", [None, "application/octet-stream", "application/x-www-form-urlencoded"])
def test_a_type_that_nobody_chose_is_none(sender, consumer, kind):
    """What an HTTP client says by itself is no statement about the message."""
    sent = f"by itself {kind}".encode()
    assert sender.send(sent, {"Content-Type": kind} if kind else {}).status_code == 204
    event = find(consumer, lambda event: body(event) == sent)
    assert event.content_type is None


@pytest.mark.parametrize("sent", [b"", b"\0\xff binary", b"x" * 200_000], ids=["empty", "binary", "large"])
def test_bodies_arrive_as_they_are(sender, consumer, sent):
    """Any bytes, none included."""
    assert sender.send(sent, {"iothub-app-test": str(len(sent))}).status_code == 204
    event = find(consumer, lambda event: properties(event).get("test") == str(len(sent)))
    assert body(event) == sent


def test_a_module_sends(lab, device, consumer):
    """The module's own path, with its own token."""
    lab.rest().call("PUT", f"/devices/{device}/modules/m", {"moduleId": "m"})
    assert Caller(lab, device, "m").send(b"from the module").status_code == 204
    told = annotations(find(consumer, lambda event: body(event) == b"from the module"))
    assert (told["iothub-connection-device-id"], told["iothub-connection-module-id"]) == (device, "m")
    assert json.loads(told["iothub-connection-auth-method"])["scope"] == "module"


@pytest.mark.parametrize("name", ["a-b:c.d%_*?!(),=@$'e", "%2e%2e", "x" * 128])
def test_any_id_may_send(lab, name):
    """Ids with every allowed character, percent-encoded in the address."""
    lab.rest().call("PUT", f"/devices/{quote(name)}", {"deviceId": name})
    before = _count(lab)
    caller = Caller(lab, name)
    assert caller.send(b"x").status_code == 204
    assert _count(lab) == before + 1


# -- batches -------------------------------------------------------------------------------------------


def _entry(body, **more):
    return {"body": base64.b64encode(body).decode(), "base64Encoded": True} | more


def test_a_batch(lab, sender, consumer):
    """Each entry is a message of its own, in order; base64 is the rule, plain text may be said."""
    entries = [
        _entry(b"first", properties={"iothub-app-n": "1", "iothub-messageid": "id-1", "unknown": "x"}),
        {"body": base64.b64encode(b"second").decode(), "properties": {"iothub-app-n": "2"}},
        {"body": "thïrd", "base64Encoded": False, "properties": {"iothub-app-n": "3"}},
        _entry(b"", properties={"iothub-app-n": "4"}),
    ]
    answer = sender.send(json.dumps(entries), {"Content-Type": BATCH, "iothub-app-outer": "no"})
    assert answer.status_code == 204, answer.text
    find(consumer, lambda event: properties(event).get("n") == "4")
    got = [event for event in consumer.events if "n" in properties(event)]
    assert [body(event) for event in got] == [b"first", b"second", "thïrd".encode(), b""]
    assert [properties(event) for event in got] == [{"n": str(number)} for number in (1, 2, 3, 4)]
    assert got[0].raw_amqp_message.properties.message_id == b"id-1"
    numbers = [event.sequence_number for event in got]
    assert numbers == list(range(numbers[0], numbers[0] + 4))


BAD_BATCHES = {
    "no JSON": "hello",
    "an object": "{}",
    "empty": "[]",
    "not objects": "[1]",
    "no body": "[{}]",
    "a body that is no text": '[{"body": 1}]',
    "not base64": '[{"body": "###"}]',
    "properties that are none": '[{"body": "", "properties": [1]}]',
    "a property that is no text": '[{"body": "", "properties": {"iothub-app-a": 1}}]',
    "half a surrogate": '[{"body": "", "properties": {"iothub-app-a": "\\ud800"}}]',
    "one too many": json.dumps([{"body": ""}] * (BATCH_LIMIT + 1)),
    "the last is wrong": '[{"body": ""}, {"body": "###"}]',
}


@pytest.mark.parametrize("batch", BAD_BATCHES)
def test_a_wrong_batch_is_refused_whole(lab, sender, batch):
    """400004, and nothing of it is stored."""
    before = _count(lab)
    answer = sender.send(BAD_BATCHES[batch], {"Content-Type": BATCH})
    assert (answer.status_code, answer.headers["iothub-errorcode"]) == (400, "ArgumentInvalid")
    assert _count(lab) == before


def test_a_batch_of_the_most(lab, sender):
    """500 messages in one request."""
    before = _count(lab)
    assert sender.send(json.dumps([_entry(b"x")] * BATCH_LIMIT), {"Content-Type": BATCH}).status_code == 204
    assert _count(lab) == before + BATCH_LIMIT


# -- limits --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "headers", "status"),
    [
        (MESSAGE_LIMIT, {}, 204),
        (MESSAGE_LIMIT + 1, {}, 413),
        (MESSAGE_LIMIT - 2, {"iothub-app-a": "1"}, 204),
        (MESSAGE_LIMIT - 1, {"iothub-app-a": "1"}, 413),
        (2 * 1024 * 1024, {}, 413),
        (3, {f"iothub-app-{number}": "%" * 7000 for number in range(4)}, 413),
    ],
)
def test_sizes(lab, sender, size, headers, status):
    """256 KB with the properties, and not a byte more: 413001."""
    before = _count(lab)
    answer = sender.send(b"x" * size, headers)
    assert answer.status_code == status, answer.text
    assert _count(lab) == before + (status == 204)
    if status == 413:
        assert answer.headers["iothub-errorcode"] == "MessageTooLarge"


def test_the_size_of_a_batch(lab, sender):
    """A batch over 256 KB is 413001, though each of its messages is small."""
    before = _count(lab)
    answer = sender.send(json.dumps([_entry(b"x" * 60_000)] * 5), {"Content-Type": BATCH})
    assert (answer.status_code, answer.headers["iothub-errorcode"]) == (413, "MessageTooLarge")
    assert _count(lab) == before


# -- who may -------------------------------------------------------------------------------------------


def _policy(lab, name, path=""):
    return sas.build(lab.hostname + path, lab._told.keys[name], int(time.time()) + 60, name)


WHO = {
    "its own": (lambda lab, own, other: own, 204),
    "the policy device": (lambda lab, own, other: _policy(lab, "device"), 204),
    "the policy device, for it": (lambda lab, own, other: _policy(lab, "device", "/devices/sender"), 204),
    "the policy device, for another": (lambda lab, own, other: _policy(lab, "device", "/devices/o"), 401),
    "the policy service": (lambda lab, own, other: _policy(lab, "service"), 401),
    "another device's": (lambda lab, own, other: other, 401),
    "none": (lambda lab, own, other: None, 401),
    "rubbish": (lambda lab, own, other: "Bearer x", 401),
}


@pytest.mark.parametrize("who", WHO)
def test_who_may_send(lab, sender, device, who):
    """The device itself and DeviceConnect; 401002 for the others, and nothing stored."""
    make, status = WHO[who]
    caller = Caller(lab, "sender")
    caller.token = make(lab, caller.token, Caller(lab, device).token)
    before = _count(lab)
    assert caller.send(b"x").status_code == status
    assert _count(lab) == before + (status == 204)


def test_a_disabled_device_may_not(lab, device):
    """401, at once."""
    caller = Caller(lab, device)
    assert caller.send(b"x").status_code == 204
    lab.rest().call("PUT", f"/devices/{device}", {"status": "disabled"}, headers={"If-Match": "*"})
    assert caller.send(b"x").status_code == 401


def test_a_token_in_the_name_that_the_proxy_leads_here(lab, sender):
    """A token for `lab.azure-devices.net` counts, as it does over MQTT."""
    key = ConnectionString.parse(lab.device_connection_string("sender")).shared_access_key
    caller = Caller(lab, "sender")
    caller.token = sas.build("lab.azure-devices.net/devices/sender", key, int(time.time()) + 60)
    assert caller.send(b"x").status_code == 204


def test_the_version_is_asked_for(lab, sender):
    """Without api-version: 400001."""
    answer = sender.send(b"x", version="")
    assert (answer.status_code, answer.headers["iothub-errorcode"]) == (400, "InvalidProtocolVersion")
