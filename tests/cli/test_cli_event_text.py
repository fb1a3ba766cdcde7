"""How events are shown."""

import json
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace

import pytest

from iotedge_lab.event_text import ShownEvent, pretty, readable, twelve_hours

WHEN = datetime(2026, 11, 22, 17, 59, 27, 123456, tzinfo=UTC)


def event(body, *, device=b"car1", module=None, properties=None, **system):
    """An `azure.eventhub.EventData` as far as it is read; names and values are bytes there."""
    found = {b"iothub-connection-device-id": device} | {
        k.replace("_", "-").encode(): v for k, v in system.items()
    }
    if module:
        found[b"iothub-connection-module-id"] = module
    return ShownEvent.of(
        "1",
        SimpleNamespace(
            system_properties=found,
            properties=properties,
            body=iter([body]),
            sequence_number=7,
            offset="7",
            enqueued_time=WHEN,
        ),
    )


@pytest.mark.parametrize(
    ("body", "encoding", "value"),
    [
        (b'{"a": 1}', "json", {"a": 1}),
        (b" [1, 2] ", "json", [1, 2]),
        (b"23.5", "json", 23.5),
        (b"null", "json", None),
        (b'"quoted"', "json", "quoted"),
        (b"plain text", "text", "plain text"),
        (b"two\nlines\t", "text", "two\nlines\t"),
        (b"", "text", ""),
        (b"NaN", "text", "NaN"),
        (b'{"a": Infinity}', "text", '{"a": Infinity}'),
        ("grüße".encode(), "text", "grüße"),
        (b"[" * 100_000, "text", "[" * 100_000),
        (b"9" * 5000, "text", "9" * 5000),
        (b"\xff\xfe", "base64", "//4="),
        (b"\x00\x01", "base64", "AAE="),
        ("grüße".encode("utf-16"), "base64", "//5nAHIA/ADfAGUA"),
    ],
)  # fmt: skip
def test_a_body_is_json_text_or_base64(body, encoding, value):
    """The first of the three that the bytes are."""
    assert readable(body) == (encoding, value)


@pytest.mark.parametrize(
    ("hour", "text"), [(0, "12:05:09 AM"), (1, "1:05:09 AM"), (11, "11:05:09 AM"), (12, "12:05:09 PM"),
                       (13, "1:05:09 PM"), (23, "11:05:09 PM")],
)  # fmt: skip
def test_times_have_twelve_hours(hour, text):
    """As JavaScript's en-US has them: no leading zero, 12 at midnight and noon."""
    assert twelve_hours(datetime(2026, 1, 2, hour, 5, 9, tzinfo=UTC), UTC) == text


def test_times_are_local():
    """The hub says UTC, and a person reads the clock on the wall."""
    assert twelve_hours(WHEN, timezone(timedelta(hours=-8))) == "9:59:27 AM"


@pytest.mark.parametrize(
    ("shown", "lines"),
    [
        (event(b'{"speed": 12.5}', module=b"cam"), ["[car1/cam]:", "{", '  "speed": 12.5', "}"]),
        (event(b'say "hi"'), ["[car1]:", '"say \\"hi\\""']),
        (event(b"\x1b[2J\xff"), ["[car1]:", "(5 bytes, base64) G1sySv8="]),
        (event('{"ä": "€"}'.encode()), ["[car1]:", "{", '  "ä": "€"', "}"]),
    ],
)  # fmt: skip
def test_an_event_looks_as_in_vs_code(shown, lines):
    """`[IoTHubMonitor] [5:59:27 PM] Message received from [device/module]:`, then the body."""
    first, *rest = shown.text(zone=UTC).split("\n")
    assert first == f"[IoTHubMonitor] [5:59:27 PM] Message received from {lines[0]}"
    assert rest == lines[1:]


def test_properties_stand_beside_the_body():
    """With --properties the body becomes a member of an object, as in the extension."""
    shown = event(
        b'{"a":1}', properties={b"k": b"v", "n": 3}, message_id=b"m1", content_type=b"application/json"
    )
    assert json.loads(shown.text(properties=True).split("\n", 1)[1]) == {
        "body": {"a": 1},
        "applicationProperties": {"k": "v", "n": 3},
        "properties": {"message-id": "m1", "content-type": "application/json"},
    }


def test_binary_with_properties_says_so():
    """A body in base64 cannot be taken for text."""
    shown = json.loads(event(b"\xff").text(properties=True).split("\n", 1)[1])
    assert shown == {"body": "/w==", "bodyEncoding": "base64", "applicationProperties": {}}


def test_json_lines_hold_everything():
    """One object an event, with the hub's time in UTC."""
    found = event(b"x", module=b"m", x_opt_sequence_number=7).to_json()
    assert json.loads(json.dumps(found)) == {
        "deviceId": "car1", "moduleId": "m", "enqueuedTime": "2026-11-22T17:59:27.123Z", "partition": "1",
        "sequenceNumber": 7, "offset": "7", "bodyEncoding": "text", "body": "x", "properties": {},
        "systemProperties": {"iothub-connection-device-id": "car1", "iothub-connection-module-id": "m",
                             "x-opt-sequence-number": 7},
    }  # fmt: skip


def test_half_a_surrogate_pair_can_be_printed():
    """A message may hold \\ud800, which no terminal encodes."""
    encoding, value = readable(b'{"a": "\\ud800"}')
    assert encoding == "json"
    pretty(value).encode("utf-8")
