"""What the hub itself tells at the built-in endpoint: changed twins, identities, connections; and the switches."""

import json

import pytest
from finding import annotations, body, find, properties
from hub_clients import Consumer

from iotedge_lab.errors import ArgumentInvalid, StoreUnavailable
from iotedge_lab.hub.events import decode_hub_event, encode_hub_event
from iotedge_lab.hub.notices import NoticeSettings
from iotedge_lab.rest import RestError

ALL = {"twinChangeEvents": True, "deviceLifecycleEvents": True, "deviceConnectionStateEvents": True}
NOTHING = dict.fromkeys(ALL, False)


# -- the rules, without a protocol ---------------------------------------------------------------------


@pytest.fixture
def told(house):
    """`told(kind)`: what the house has told of a kind since it was made: (opType, properties, body)."""

    def since(kind):
        house.turns.run()
        return [
            (event.properties["opType"], event.properties, json.loads(event.body))
            for event in house.events()
            if event.system.get("iothub-message-source") == kind
        ]

    return since


def test_nothing_is_told_to_begin_with(house):
    """As on a new hub on Azure, which has no such route."""
    assert house.hub.notices.settings.to_json() == NOTHING
    house.connected("d").cut()
    house.hub.twins.patch("d", "", {"tags": {"a": 1}}, None)
    house.hub.identities.delete("d", "", None)
    assert house.events() == []


@pytest.mark.parametrize("kind", ALL)
def test_each_kind_has_its_switch(house, told, kind):
    """One kind on, the others stay off; kept across restart and reset; and off again."""
    house.hub.notices.change({kind: True})
    house.restart()
    house.hub.reset()
    assert house.hub.notices.settings.to_json() == NOTHING | {kind: True}

    def live():
        house.connected("d").cut()
        house.hub.twins.patch("d", "", {"tags": {"a": 1}}, None)
        house.hub.identities.delete("d", "", None)

    live()
    house.turns.run()
    assert {event.system["iothub-message-source"] for event in house.events()} == {kind}
    count = len(house.events())
    assert count == len(told(kind)) >= 1
    house.hub.notices.change({kind: False})
    live()
    house.turns.run()
    assert len(house.events()) == count


@pytest.mark.parametrize(
    "wrong", [{"twinEvents": True}, {"twinChangeEvents": 1}, {"twinChangeEvents": None}], ids=str
)
def test_a_switch_that_is_none(house, wrong):
    """400004, and nothing is switched."""
    with pytest.raises(ArgumentInvalid):
        house.hub.notices.change({"deviceLifecycleEvents": True} | wrong)
    assert house.hub.notices.settings == NoticeSettings()


def test_an_update_tells_what_changed(house, told):
    """Version, changed tags, and changed properties with the metadata of just these."""
    house.register("d")
    house.register("d", "m")
    house.hub.twins.patch("d", "m", {"tags": {"keep": 1}, "properties": {"desired": {"keep": 1}}}, None)
    house.hub.notices.change(ALL)
    house.clock.advance(60)
    house.hub.twins.patch(
        "d", "m", {"tags": {"a": 1}, "properties": {"desired": {"b": {"c": 2}, "x": None}}}, None
    )
    house.hub.twins.report("d", "m", {"r": 3})
    (first, common, patch), (_, _, report) = told("twinChangeEvents")
    assert first == "updateTwin"
    assert common == {
        "hubName": "lab",
        "deviceId": "d",
        "moduleId": "m",
        "operationTimestamp": "2023-11-14T22:14:20.000000Z",
        "opType": "updateTwin",
        "iothub-message-schema": "twinChangeNotification",
    }
    stamp = {"$lastUpdated": "2023-11-14T22:14:20.000000Z", "$lastUpdatedVersion": 3}
    assert patch == {
        "version": 4,
        "tags": {"a": 1},
        "properties": {
            "desired": {
                "b": {"c": 2},
                "x": None,
                "$metadata": {**stamp, "b": {**stamp, "c": stamp}},
                "$version": 3,
            }
        },
    }
    stamp = {"$lastUpdated": "2023-11-14T22:14:20.000000Z"}
    reported = {"r": 3, "$metadata": {**stamp, "r": stamp}, "$version": 2}
    assert report == {"version": 5, "properties": {"reported": reported}}


def test_a_replacement_tells_the_whole(house, told):
    """Ids, etag, version, tags and both sections."""
    house.register("d")
    house.hub.notices.change(ALL)
    house.hub.twins.put("d", "", {"tags": {"a": 1}, "properties": {"desired": {"b": 2}}}, None)
    [(operation, common, whole)] = told("twinChangeEvents")
    assert operation == "replaceTwin"
    assert "moduleId" not in common
    twin = house.hub.twins.get("d")[1]
    assert (whole["deviceId"], whole["etag"], whole["version"], whole["tags"]) == (
        "d",
        twin.etag,
        3,
        {"a": 1},
    )
    assert whole["properties"]["desired"] == twin.desired.shown(metadata=True)
    assert whole["properties"]["reported"] == twin.reported.shown(metadata=True)


def test_a_refused_change_tells_nothing(house, told):
    """Only what was stored is told."""
    house.register("d")
    house.hub.notices.change(ALL)
    for wrong in ({"tags": {"a b": 1}}, {"properties": {"desired": []}}):
        with pytest.raises(ArgumentInvalid):
            house.hub.twins.patch("d", "", wrong, None)
    with pytest.raises(ArgumentInvalid):
        house.hub.twins.report("d", "", {"$a": 1})
    assert told("twinChangeEvents") == []


