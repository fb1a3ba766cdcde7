"""Telemetry from azure-iot-device to azure-eventhub, property by property."""

import asyncio
import json
import zlib
from functools import partial

import pytest
from azure.iot.device import Message
from azure.iot.device.aio import IoTHubDeviceClient, IoTHubModuleClient
from hub_clients import RawDevice

from iotedge_lab.wire.mqtt.encode import encode_publish
from iotedge_lab.wire.mqtt.packets import PubAcks, SubAck

ODD = {
    "plain": "value",
    "space in it": "and in this",
    "ünïcode ☃": "größer 🚗",
    "a&b=c": "d&e=f",
    "sl/ash": "x/y/z",
    "per%cent": "100%25",
    "plus+": "a+b",
    "#": "+",
    "question?": "?",
    "empty": "",
    "$dollar": "$.mid",
    "quote'\"": "\\",
}


def _from(events, device):
    """The events of one device."""
    return [one for one in events if one.system_properties[b"iothub-connection-device-id"] == device.encode()]


def _text(mapping):
    """Names and values that azure-eventhub hands out as bytes or str, as str."""
    plain = lambda value: value.decode() if isinstance(value, bytes) else value  # noqa: E731
    return {plain(name): plain(value) for name, value in mapping.items()}


def _full(body="body"):
    message = Message(body)
    message.message_id = "id-1"
    message.correlation_id = "corr ü/&=1"
    message.user_id = "me"
    message.content_type = "application/json"
    message.content_encoding = "utf-8"
    message.custom_properties.update(ODD)
    return message


def _check(event, device, module=None):
    system = _text(event.system_properties)
    assert system["message-id"] == "id-1"
    assert system["correlation-id"] == "corr ü/&=1"
    assert system["user-id"] == "me"
    assert system["content-type"] == "application/json"
    assert system["content-encoding"] == "utf-8"
    assert system["iothub-connection-device-id"] == device
    assert system.get("iothub-connection-module-id") == module
    assert system["iothub-message-source"] == "Telemetry"
    assert json.loads(system["iothub-connection-auth-method"])["type"] == "sas"
    assert system["iothub-connection-auth-generation-id"].isdigit()
    assert system["x-opt-sequence-number"] == event.sequence_number
    assert abs(system["iothub-enqueuedtime"] - event.enqueued_time.timestamp() * 1000) < 1
    assert _text(event.properties) == ODD
    assert event.body_as_str() == "body"


def test_all_properties_of_a_device(sdk, consume, device, partition_of):
    """Each system property and odd custom one arrives as it was set."""
    client = sdk(device)
    client.connect()
    client.send_message(_full())
    (event,) = _from(consume(partition_id=partition_of(device)).wait(1), device)[:1]
    _check(event, device)


def test_all_properties_of_a_module(sdk, consume, registry, device, partition_of):
    """A module's message names device and module, and its output."""
    registry.create_module_with_sas(device, "mod", "", "", "")
    client = sdk(device, "mod")
    client.connect()
    client.send_message(_full())
    client.send_message_to_output(_full(), "output one/ü")
    events = consume(partition_id=partition_of(device)).wait(2)
    plain, out = [event for event in events if event.system_properties.get(b"iothub-connection-module-id")][
        -2:
    ]
    for event in (plain, out):
        _check(event, device, "mod")
    assert _text(out.system_properties)["iothub-outputname"] == "output one/ü"
    assert b"iothub-outputname" not in plain.system_properties


async def test_the_aio_client(lab, registry, consume, device, partition_of):
    """The asynchronous clients, device and module, many messages at once."""
    registry.create_module_with_sas(device, "mod", "", "", "")
    one = IoTHubDeviceClient.create_from_connection_string(lab.device_connection_string(device))
    two = IoTHubModuleClient.create_from_connection_string(lab.device_connection_string(device, "mod"))
    try:
        await asyncio.gather(one.connect(), two.connect())
        await asyncio.gather(*(one.send_message(f"d{number}") for number in range(50)))
        await two.send_message(_full())
        await two.send_message_to_output("m", "out")
    finally:
        await asyncio.gather(one.shutdown(), two.shutdown())
    reader = consume(partition_id=partition_of(device))
    events = await asyncio.to_thread(reader.wait, 52)
    mine = _from(events, device)
    assert {event.body_as_str() for event in mine} == {f"d{number}" for number in range(50)} | {"body", "m"}
    _check(next(event for event in mine if event.body_as_str() == "body"), device, "mod")


