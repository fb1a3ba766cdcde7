"""One MQTT connection onto the hub, packet by packet: what is stored, what is acknowledged, what closes it."""

import pytest
from house import HOST

from iotedge_lab.hub.access import Right
from iotedge_lab.hub.command_message import Draft
from iotedge_lab.wire import sas
from iotedge_lab.wire.mqtt import encode as e
from iotedge_lab.wire.mqtt import packets as p
from iotedge_lab.wire.mqtt.client import MqttClient

TOPIC = "devices/d/messages/events/"
DUP = 0x08


def _dup(topic, body, packet_id):
    data = e.encode_publish(topic, body, 1, packet_id)
    return bytes((data[0] | DUP,)) + data[1:]


# -- connecting ----------------------------------------------------------------------------------------


def _connack(house, client):
    from house import Wire

    wire = Wire(house, client)
    answers = wire.send(client.connect())
    return wire, answers[0].code if answers else None


def test_a_device_is_let_in_and_shown(house):
    """After CONNECT the registry says Connected, and Disconnected with the time after the end."""
    wire = house.connected("d")
    shown = lambda: house.hub.identities.to_json(house.hub.identities.get("d"))  # noqa: E731 - asked thrice
    assert wire.connack.code is p.ConnackCode.ACCEPTED
    assert shown()["connectionState"] == "Connected"
    house.clock.advance(5)
    wire.publish(b"x")
    house.clock.advance(5)
    wire.cut()
    told = shown()
    assert told["connectionState"] == "Disconnected"
    assert (told["lastActivityTime"], told["connectionStateUpdatedTime"]) == (
        "2023-11-14T22:13:25.000000Z",
        "2023-11-14T22:13:30.000000Z",
    )


WRONG = {
    "another key": lambda house: house.token("d", key="a2V5" * 8),
    "another device": lambda house: house.token("other"),
    "expired": lambda house: house.token("d", seconds=-1),
    "a module's": lambda house: house.token("d", "m"),
    "a policy without DeviceConnect": lambda house: _policy(house, "service"),
    "no such policy": lambda house: sas.build(HOST, "a2V5" * 8, 2_000_000_000, "nobody"),
    "a token service's for another device": lambda house: _policy(
        house, "device", resource=f"{HOST}/devices/other"
    ),
    "a token service's without DeviceConnect": lambda house: _policy(
        house, "service", resource=f"{HOST}/devices/d"
    ),
    "a policy by the device's key": lambda house: sas.build(
        HOST, house.hub.identities.get("d").primary_key, 2_000_000_000, "iothubowner"
    ),
    "the hub as a whole by the device's key": lambda house: sas.build(
        HOST, house.hub.identities.get("d").primary_key, 2_000_000_000
    ),
    "all devices by the device's key": lambda house: sas.build(
        f"{HOST}/devices", house.hub.identities.get("d").primary_key, 2_000_000_000
    ),
    "another hub": lambda house: sas.build(
        "elsewhere.azure-devices.net/devices/d", house.hub.identities.get("d").primary_key, 2_000_000_000
    ),
    "no token at all": lambda _: "open sesame",
    "empty": lambda _: "",
}


def _policy(house, name, resource=HOST):
    return sas.build(resource, house.hub.access.policies[name].primary_key, 2_000_000_000, name)


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_token_is_refused_with_5(house, wrong):
    """CONNACK 5, which the SDK turns into a CredentialError, and the connection is closed."""
    for name, module in (("d", ""), ("other", ""), ("d", "m")):
        house.register(name, module)
    client = MqttClient("d", f"{HOST}/d/?api-version=2021-04-12", WRONG[wrong](house))
    wire, code = _connack(house, client)
    assert code is p.ConnackCode.NOT_AUTHORIZED
    assert wire.transport.closed
    assert house.hub.counters.refused == 1
    assert len(house.hub.sessions) == 0


RIGHT = {
    "primary": lambda house: house.token("d"),
    "secondary": lambda house: house.token("d", key=house.hub.identities.get("d").secondary_key),
    "policy device": lambda house: _policy(house, "device"),
    "policy iothubowner": lambda house: _policy(house, "iothubowner"),
    "a token service's": lambda house: _policy(house, "device", resource=f"{HOST}/devices/d"),
}