def test_the_event_is_kept_with_the_change(house):
    """Durable before the call returns: a hub that is killed right after has told it."""
    house.register("d")
    house.hub.notices.change(ALL)
    house.hub.twins.patch("d", "", {"tags": {"a": 1}}, None)
    house.register("e")
    house.hub.identities.delete("e", "", None)
    house.turns.waiting.clear()
    house.restart()
    operations = {event.properties["opType"] for event in house.events()}
    assert operations == {"updateTwin", "createDeviceIdentity", "deleteDeviceIdentity"}


def test_lives(house, told):
    """Creation and deletion, of system modules too; an update of an identity is neither."""
    house.hub.notices.change(ALL)
    house.register("e", capabilities={"iotEdge": True})
    house.hub.identities.put("e", "", {"status": "disabled"}, "*")
    house.hub.identities.delete("e", "$edgeHub", None)
    house.hub.identities.delete("e", "", None)
    found = told("deviceLifecycleEvents")
    assert [(operation, common.get("moduleId")) for operation, common, _ in found] == [
        ("createDeviceIdentity", None),
        ("createDeviceIdentity", "$edgeAgent"),
        ("createDeviceIdentity", "$edgeHub"),
        ("deleteDeviceIdentity", "$edgeHub"),
        ("deleteDeviceIdentity", "$edgeAgent"),
        ("deleteDeviceIdentity", None),
    ]
    assert {common["iothub-message-schema"] for _, common, _ in found} == {"deviceLifecycleNotification"}
    assert found[1][2]["moduleId"] == "$edgeAgent"
    assert found[0][2]["properties"]["desired"]["$version"] == 1


def test_connections(house, told):
    """Connected and disconnected, each once, though a second connection pushes out the first; numbers rise."""
    house.hub.notices.change(ALL)
    first = house.connected("d")
    second = house.connected("d")
    assert first.transport.closed
    house.restart()
    third = house.connected("d")
    third.cut()
    second.transport.closed = True
    found = told("deviceConnectionStateEvents")
    assert [operation for operation, _, _ in found][-2:] == ["deviceConnected", "deviceDisconnected"]
    numbers = [content["sequenceNumber"] for _, _, content in found]
    assert numbers == sorted(set(numbers))
    assert {len(number) for number in numbers} == {64}
    assert {common["iothub-message-schema"] for _, common, _ in found} == {
        "deviceConnectionStateNotification"
    }


@pytest.mark.parametrize("where", ["write", "source_id"])
def test_a_full_disk_does_not_break_the_change(house, monkeypatch, caplog, where):
    """The twin was changed; that the event is lost is said in the log."""
    house.register("d")
    house.hub.notices.change(ALL)
    house.hub.twins.patch("d", "", {"tags": {"a": 1}}, None)

    def full(_):
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(house.hub.log, where, full)
    house.hub.twins.patch("d", "", {"tags": {"a": 2}}, None)
    assert house.hub.twins.get("d")[1].tags == {"a": 2}
    assert "the disk is full" in caplog.text


@pytest.mark.parametrize("content", [b"", b"{}", b"\0\xff", b"x" * 100_000], ids=len)
def test_the_form_in_the_log(content):
    """What is written is read again, whatever the body."""
    system, application = {"content-type": "ä"}, {"a b": "c", "": ""}
    assert decode_hub_event(encode_hub_event(system, application, content)) == (system, application, content)


def test_between_messages_of_the_device(house):
    """Events stand in the same partition as the device's messages, in order, and are read one by one."""
    house.hub.notices.change({"twinChangeEvents": True})
    wire = house.connected("d")
    wire.publish(b"before")
    house.hub.twins.patch("d", "", {"tags": {"a": 1}}, None)
    wire.publish(b"after")
    found = house.events()
    assert [event.body[:9] for event in found] == [b"before", b'{"version', b"after"]
    assert [event.seq for event in found] == [0, 1, 2]


# -- with the vendor's consumer --------------------------------------------------------------------------


def test_at_the_built_in_endpoint(lab, device):
    """The documented properties and annotations, as azure-eventhub shows them."""
    settings = lab.rest().call("PUT", "/lab/settings", {"twinChangeEvents": True})
    assert settings == lab.rest().call("GET", "/lab/settings") == NOTHING | {"twinChangeEvents": True}
    lab.rest().call("PATCH", f"/twins/{device}", {"tags": {"line": 4}})
    consumer = Consumer(lab)
    try:
        event = find(
            consumer, lambda event: annotations(event).get("iothub-message-source") == "twinChangeEvents"
        )
    finally:
        consumer.close()
    assert json.loads(body(event)) == {"version": 3, "tags": {"line": 4}}
    assert (event.content_type, event.raw_amqp_message.properties.content_encoding) == (
        "application/json",
        b"utf-8",
    )
    assert event.raw_amqp_message.properties.user_id == b"lab"
    assert event.correlation_id
    given = properties(event)
    assert given.pop("operationTimestamp").endswith("Z")
    assert given == {
        "hubName": "lab",
        "deviceId": device,
        "opType": "updateTwin",
        "iothub-message-schema": "twinChangeNotification",
    }
    notes = annotations(event)
    assert notes["iothub-connection-device-id"] == device
    assert {"iothub-connection-auth-method", "iothub-connection-auth-generation-id"}.isdisjoint(notes)
    assert {
        "iothub-enqueuedtime",
        "x-opt-sequence-number",
        "x-opt-offset",
        "x-opt-enqueued-time",
    } <= notes.keys()
    lab.rest().call("PUT", "/lab/settings", {"twinChangeEvents": False})
    with pytest.raises(RestError, match="no setting"):
        lab.rest().call("PUT", "/lab/settings", {"colour": "blue"})
