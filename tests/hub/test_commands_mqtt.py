"""Cloud-to-device messages over MQTT: a raw client against the front, on a fake wire."""

import pytest
from house import Wire

from iotedge_lab.hub.command_message import Draft
from iotedge_lab.wire.mqtt.encode import encode_puback
from iotedge_lab.wire.mqtt.packets import Publish, PublishRun
from iotedge_lab.wire.mqtt.runs import iter_publishes

FILTER = "devices/d/messages/devicebound/#"


def messages(events):
    """What a client was sent: (packet id, topic, payload, DUP) of each message."""
    found = []
    for event in events:
        if isinstance(event, PublishRun):
            found += [
                (number, topic.decode(), body, False) for topic, body, number in iter_publishes(event.raw)
            ]
        elif isinstance(event, Publish):
            found.append((event.packet_id, event.topic, event.payload, event.dup))
    return found


def send(house, body=b"x", *, device="d", **draft):
    """Send as a service does; the error that it was told, or None."""
    told = []
    house.hub.commands.send(Draft(device, body, **draft), told.append)
    house.turns.run()
    assert len(told) == 1
    return told[0]


def come(house, *, subscribe=None, clean=False):
    """The device connects (and subscribes); its wire and what came with the connection."""
    if house.hub.identities.find("d") is None:
        house.register("d")
    client = house.client("d", clean_session=clean)
    return reconnect(house, client, subscribe=subscribe)


def reconnect(house, client, *, subscribe=None):
    wire = Wire(house, client)
    events = wire.send(client.connect())
    if subscribe is not None:
        _, data = client.subscribe([(FILTER, subscribe)])
        events += wire.send(data)
    return wire, messages(events)


def test_a_message_waits_for_the_subscription(house):
    """A device that connects for the first time gets what waits when it subscribes, in order."""
    house.register("d")
    for body in (b"1", b"2", b"3"):
        assert send(house, body) is None
    wire, got = come(house)
    assert got == []
    _, data = wire.client.subscribe([(FILTER, 1)])
    assert [body for _, _, body, _ in messages(wire.send(data))] == [b"1", b"2", b"3"]


def test_a_device_that_slept_gets_its_messages_without_subscribing_again(house):
    """The session keeps the subscription: azure-iot-device never subscribes again after a reconnect."""
    wire, _ = come(house, subscribe=1)
    wire.send(wire.client.disconnect())
    send(house, b"1")
    house.restart()
    wire, got = reconnect(house, wire.client)
    assert [body for _, _, body, _ in got] == [b"1"]
    send(house, b"2")
    assert [body for _, _, body, _ in messages(wire.answers())] == [b"2"]


def test_the_topic_carries_every_property(house):
    """The form that IoT Hub documents: `%24.to` first, system properties, then the sender's own."""
    wire, _ = come(house, subscribe=1)
    send(
        house,
        system={
            "message-id": "m1",
            "correlation-id": "c/1",
            "user-id": "me",
            "content-type": "application/json",
            "content-encoding": "utf-8",
        },
        properties={"b": "x=1&y/ü", "a": None, "c": ""},
        ack="full",
        expiry=int((house.clock.now() + 60) * 1000),
    )
    [(_, topic, _, _)] = messages(wire.answers())
    assert topic == (
        "devices/d/messages/devicebound/%24.to=%2Fdevices%2Fd%2Fmessages%2Fdevicebound&%24.mid=m1&%24.cid=c%2F1"
        "&%24.uid=me&%24.ct=application%2Fjson&%24.ce=utf-8&%24.exp=2023-11-14T22%3A14%3A20.000000Z"
        "&a&b=x%3D1%26y%2F%C3%BC&c=&iothub-ack=full"
    )


def test_a_puback_completes(house):
    """Acknowledged messages leave the queue, the others stay, over a restart too."""
    wire, _ = come(house, subscribe=1)
    for body in (b"1", b"2", b"3"):
        send(house, body)
    got = messages(wire.answers())
    wire.send(encode_puback(got[0][0]) + encode_puback(got[2][0]))
    assert house.hub.commands.count("d") == 1
    house.restart()
    _, got = reconnect(house, wire.client)
    assert [(body, dup) for _, _, body, dup in got] == [(b"2", False)], "a new delivery after a restart"