@pytest.mark.parametrize("right", RIGHT)
def test_each_right_token_is_let_in(house, right):
    """Both keys of the identity, and the policies that grant DeviceConnect."""
    house.register("d")
    _, code = _connack(house, MqttClient("d", f"{HOST}/d/?api-version=2021-04-12", RIGHT[right](house)))
    assert code is p.ConnackCode.ACCEPTED


@pytest.mark.parametrize(
    ("client_id", "username", "codes"),
    [
        ("nobody", f"{HOST}/nobody/?api-version=2021-04-12", {5}),
        ("d", "elsewhere/d/?api-version=2021-04-12", {5}),
        ("d", f"{HOST}/other/?api-version=2021-04-12", {2, 5}),
        ("d/m", f"{HOST}/d/?api-version=2021-04-12", {2, 5}),
        ("d", "", {4, 5}),
        ("d d", f"{HOST}/d d/?api-version=2021-04-12", {2, 5}),
        ("d/m", f"{HOST}/d/m/?api-version=2021-04-12", {5}),
        ("../d", f"{HOST}/../d/?api-version=2021-04-12", {2, 5}),
    ],
)
def test_a_wrong_name_is_refused(house, client_id, username, codes):
    """An unknown identity, another hub's name, and names that differ are refused, never let in."""
    house.register("d")
    wire, code = _connack(house, MqttClient(client_id, username, house.token("d")))
    assert code in codes
    assert wire.transport.closed


def test_a_disabled_device_and_its_modules_are_refused(house):
    """Neither a disabled device nor a module of one may connect; enabled again, both may."""
    for module in ("", "m"):
        house.register("d", module)
    house.hub.identities.put("d", "", {"status": "disabled"}, "*")
    for module in ("", "m"):
        assert _connack(house, house.client("d", module))[1] is p.ConnackCode.NOT_AUTHORIZED
    house.hub.identities.put("d", "", {"status": "enabled"}, "*")
    for module in ("", "m"):
        assert _connack(house, house.client("d", module))[1] is p.ConnackCode.ACCEPTED


def test_the_tokens_end_is_the_connections_end(house):
    """A connection lives as long as its token; the SDK renews it before, others are closed."""
    house.register("d")
    wire = house.connect(house.client("d", token=house.token("d", seconds=60), keep_alive=0))
    house.clock.advance(59)
    house.hub.tick()
    assert not wire.transport.closed
    house.clock.advance(2)
    house.hub.tick()
    assert wire.transport.closed


def test_who_never_says_connect_is_closed_after_10_s(house):
    """A connection that is silent, or sends half a CONNECT, is closed; one that connected in time is not."""
    _, silent = house.dial()
    half, halved = house.dial()
    half.data_received(b"\x10\x20\x00\x04MQ")
    wire = house.connected("d", keep_alive=0)
    house.clock.advance(9)
    house.hub.tick()
    assert not silent.closed
    assert not halved.closed
    house.clock.advance(2)
    house.hub.tick()
    assert silent.closed
    assert halved.closed
    assert not wire.transport.closed
    assert len(house.hub.connections) == 1


def test_a_dripping_connect_is_closed_after_10_s(house):
    """Sending a byte now and then does not keep a connection without CONNECT alive."""
    front, transport = house.dial()
    for byte in b"\x10\x20\x00\x04MQ":
        front.data_received(bytes((byte,)))
        house.clock.advance(3)
        house.hub.tick()
    assert transport.closed


def test_the_keep_alive_is_held_to(house):
    """Silence of 1.5 times the keep-alive closes the connection; any packet counts [MQTT-3.1.2-24]."""
    wire = house.connected("d", keep_alive=60)
    for _ in range(3):
        house.clock.advance(80)
        house.hub.tick()
        assert not wire.transport.closed
        assert isinstance(wire.send(wire.client.ping())[0], p.PingResp)
    house.clock.advance(91)
    house.hub.tick()
    assert wire.transport.closed


@pytest.mark.parametrize("keep_alive", [0, 1178, 65_535])
def test_no_silence_is_longer_than_iot_hub_allows(house, keep_alive):
    """1,767 s at the most, whatever keep-alive the client names; 0, which asks for none, as well."""
    house.register("d")
    wire = house.connected("d", keep_alive=keep_alive, token=house.token("d", seconds=10_000))
    house.clock.advance(1767)
    house.hub.tick()
    assert not wire.transport.closed
    house.clock.advance(1)
    house.hub.tick()
    assert wire.transport.closed