@pytest.mark.parametrize("size", [0, 1, 250_000])
def test_sizes(sdk, consume, device, partition_of, size):
    """From an empty message to about as much as the SDK sends, which counts the properties too."""
    client = sdk(device)
    client.connect()
    body = bytes(number % 251 for number in range(size))
    client.send_message(Message(body) if size else "")
    reader = consume(partition_id=partition_of(device))
    with reader.news:
        assert reader.news.wait_for(lambda: _from(reader.events, device), 10)
    (event,) = _from(reader.events, device)
    got = b"".join(event.body)
    assert len(got) == size
    assert got == body


def test_256_kb_are_taken(raw, consume, device, partition_of):
    """The limit itself is within the limit."""
    one = raw(device)
    one.send(b"x" * 256 * 1024)
    reader = consume(partition_id=partition_of(device))
    with reader.news:
        assert reader.news.wait_for(lambda: _from(reader.events, device), 10)
    assert len(b"".join(_from(reader.events, device)[0].body)) == 256 * 1024


def test_more_than_256_kb_closes_the_connection(raw, device):
    """The SDK refuses it by itself; a client that does not is cut, and what it sent before is kept."""
    one = raw(device)
    one.send(b"good")
    _, data = one.client.publish(one.topic, b"x" * (256 * 1024 + 1))
    one.sock.sendall(data)
    assert one.closed_by_hub()
    assert len(one.client.in_flight) == 1


def test_qos_2_disconnects_and_is_granted_1(raw, device):
    """A QoS 2 subscription is granted 1; a QoS 2 publish ends the connection."""
    one = raw(device, tls=True)
    one.sock.sendall(one.client.subscribe([(f"devices/{device}/messages/devicebound/#", 2)])[1])
    assert list(one.until(SubAck).codes) == [1]
    one.sock.sendall(one.client.publish(one.topic, b"x", 2)[1])
    assert one.closed_by_hub()


def test_retain_becomes_a_property(raw, consume, device, partition_of):
    """RETAIN is not kept by the hub, and told as mqtt-retain."""
    one = raw(device)
    one.sock.sendall(encode_publish(one.topic + "a=b", b"retained", 1, 7, retain=True))
    assert 7 in one.until(PubAcks).packet_ids
    reader = consume(partition_id=partition_of(device))
    with reader.news:
        assert reader.news.wait_for(lambda: _from(reader.events, device), 10)
    (event,) = _from(reader.events, device)
    assert _text(event.properties) == {"a": "b", "mqtt-retain": "true"}


def test_a_device_stays_in_its_partition(lab, raw, consume, partition_of):
    """All messages of a device, its modules' too, lie in the one partition of its hash, in order."""
    names = [f"part-{number}" for number in range(8)]
    for name in names:
        lab.rest().call("PUT", f"/devices/{name}", {})
        lab.rest().call("PUT", f"/devices/{name}/modules/m", {})
    assert {partition_of(name) for name in names} == {"0", "1"}
    for name in names:
        device, module = raw(name), raw(name, "m")
        for number in range(5):
            device.send(b"d%d" % number)
            module.send(b"m%d" % number)
    readers = {partition: consume(partition_id=partition) for partition in ("0", "1")}
    for name in names:
        here = readers[partition_of(name)]
        with here.news:
            assert here.news.wait_for(partial(_has, here, name, 10), 10)
        expected = [f"{kind}{number}" for number in range(5) for kind in "dm"]
        assert [event.body_as_str() for event in _from(here.events, name)] == expected
        (other,) = (reader for reader in readers.values() if reader is not here)
        assert _from(other.events, name) == []
    assert zlib.crc32(b"part-0") % 2 == int(partition_of("part-0"))


def _has(reader, device, count):
    return len(_from(reader.events, device)) == count


def test_five_thousand_in_order(device, raw, consume, partition_of):
    """What one device sends comes out in the order in which it was sent, numbered without a gap."""
    one = raw(device)
    reader = consume(partition_id=partition_of(device), starting_position="@latest")
    _settled(one, reader)
    first = len(reader.events)
    for start in range(0, 5000, 500):
        one.send(*(b"%d" % number for number in range(start, start + 500)))
    events = reader.wait(first + 5000, 30)[first:]
    assert [int(event.body_as_str()) for event in events] == list(range(5000))
    numbers = [event.sequence_number for event in events]
    assert numbers == list(range(numbers[0], numbers[0] + 5000))


def _settled(one: RawDevice, reader):
    """A consumer at @latest is there once it hears something.

    azure-eventhub hands out nothing while events come less than 0.2 s apart and fewer than its prefetch are
    there, so the questions come half a second apart.
    """
    for _ in range(20):
        one.send(b"are you there")
        with reader.news:
            if reader.news.wait_for(lambda: reader.events, 0.5):
                break
    else:
        pytest.fail("the consumer never heard anything")
    one.send(b"last")
    with reader.news:
        assert reader.news.wait_for(lambda: reader.events[-1].body_as_str() == "last", 10)