def test_what_was_not_acknowledged_comes_again_with_dup_and_its_packet_id(house):
    """Within a hub's life a reconnection repeats the same packets; a late PUBACK then completes them."""
    wire, _ = come(house, subscribe=1)
    send(house, b"1")
    send(house, b"2")
    first = messages(wire.answers())
    wire.cut()
    send(house, b"3")
    wire, got = reconnect(house, wire.client)
    assert [(number, body, dup) for number, _, body, dup in got[:2]] == [
        (first[0][0], b"1", True),
        (first[1][0], b"2", True),
    ]
    assert [(body, dup) for _, _, body, dup in got[2:]] == [(b"3", False)]
    assert got[2][0] not in (first[0][0], first[1][0])
    wire.send(b"".join(encode_puback(number) for number, *_ in got))
    assert house.hub.commands.count("d") == 0


def test_a_takeover_carries_on_with_the_same_packets(house):
    """A device that reconnects before the hub has noticed gets the same packets once more, marked DUP."""
    old, _ = come(house, subscribe=1)
    send(house, b"1")
    [(number, *_)] = messages(old.answers())
    _, got = reconnect(house, old.client)
    assert [(one[0], one[2], one[3]) for one in got] == [(number, b"1", True)]
    assert old.transport.closed
    assert house.hub.commands.count("d") == 1


def test_what_expired_meanwhile_is_not_sent_again(house):
    """The outbox forgets what the queue has dropped: purged, expired."""
    wire, _ = come(house, subscribe=1)
    send(house, b"1", expiry=int((house.clock.now() + 5) * 1000))
    send(house, b"2")
    wire.cut()
    house.clock.advance(5)
    house.hub.tick()
    _, got = reconnect(house, wire.client)
    assert [body for _, _, body, _ in got] == [b"2"]


def test_a_clean_session_gets_what_waits_as_new_deliveries(house):
    """The outbox goes with the session; the queue does not."""
    wire, _ = come(house, subscribe=1)
    send(house, b"1")
    wire.cut()
    _, got = come(house, subscribe=1, clean=True)
    assert [(body, dup) for _, _, body, dup in got] == [(b"1", False)]


def test_qos_0_completes_when_sent(house):
    """A QoS 0 subscription gets each message once."""
    wire, _ = come(house, subscribe=0)
    send(house, b"1")
    assert [(number, body) for number, _, body, _ in messages(wire.answers())] == [(0, b"1")]
    assert house.hub.commands.count("d") == 0


def test_a_device_that_has_unsubscribed_gets_nothing(house):
    """Messages wait again."""
    wire, _ = come(house, subscribe=1)
    wire.send(wire.client.unsubscribe([FILTER])[1])
    send(house, b"1")
    assert messages(wire.answers()) == []
    assert house.hub.commands.count("d") == 1


def test_a_module_takes_nothing_of_its_device(house):
    """A module's connection neither gets the device's messages nor ends their delivery."""
    wire, _ = come(house, subscribe=1)
    module = house.connected("d", "m")
    send(house, b"1")
    assert messages(module.answers()) == []
    assert len(messages(wire.answers())) == 1
    module.cut()
    wire.cut()
    assert house.hub.commands.receive("d").command.deliveries == 1


def test_nothing_is_accepted_before_it_is_durable(house):
    """The sender is told, and the device gets the message, only after the turn's commit."""
    wire, _ = come(house, subscribe=1)
    told = []
    house.hub.commands.send(Draft("d", b"1"), told.append)
    assert (told, messages(wire.answers())) == ([], [])
    house.restart()  # killed before the commit: nobody was told anything
    assert house.hub.commands.count("d") == 0
    house.hub.commands.send(Draft("d", b"2"), told.append)
    house.turns.run()
    assert told == [None]
    house.restart()
    assert house.hub.commands.count("d") == 1


@pytest.mark.parametrize("pairs", [1, 60])
def test_many_messages_in_one_turn_share_a_commit(house, pairs):
    """What comes in one turn of the loop is one transaction; the limit of 50 holds inside it."""
    house.register("d")
    told = []
    commits = []
    house.hub.store.db.set_trace_callback(lambda text: commits.append(text) if text == "COMMIT" else None)
    for number in range(pairs):
        house.hub.commands.send(Draft("d", b"%d" % number), told.append)
    house.turns.run()
    assert len(commits) == 1
    assert [error is None for error in told] == [number < 50 for number in range(pairs)]