def test_who_reads_nothing_any_more_is_cut(house):
    """A dropped peer that does not take its last bytes does not stay Connected for ever."""
    wire = house.connected("d", keep_alive=60)
    wire.transport.close = lambda: None  # waits for a buffer that never empties
    cut = []
    wire.transport.abort = lambda: (cut.append(1), wire.cut())
    house.clock.advance(91)
    house.hub.tick()
    assert not cut
    house.clock.advance(11)
    house.hub.tick()
    assert cut == [1]
    assert house.hub.identities.to_json(house.hub.identities.get("d"))["connectionState"] == "Disconnected"
    assert not house.hub.connections


def test_the_newer_connection_wins(house):
    """A second CONNECT of one identity closes the first connection, and stays Connected when that ends."""
    first = house.connected("d")
    second = house.connected("d")
    assert first.transport.closed
    assert second.publish(b"x")
    assert house.hub.identities.to_json(house.hub.identities.get("d"))["connectionState"] == "Connected"


def test_a_deleted_device_is_cut_and_forgotten(house):
    """Nothing of a deleted device stays: no connection, no session for the next one of that name."""
    wire = house.connected("d")
    wire.send(wire.client.subscribe(["devices/d/messages/devicebound/#"])[1])
    house.hub.identities.delete("d", "", None)
    house.hub.sessions.drop("d", None, "deleted")
    assert wire.transport.closed
    again = house.connected("d")
    assert not again.connack.session_present


@pytest.mark.parametrize("way", ["delete", "reset"])
def test_the_will_of_a_device_that_is_gone_is_not_read(house, way):
    """A deleted device sends nothing more, and a log that was emptied stays empty."""
    house.register("d")
    wire = house.connect(house.client("d", will=p.Will(TOPIC, b"will", 1)))
    if way == "delete":
        house.hub.identities.delete("d", "", None)
        house.hub.sessions.drop("d", None, "deleted")
    else:
        house.hub.reset()
    house.turns.run()
    assert wire.transport.closed
    assert house.bodies() == []


@pytest.mark.parametrize("way", ["delete", "reset"])
def test_nothing_is_remembered_for_a_device_that_is_gone(house, way):
    """What it had not acknowledged when it left goes with its identity; also what it has not at that moment."""
    for name in ("away", "here"):
        wire = house.connected(name)
        wire.send(wire.client.subscribe([f"devices/{name}/messages/devicebound/#"])[1])
        house.hub.commands.send(Draft(name, b"x"), lambda _: None)
        house.turns.run()
        if name == "away":
            wire.cut()
    assert len(house.hub.sessions._outboxes) == 1
    if way == "delete":
        for name in ("away", "here"):
            house.hub.identities.delete(name, "", None)
            house.hub.sessions.drop(name, None, "deleted")
    else:
        house.hub.reset()
    house.turns.run()
    assert not house.hub.sessions._outboxes
    assert not house.hub.sessions._live
    again = house.connected("away")
    assert not again.connack.session_present
    assert again.answers() == []


def test_a_session_has_so_many_subscriptions(house):
    """Fifty, each of up to 1,024 characters; the next is refused in its place, and one that is there is renewed."""
    wire = house.connected("d")
    root = "devices/d/messages/devicebound"
    long = f"{root}/{'x' * (1024 - len(root) - 1)}"
    filters = [long + "x", long, *(f"{root}/{number}" for number in range(60)), long]
    [suback] = wire.send(wire.client.subscribe(filters)[1])
    assert list(suback.codes) == [p.SUBSCRIBE_FAILED, *[1] * 50, *[p.SUBSCRIBE_FAILED] * 11, 1]
    wire.send(wire.client.unsubscribe([f"{root}/0"])[1])
    [suback] = wire.send(wire.client.subscribe([f"{root}/#"])[1])
    assert list(suback.codes) == [1]


