"""Packets and their bytes: one table, used for writing and for reading."""

from iotedge_lab.wire.mqtt import packets as p
from iotedge_lab.wire.mqtt.encode import encode_publish
from iotedge_lab.wire.mqtt.runs import iter_publishes

TOPIC = "devices/dev1/messages/events/"

CASES = {
    "connect, the least": (p.Connect("a"), b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a"),
    "connect, no id and no session": (
        p.Connect("", keep_alive=0),
        b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00",
    ),
    "connect, as the device SDK does": (
        p.Connect("dev1", False, 60, "h/dev1/?api-version=2019-10-01", b"SAS"),
        b"\x10\x35\x00\x04MQTT\x04\xc0\x00\x3c\x00\x04dev1\x00\x1eh/dev1/?api-version=2019-10-01\x00\x03SAS",
    ),
    "connect with a will": (
        p.Connect("a", True, 65_535, will=p.Will("t", b"\x00\xff", 1, True)),
        b"\x10\x14\x00\x04MQTT\x04\x2e\xff\xff\x00\x01a\x00\x01t\x00\x02\x00\xff",
    ),
    "connect with an empty user name and password": (
        p.Connect("a", username="", password=b""),
        b"\x10\x11\x00\x04MQTT\x04\xc2\x00\x3c\x00\x01a\x00\x00\x00\x00",
    ),
    "connack": (p.ConnAck(), b"\x20\x02\x00\x00"),
    "connack with a session": (p.ConnAck(session_present=True), b"\x20\x02\x01\x00"),
    "connack, refused": (p.ConnAck(p.ConnackCode.NOT_AUTHORIZED), b"\x20\x02\x00\x05"),
    "publish, QoS 0": (p.Publish("a/b", b"hi"), b"\x30\x07\x00\x03a/bhi"),
    "publish, empty and retained": (p.Publish("a", b"", retain=True), b"\x31\x03\x00\x01a"),
    "publish, QoS 1 again": (p.Publish("a", b"x", 1, dup=True, packet_id=10), b"\x3a\x06\x00\x01a\x00\x0ax"),
    "publish, QoS 1 retained": (
        p.Publish("a", b"x", 1, retain=True, packet_id=10),
        b"\x33\x06\x00\x01a\x00\x0ax",
    ),
    "publish, QoS 2": (
        p.Publish("ä/😀", b"x", 2, packet_id=65_535),
        b"\x34\x0c\x00\x07\xc3\xa4/\xf0\x9f\x98\x80\xff\xffx",
    ),
    "puback": (p.PubAck(1), b"\x40\x02\x00\x01"),
    "pubrec": (p.PubRec(256), b"\x50\x02\x01\x00"),
    "pubrel": (p.PubRel(2), b"\x62\x02\x00\x02"),
    "pubcomp": (p.PubComp(3), b"\x70\x02\x00\x03"),
    "subscribe": (
        p.Subscribe(10, (("a/#", 1), ("+", 0), ("c", 2))),
        b"\x82\x10\x00\x0a\x00\x03a/#\x01\x00\x01+\x00\x00\x01c\x02",
    ),
    "suback": (p.SubAck(10, (0, 1, 2, 128)), b"\x90\x06\x00\x0a\x00\x01\x02\x80"),
    "unsubscribe": (p.Unsubscribe(9, ("a", "b/+")), b"\xa2\x0a\x00\x09\x00\x01a\x00\x03b/+"),
    "unsuback": (p.UnsubAck(9), b"\xb0\x02\x00\x09"),
    "pingreq": (p.PingReq(), b"\xc0\x00"),
    "pingresp": (p.PingResp(), b"\xd0\x00"),
    "disconnect": (p.Disconnect(), b"\xe0\x00"),
}

# What a client may send, from CONNECT to DISCONNECT.
EXCHANGE = b"".join(
    (
        CASES["connect, as the device SDK does"][1],
        CASES["subscribe"][1],
        encode_publish(TOPIC, b"one", 1, 1),
        encode_publish(TOPIC, b"two", 1, 2),
        encode_publish(TOPIC + "k=v", b"x" * 130, 1, 3),
        CASES["publish, QoS 0"][1],
        encode_publish(TOPIC, b"four", 1, 4),
        CASES["publish, QoS 1 again"][1],
        CASES["puback"][1],
        CASES["unsubscribe"][1],
        CASES["pingreq"][1],
        CASES["disconnect"][1],
    )
)


def singles(events):
    """Runs taken apart, so that what was read in one piece can be compared with what came in many."""
    result = []
    for event in events:
        if isinstance(event, p.PublishRun):
            messages = list(iter_publishes(event.raw))
            assert len(messages) == event.count
            assert event.acks == b"".join(b"\x40\x02" + i.to_bytes(2, "big") for _, _, i in messages)
            result += [p.Publish(topic.decode(), body, 1, packet_id=i) for topic, body, i in messages]
        elif isinstance(event, p.PubAcks):
            result += [p.PubAck(i) for i in event.packet_ids]
        else:
            result.append(event)
    return result