def test_topics_are_not_remembered_without_end(house):
    """A message id in each topic, or long topics, cost a connection no more memory the longer it lives."""
    wire = house.connected("d")
    for number in range(500):
        assert wire.publish(b"x", topic=f"{TOPIC}%24.mid={number}")
        assert wire.publish(b"x", topic=f"{TOPIC}%24.mid={number}&long={'y' * 5000}")
    assert sum(map(len, wire.front._known_topics)) < 64 * 512
    assert len(house.bodies()) == 1000


# -- publishing ----------------------------------------------------------------------------------------


def test_an_acknowledgement_comes_after_the_commit(house):
    """PUBACK is written once the message is committed, not when it arrives."""
    wire = house.connected("d")
    _, data = wire.client.publish(TOPIC, b"x")
    assert wire.send(data, turn=False) == []
    assert house.bodies() == []
    house.turns.run()
    assert isinstance(wire.answers()[0], p.PubAcks)
    assert house.bodies() == [b"x"]


def test_qos_0_is_stored_and_not_acknowledged(house):
    """A QoS 0 message is telemetry as well."""
    wire = house.connected("d")
    assert wire.send(wire.client.publish(TOPIC, b"x", 0)[1]) == []
    assert house.bodies() == [b"x"]


def test_a_full_disk_acknowledges_nothing(house):
    """What cannot be stored closes the connection without PUBACK; with room again it is sent again and kept."""
    wire = house.connected("d")
    house.hub.store.db.execute("PRAGMA max_page_count = 1")
    assert not wire.publish(b"x" * 50_000)
    assert wire.transport.closed
    assert house.bodies() == []
    house.hub.store.db.execute("PRAGMA max_page_count = 1000000")
    again = house.connect(wire.client)
    again.send(wire.client.resend())
    assert not wire.client.in_flight
    assert house.bodies() == [b"x" * 50_000]


def test_a_full_disk_at_connect_closes_that_connection_alone(house):
    """A CONNECT that needs a row where there is no room is told 3, "come again later", and the next one is taken.

    Not 5: the SDK takes that for a wrong key, and does not try again.
    """
    good = house.connected("good")
    house.register("d" * 100)
    house.hub.store.db.execute("PRAGMA max_page_count = 1")
    for number in range(40):  # until the pages that are there are full
        wire, code = _connack(house, house.client("d" * 100))
        if code is not p.ConnackCode.ACCEPTED:
            break
        name = f"{number:0100}"
        house.hub.store.db.execute("PRAGMA max_page_count = 1000000")
        house.register(name)
        house.hub.store.db.execute("PRAGMA max_page_count = 1")
        wire, code = _connack(house, house.client(name))
        if code is not p.ConnackCode.ACCEPTED:
            break
    else:
        pytest.fail("the store never became full")
    assert wire.transport.closed
    assert code is p.ConnackCode.SERVER_UNAVAILABLE
    house.hub.store.db.execute("PRAGMA max_page_count = 1000000")
    assert good.publish(b"x")
    assert _connack(house, wire.client)[1] is p.ConnackCode.ACCEPTED


def test_qos_2_disconnects(house):
    """IoT Hub does not serve QoS 2: the connection is closed, and nothing is stored."""
    wire = house.connected("d")
    wire.publish(b"x", qos=2)
    assert wire.transport.closed
    assert house.bodies() == []


def test_a_qos_2_subscription_is_granted_1(house):
    """And a filter that is not the identity's own is refused in its place."""
    wire = house.connected("d")
    filters = [
        ("devices/d/messages/devicebound/#", 2),
        ("$iothub/twin/res/#", 0),
        ("devices/other/messages/devicebound/#", 1),
        ("#", 1),
    ]
    answer = wire.send(wire.client.subscribe(filters)[1])[0]
    assert list(answer.codes) == [1, 0, 0x80, 0x80]


@pytest.mark.parametrize("bag", ["", "a=b", "a=b/", "%24.mid=1&a=b"])
def test_retain_becomes_a_property(house, bag):
    """A RETAIN flag is stored as the property mqtt-retain=true, beside the others."""
    wire = house.connected("d")
    wire.send(e.encode_publish(TOPIC + bag, b"x", 1, 1, retain=True))
    (event,) = house.events()
    assert event.properties.get("mqtt-retain") == "true"
    assert ("a=b" in bag) == (event.properties.get("a") == "b")


@pytest.mark.parametrize("size", [0, 1, 256 * 1024])
def test_sizes_that_are_taken(house, size):
    """From nothing to 256 KB."""
    wire = house.connected("d")
    assert wire.publish(b"x" * size)
    assert house.bodies() == [b"x" * size]


@pytest.mark.parametrize("size", [256 * 1024 + 1, 300 * 1024, 400 * 1024])
@pytest.mark.parametrize("first", [True, False])
def test_sizes_that_are_not(house, size, first):
    """One byte more closes the connection and is not stored, wherever it comes; what came before is."""
    wire = house.connected("d")
    if not first:
        assert wire.publish(b"small")
    assert not wire.publish(b"x" * size)
    assert wire.transport.closed
    assert house.bodies() == ([] if first else [b"small"])


def test_a_topic_with_many_properties_does_not_count(house):
    """The 256 KB are the body's: a long topic comes on top."""
    wire = house.connected("d")
    assert wire.publish(b"x" * 256 * 1024, topic=TOPIC + "p=" + "y" * 8_000)


@pytest.mark.parametrize(
    "topic",
    [
        "devices/other/messages/events/",
        "devices/d/modules/m/messages/events/",
        "devices/d/messages/devicebound/",
        "anything",
        "$iothub/twin/res/200/?$rid=1",
        "devices/d/messages/events/%ff",
        "devices/D/messages/events/",
    ],
)
def test_a_foreign_topic_disconnects(house, topic):
    """A device speaks on its own topics; another closes its connection, and stores nothing."""
    wire = house.connected("d")
    assert wire.publish(b"good")
    wire.publish(b"x", topic=topic)
    assert wire.transport.closed
    assert wire.client.in_flight
    assert house.bodies() == [b"good"]


def test_a_run_with_one_bad_message_stores_none_unacknowledged(house):
    """In one read of many messages a foreign topic closes the connection; what is stored was sent before it."""
    wire = house.connected("d")
    _, good = wire.client.publish_many(TOPIC, [b"1", b"2"])
    _, bad = wire.client.publish("devices/other/messages/events/", b"3")
    _, late = wire.client.publish(TOPIC, b"4")
    wire.send(good + bad + late)
    assert wire.transport.closed
    stored = house.bodies()
    assert stored in ([], [b"1", b"2"])
    assert len(wire.client.in_flight) == 4 - (len(stored) if not wire.client.in_flight else 0)


def test_a_whole_life_in_one_read(house):
    """A client need not wait for the CONNACK: all that comes before its DISCONNECT, in one read, is answered."""
    house.register("d")
    client = house.client("d", will=p.Will(TOPIC, b"will", 1))
    connect = client.connect()
    client.state = type(client.state).OPEN
    data = connect + client.subscribe(["$iothub/twin/res/#"])[1] + e.encode_publish(TOPIC, b"x", 1, 7)
    data += client.unsubscribe(["$iothub/twin/res/#"])[1] + e.PINGREQ + e.DISCONNECT
    front, transport = house.dial()
    front.data_received(data)
    house.turns.run()
    assert transport.closed
    client.state = type(client.state).CONNECTING
    kinds = [type(event) for event in client.receive(transport.written)]
    assert kinds[:2] == [p.ConnAck, p.SubAck]
    assert {p.UnsubAck, p.PingResp} <= set(kinds)
    assert house.bodies() == [b"x"]  # and no will: the client said goodbye


def test_connect_and_then_a_violation_in_one_read(house):
    """What was right is answered, what follows closes the connection."""
    wire = house.connected("d")
    again = house.client("d")
    front, transport = house.dial()
    front.data_received(again.connect() + b"\xff\xff")
    house.turns.run()
    assert transport.closed
    assert transport.written[:2] == b"\x20\x02"
    assert wire.transport.closed


def test_packets_before_connect_close(house):
    """Nothing but CONNECT may come first [MQTT-3.1.0-1]."""
    for data in (e.encode_publish(TOPIC, b"x", 1, 1), e.PINGREQ, e.DISCONNECT, b"\x10\x00", b"\xff" * 20):
        front, transport = house.dial()
        front.data_received(data)
        assert transport.closed, data
    assert house.bodies() == []


def test_an_mqtt_5_client_is_told_1(house):
    """A CONNECT of another protocol level is answered with code 1 [MQTT-3.1.2-2]."""
    front, transport = house.dial()
    front.data_received(b"\x10\x0f\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x02dd")
    assert transport.written[:2] == b"\x20\x02"
    assert transport.written[3] == 1
    assert transport.closed


def test_a_client_that_does_not_read_is_not_read(house):
    """Back pressure: while the socket is full of acknowledgements, the hub reads no more messages from it."""
    wire = house.connected("d")
    wire.front.pause_writing()
    assert not wire.transport.reading
    wire.front.resume_writing()
    assert wire.transport.reading


def test_data_after_the_end_changes_nothing(house):
    """Bytes that the loop still delivers after a close are passed over."""
    wire = house.connected("d")
    wire.front.drop("test")
    wire.front.data_received(e.encode_publish(TOPIC, b"x", 1, 1))
    house.turns.run()
    assert house.bodies() == []


# -- sending again ------------------------------------------------------------------------------------


def _lose_acks(house, wire, *bodies):
    """Publish so that the hub stores and its acknowledgements do not arrive."""
    _, data = wire.client.publish_many(TOPIC, bodies)
    wire.front.data_received(data)
    house.turns.run()
    wire.cut()


@pytest.mark.parametrize("restart", [False, True])
def test_what_was_stored_is_not_stored_again(house, restart):
    """A message sent again after its acknowledgement was lost is acknowledged, and in the log once."""
    wire = house.connected("d")
    _lose_acks(house, wire, b"1", b"2", b"2")
    if restart:
        house.restart()
    again = house.connect(wire.client)
    assert again.connack.session_present
    assert len(wire.client.in_flight) == 3
    again.send(wire.client.resend())
    assert not wire.client.in_flight
    assert house.bodies() == [b"1", b"2", b"2"]


@pytest.mark.parametrize("restart", [False, True])
def test_what_was_not_stored_is_stored(house, restart):
    """A DUP of a message that never came, or was not committed, is stored in its turn."""
    wire = house.connected("d")
    _lose_acks(house, wire, b"1")
    _, data = wire.client.publish_many(TOPIC, [b"2", b"3"])
    del data  # never arrives
    if restart:
        house.restart()
    again = house.connect(wire.client)
    again.send(wire.client.resend())
    assert not wire.client.in_flight
    assert house.bodies() == [b"1", b"2", b"3"]


def test_acknowledgements_come_in_the_order_of_the_messages(house):
    """[MQTT-4.6.0-2]: also where some of what is sent again was stored before and some was not."""
    wire = house.connected("d")
    _lose_acks(house, wire, b"1", b"2")
    wire.client.publish_many(TOPIC, [b"3", b"4"])
    again = house.connect(wire.client)
    expected = list(wire.client.in_flight)
    answers = again.send(wire.client.resend())
    got = [packet_id for event in answers for packet_id in event.packet_ids]
    assert got == expected


@pytest.mark.parametrize(
    ("topic", "body", "packet_id", "stored"),
    [
        (TOPIC, b"1", 1, False),
        (TOPIC, b"other", 1, True),
        (TOPIC + "a=b", b"1", 1, True),
        (TOPIC, b"1", 2, True),
    ],
)
def test_only_the_same_message_counts_as_the_same(house, topic, body, packet_id, stored):
    """A DUP with the packet id of a stored message and other content, or another id, is a message of its own."""
    wire = house.connected("d")
    _lose_acks(house, wire, b"1")
    again = house.connect(wire.client)
    answers = again.send(_dup(topic, body, packet_id))
    assert answers[0].packet_ids
    assert house.bodies() == [b"1", body] if stored else [b"1"]


def test_after_a_goodbye_nothing_is_a_repetition(house):
    """After DISCONNECT an equal message with the same packet id is a new one, DUP or not."""
    wire = house.connected("d")
    wire.send(e.encode_publish(TOPIC, b"1", 1, 1))
    wire.send(wire.client.disconnect())
    assert wire.transport.closed
    again = house.connect(house.client("d"))
    assert again.connack.session_present
    again.send(_dup(TOPIC, b"1", 1))
    assert house.bodies() == [b"1", b"1"]


def test_a_clean_session_repeats_nothing(house):
    """A DUP of a client with clean_session=1 is stored: such a session remembers nothing."""
    wire = house.connected("d", clean_session=True)
    wire.send(e.encode_publish(TOPIC, b"1", 1, 1))
    wire.cut()
    again = house.connect(house.client("d", clean_session=True))
    again.send(_dup(TOPIC, b"1", 1))
    assert house.bodies() == [b"1", b"1"]


def test_a_reused_packet_id_ends_the_old_message(house):
    """A new message with an id says that the old one was acknowledged: a later DUP of it is the new one's."""
    wire = house.connected("d")
    _lose_acks(house, wire, b"1", b"2")
    again = house.connect(wire.client)
    again.send(_dup(TOPIC, b"1", 1))
    again.send(e.encode_publish(TOPIC, b"fresh", 1, 2))
    again.send(_dup(TOPIC, b"2", 2))
    assert house.bodies() == [b"1", b"2", b"fresh", b"2"]


def test_each_stored_message_excuses_one_repetition(house):
    """The same DUP twice in one connection is found once; the second is stored, as nothing vouches for it."""
    wire = house.connected("d")
    _lose_acks(house, wire, b"1")
    again = house.connect(wire.client)
    again.send(_dup(TOPIC, b"1", 1))
    assert house.bodies() == [b"1"]


def test_one_device_never_excuses_another(house):
    """Equal messages of two devices in one partition are two messages."""
    one = house.connected("d")
    partition = house.hub.log.partition_of("d")
    other = next(f"d{n}" for n in range(99) if house.hub.log.partition_of(f"d{n}") == partition)
    two = house.connected(other)
    _lose_acks(house, one, b"1")
    two.send(_dup(f"devices/{other}/messages/events/", b"1", 1))
    assert house.bodies() == [b"1", b"1"]


def test_a_repetition_in_the_turn_of_the_original(house):
    """A client that reconnects before the hub has committed is not stored twice either."""
    wire = house.connected("d")
    _, data = wire.client.publish(TOPIC, b"1")
    wire.front.data_received(data)  # arrives; the loop has not turned yet
    from house import Wire

    again = Wire(house, wire.client)
    hello = wire.client.connect()
    again.front.data_received(hello + _dup(TOPIC, b"1", 1))
    house.turns.run()
    assert house.bodies() == [b"1"]


# -- presence and housekeeping -------------------------------------------------------------------------


def test_one_bad_connection_does_not_stop_the_housekeeping(house):
    """A connection whose `tick` fails does not keep the others from being looked at."""

    class Broken:
        def tick(self, monotonic, now):
            raise RuntimeError("a bug")

        def drop(self, reason):
            pass

    _, silent = house.dial()
    for _ in range(8):  # a set: wherever the silent one stands, a broken one comes before it
        house.hub.connections.add(Broken())
    house.clock.advance(11)
    house.hub.tick()
    assert silent.closed
    house.hub.connections.clear()


def test_reset_closes_and_empties(house):
    """After a reset there is no identity, session, message or group; numbers and policies go on."""
    wire = house.connected("d")
    wire.publish(b"1")
    house.hub.create_consumer_group("mine")
    keys = dict(house.hub.access.policies)
    house.hub.reset()
    house.turns.run()
    assert wire.transport.closed
    assert house.hub.identities.count() == (0, 0, 0)
    assert house.bodies() == []
    assert house.hub.consumer_groups() == ["$Default"]
    assert house.hub.access.policies == keys
    again = house.connected("d")
    assert not again.connack.session_present
    again.publish(b"2")
    assert [(event.seq, event.body) for event in house.events()] == [(1, b"2")]


def test_a_shutdown_acknowledges_what_it_has_stored(house):
    """An orderly stop commits what has arrived and tells the devices before it closes."""
    wire = house.connected("d")
    _, data = wire.client.publish(TOPIC, b"1")
    wire.front.data_received(data)
    house.hub.close_connections()
    assert isinstance(wire.answers()[0], p.PubAcks)
    assert wire.transport.closed
    assert house.bodies() == [b"1"]


def test_rights_of_the_policies():
    """The five policies of a new hub, with the rights that Azure gives them."""
    from iotedge_lab.hub.access import DEFAULT_POLICIES

    assert set(DEFAULT_POLICIES) == {"iothubowner", "service", "device", "registryRead", "registryReadWrite"}
    assert Right.DEVICE_CONNECT not in DEFAULT_POLICIES["service"]
