"""IoT Hub's topics: written as the hub and the SDK write them, read as they read them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iotedge_lab.errors import ArgumentInvalid, ProtocolViolation, Unauthorized
from iotedge_lab.wire import topics as t
from iotedge_lab.wire.mqtt.filters import matches, topic_fault, valid_filter

# Topic, what it says, and the call that writes it; used for reading and for writing.
FROM_DEVICE = {
    "devices/dev1/messages/events/": (t.TelemetryTopic("dev1"), lambda: t.telemetry_topic("dev1")),
    "devices/dev1/modules/mod1/messages/events/": (
        t.TelemetryTopic("dev1", "mod1"),
        lambda: t.telemetry_topic("dev1", "mod1"),
    ),
    "devices/dev1/messages/events/%24.mid=m1&%24.ct=application%2Fjson&%24.ce=utf-8&a=1&b%20c=d%26e": (
        t.TelemetryTopic(
            "dev1",
            None,
            {"message-id": "m1", "content-type": "application/json", "content-encoding": "utf-8"},
            {"a": "1", "b c": "d&e"},
        ),
        lambda: t.telemetry_topic(
            "dev1",
            None,
            {"content-encoding": "utf-8", "content-type": "application/json", "message-id": "m1"},
            {"b c": "d&e", "a": "1"},
        ),
    ),
    "devices/d/modules/m/messages/events/%24.on=output1&none&empty=": (
        t.TelemetryTopic("d", "m", {"iothub-outputname": "output1"}, {"none": None, "empty": ""}),
        None,
    ),
    "$iothub/twin/GET/?$rid=abc-1": (t.TwinGet("abc-1"), lambda: t.twin_get_topic("abc-1")),
    "$iothub/twin/PATCH/properties/reported/?$rid=7": (
        t.ReportedPatch("7"),
        lambda: t.reported_patch_topic("7"),
    ),
    "$iothub/twin/PATCH/properties/reported/?$rid=7&$version=4": (
        t.ReportedPatch("7", 4),
        lambda: t.reported_patch_topic("7", 4),
    ),
    "$iothub/methods/res/200/?$rid=a%2Fb": (
        t.MethodResponse(200, "a/b"),
        lambda: t.method_response_topic(200, "a/b"),
    ),
    "$iothub/methods/res/-1/?$rid=1": (t.MethodResponse(-1, "1"), lambda: t.method_response_topic(-1, "1")),
}
FROM_HUB = {
    "devices/dev1/messages/devicebound/%24.to=%2Fdevices%2Fdev1%2Fmessages%2Fdevicebound": (
        t.CloudMessage("dev1", {"to": "/devices/dev1/messages/devicebound"}),
        lambda: t.cloud_message_topic("dev1"),
    ),
    "devices/d/messages/devicebound/%24.to=%2Fdevices%2Fd%2Fmessages%2Fdevicebound&%24.mid=1&k=%2F": (
        t.CloudMessage(
            "d",
            {"to": "/devices/d/messages/devicebound", "message-id": "1"},
            {"k": "/"},
        ),
        lambda: t.cloud_message_topic("d", {"message-id": "1", "to": "x"}, {"k": "/"}),
    ),
    "devices/d/modules/m/inputs/in%2F1/%24.mid=1&%24.cdid=car&k=v": (
        t.InputMessage(
            "d", "m", "in/1", {"message-id": "1", "iothub-connection-device-id": "car"}, {"k": "v"}
        ),
        lambda: t.input_topic(
            "d", "m", "in/1", {"message-id": "1", "iothub-connection-device-id": "car"}, {"k": "v"}
        ),
    ),
    "devices/d/modules/m/inputs/input1/": (
        t.InputMessage("d", "m", "input1"),
        lambda: t.input_topic("d", "m", "input1"),
    ),
    "$iothub/twin/res/200/?$rid=1": (t.TwinResponse(200, "1"), lambda: t.twin_response_topic(200, "1")),
    "$iothub/twin/res/204/?$rid=1&$version=6": (
        t.TwinResponse(204, "1", 6),
        lambda: t.twin_response_topic(204, "1", 6),
    ),
    "$iothub/twin/PATCH/properties/desired/?$version=3": (
        t.DesiredPatch(3),
        lambda: t.desired_patch_topic(3),
    ),
    "$iothub/methods/POST/reboot%20now%2F/?$rid=1": (
        t.MethodCall("reboot now/", "1"),
        lambda: t.method_call_topic("reboot now/", "1"),
    ),
}


@pytest.mark.parametrize(("topic", "expected", "build"), [(k, *v) for k, v in FROM_DEVICE.items()])
def test_topics_from_a_device(topic, expected, build):
    """What a device publishes to is read and written, as text and as bytes."""
    assert t.parse_device_topic(topic) == expected
    assert t.parse_device_topic(topic.encode()) == expected
    assert build is None or build() == topic
    assert topic_fault(topic.encode()) is None
    with pytest.raises(ProtocolViolation):
        t.parse_hub_topic(topic)


@pytest.mark.parametrize(("topic", "expected", "build"), [(k, *v) for k, v in FROM_HUB.items()])
def test_topics_from_the_hub(topic, expected, build):
    """What the hub publishes to is read and written, and some subscription of the SDK's gets it."""
    assert t.parse_hub_topic(topic) == expected
    assert build() == topic
    with pytest.raises(ProtocolViolation):
        t.parse_device_topic(topic)
    filters = t.device_filters(getattr(expected, "device", "d"), getattr(expected, "module", None))
    assert all(map(valid_filter, filters))
    assert sum(matches(topic_filter, topic) for topic_filter in filters) == 1


@pytest.mark.parametrize(
    "topic",
    [
        "devices/d/messages/events/?%24.mid=1&k=v",
        "devices/d/messages/events/?$.mid=1&k=v",
        "devices/d/messages/events/$.mid=1&k=v/",
        "devices/d/messages/events/&$.mid=0&&k=v&$.mid=1&",
    ],
)
def test_other_spellings_of_a_property_bag(topic):
    """A leading '?', '$' in plain letters, the trailing '/' of other SDKs, and empty parts are read."""
    assert t.parse_telemetry(topic) == t.TelemetryTopic("d", None, {"message-id": "1"}, {"k": "v"})


@pytest.mark.parametrize(
    ("bag", "system", "properties"),
    [
        ("", {}, {}),
        ("?", {}, {}),
        (
            "$.ct=application/json&$.ce=utf-8",
            {"content-type": "application/json", "content-encoding": "utf-8"},
            {},
        ),
        ("a=b=c", {}, {"a": "b=c"}),
        ("a+b=c+d", {}, {"a+b": "c+d"}),
        ("=x", {}, {"": "x"}),
        ("$.ctime=2026-11-22T10:00:00Z", {"iothub-creation-time-utc": "2026-11-22T10:00:00Z"}, {}),
        ("$.mid", {"message-id": ""}, {}),
        ("$.new=1", {}, {"$.new": "1"}),
        ("a=%zz", {}, {"a": "%zz"}),
        ("%C3%A4=%F0%9F%98%80", {}, {"ä": "😀"}),
    ],
)
def test_property_bags(bag, system, properties):
    """Names and values are decoded; '+' is a plus, and a name without '=' has no value."""
    assert t.decode_properties(bag) == (system, properties)
    topic = "devices/d/messages/events/" + bag
    assert t.parse_telemetry(topic) == t.TelemetryTopic("d", None, system, properties)


def test_the_device_sdk_writes_what_is_read():
    """azure-iot-device's topic of a message with all its properties is read, and written the same."""
    from azure.iot.device import Message
    from azure.iot.device.iothub.pipeline import mqtt_topic_iothub as sdk

    message = Message("x", "id/1", "utf-8", "application/json", "output 1")
    message.correlation_id, message.user_id, message.expiry_time_utc = "c&d", "ü", "2026-11-22T10:00:00"
    message.set_as_security_message()
    message.custom_properties = {"b": "1 + 1", "a": "ä/#", "$x": 5}
    topic = sdk.encode_message_properties_in_topic(message, sdk.get_telemetry_topic_for_publish("d", "m"))
    system = {
        "iothub-outputname": "output 1",
        "message-id": "id/1",
        "correlation-id": "c&d",
        "user-id": "ü",
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "iothub-interface-id": "urn:azureiot:Security:SecurityAgent:1",
        "absolute-expiry-time": "2026-11-22T10:00:00",
    }
    properties = {"b": "1 + 1", "a": "ä/#", "$x": "5"}
    assert t.parse_telemetry(topic) == t.TelemetryTopic("d", "m", system, properties)
    assert t.telemetry_topic("d", "m", system, properties) == topic


def test_the_device_sdk_reads_what_is_written():
    """azure-iot-device finds name, request id, status and properties in the hub's topics."""
    from azure.iot.device import Message
    from azure.iot.device.iothub.pipeline import mqtt_topic_iothub as sdk

    call = t.method_call_topic("do it/now", "1/2")
    assert sdk.is_method_topic(call)
    assert sdk.get_method_name_from_topic(call) == "do it/now"
    assert sdk.get_method_request_id_from_topic(call) == "1/2"
    answer = t.twin_response_topic(204, "ab-c", 5)
    assert sdk.is_twin_response_topic(answer)
    assert sdk.get_twin_request_id_from_topic(answer) == "ab-c"
    assert sdk.get_twin_status_code_from_topic(answer) == "204"
    assert sdk.is_twin_desired_property_patch_topic(t.desired_patch_topic(1))

    system = {"message-id": "m/1", "content-type": "text/plain"}
    for topic in (
        t.cloud_message_topic("d", system, {"k": "a=b/c", "iothub-ack": "full"}),
        t.input_topic("d", "m", "in/1", system, {"k": "a=b/c", "iothub-ack": "full"}),
    ):
        message = Message("")
        sdk.extract_message_properties_from_topic(topic, message)
        assert (message.message_id, message.content_type, message.ack) == ("m/1", "text/plain", "full")
        assert message.custom_properties == {"k": "a=b/c"}
    assert sdk.is_c2d_topic(t.cloud_message_topic("d"), "d")
    assert sdk.get_input_name_from_topic(topic) == "in/1"

    for built, of_sdk in (
        (t.twin_get_topic("r"), sdk.get_twin_topic_for_publish("GET", "/", "r")),
        (t.reported_patch_topic("r"), sdk.get_twin_topic_for_publish("PATCH", "/properties/reported/", "r")),
        (t.method_response_topic(200, "r"), sdk.get_method_topic_for_publish("r", 200)),
    ):
        assert built == of_sdk


def test_the_device_sdk_may_subscribe():
    """Every filter of azure-iot-device's is allowed to its own identity, and to no other."""
    from azure.iot.device.iothub.pipeline import mqtt_topic_iothub as sdk

    shared = [
        sdk.get_method_topic_for_subscribe(),
        sdk.get_twin_response_topic_for_subscribe(),
        sdk.get_twin_patch_topic_for_subscribe(),
    ]
    device, module = sdk.get_c2d_topic_for_subscribe("d"), sdk.get_input_topic_for_subscribe("d", "m")
    assert set(t.device_filters("d")) == {device, *shared}
    assert set(t.device_filters("d", "m")) == {module, *shared}
    for topic_filter in (device, *shared):
        assert t.allowed_filter(topic_filter, "d")
    for topic_filter in (module, *shared):
        assert t.allowed_filter(topic_filter, "d", "m")
    assert not t.allowed_filter(device, "d2")
    assert not t.allowed_filter(device, "d", "m")
    assert not t.allowed_filter(module, "d")
    assert not t.allowed_filter(module, "d", "m2")


@pytest.mark.parametrize(
    ("topic_filter", "allowed"),
    [
        ("$iothub/methods/POST/reboot/#", True),
        ("$iothub/methods/POST/+", True),
        ("$iothub/twin/res", True),
        ("devices/d/messages/devicebound", True),
        ("devices/d/messages/devicebound/+", True),
        ("#", False),
        ("+/#", False),
        ("$iothub/#", False),
        ("$iothub/+/res/#", False),
        ("$iothub/twin/resx/#", False),
        ("$iothub/twin/PATCH/properties/reported/#", False),
        ("devices/+/messages/devicebound/#", False),
        ("devices/d/#", False),
        ("devices/d1/messages/devicebound/#", False),
        ("devices/d/messages/events/#", False),
        ("", False),
    ],
)
def test_allowed_filters(topic_filter, allowed):
    """Narrower filters are allowed, wider ones are not."""
    assert t.allowed_filter(topic_filter, "d") is allowed


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "/",
        "a/b",
        "devices/",
        "devices/d",
        "devices//messages/events/",
        "devices/d/modules//messages/events/",
        "devices/d/messages",
        "devices/d/messages/eventsx/",
        "devices/d/messages/devicebound",
        "devices/d/modules/m",
        "devices/d/modules/m/inputs",
        "Devices/d/messages/events/",
        "$iothub",
        "$iothub/twin/GET/",
        "$iothub/twin/GET/?$rid=",
        "$iothub/twin/GET/?rid=1",
        "$iothub/twin/PATCH/properties/reported/",
        "$iothub/twin/POST/?$rid=1",
        "$iothub/methods/res/?$rid=1",
        "$iothub/methods/res/ok/?$rid=1",
        "$iothub/methods/res/2²/?$rid=1",
        "$iothub/methods/res/200/x/?$rid=1",
        "$iothub/methods/res/200/",
        "$iothub/methods/POST/?$rid=1",
        "$iothub/methods/POST/a/b/?$rid=1",
        "$iothub/methods/POST/a",
        "$iothub/twin/res/200/",
        "$iothub/twin/GET/?$rid=%ff",
        "$edgehub/x",
        b"devices/\xff/messages/events/",
    ],
)
def test_unknown_topics(topic):
    """A topic that is in neither table is the peer's violation, whichever way it came."""
    if topic != "devices/d/messages/devicebound":
        with pytest.raises(ProtocolViolation):
            t.parse_hub_topic(topic)
    with pytest.raises(ProtocolViolation):
        t.parse_device_topic(topic)


def test_telemetry_and_nothing_else():
    """`parse_telemetry` refuses topics that are right and not telemetry."""
    with pytest.raises(ProtocolViolation):
        t.parse_telemetry("$iothub/twin/GET/?$rid=1")
    with pytest.raises(ProtocolViolation):
        t.parse_telemetry("devices/d/messages/events/a=%ff")
    assert t.parse_telemetry("devices/d/messages/events") == t.TelemetryTopic("d")
    assert t.parse_telemetry("devices/modules/modules/messages/messages/events/").module == "messages"


def test_unknown_system_properties_are_not_written():
    """A name that has no place in a topic is refused."""
    with pytest.raises(ArgumentInvalid, match="sequence-number"):
        t.encode_properties({"sequence-number": "1"})


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=15)


@settings(max_examples=80, deadline=None)
@given(
    st.dictionaries(st.sampled_from(list(t.SYSTEM_PROPERTIES.values())), words),
    st.dictionaries(words.filter(lambda name: name not in t.SYSTEM_PROPERTIES and name), st.none() | words),
)
def test_any_properties_come_through(system, properties):
    """Whatever stands in properties is the same after a topic, and the topic is one that MQTT carries."""
    bag = t.encode_properties(system, properties)
    assert t.decode_properties(bag) == (system, properties)
    for topic in (
        t.telemetry_topic("d", "m", system, properties),
        t.input_topic("d", "m", "i", system, properties),
    ):
        assert topic_fault(topic.encode()) is None
    assert t.parse_telemetry(t.telemetry_topic("d", "m", system, properties)).properties == properties
    received = t.parse_hub_topic(t.cloud_message_topic("d", system, properties))
    assert received.properties == properties


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("h/dev1/?api-version=2019-10-01", t.DeviceUsername("h", "dev1", None, "2019-10-01")),
        (
            "lab.example/dev1/mod1/?api-version=2020-09-30&DeviceClientType=py%2F2%20%28x%3B%29&model-id=dtmi%3Aa%3B1",
            t.DeviceUsername(
                "lab.example",
                "dev1",
                "mod1",
                "2020-09-30",
                "py/2 (x;)",
                "dtmi:a;1",
            ),
        ),
        ("h/d/?DeviceClientType=a/b?c&api-version=1", t.DeviceUsername("h", "d", None, "1", "a/b?c")),
        ("h/d/?api-version=1&other&model-id=", t.DeviceUsername("h", "d", None, "1")),
        ("h/d?api-version=2016-11-14", t.DeviceUsername("h", "d", None, "2016-11-14")),
        ("h/d/m?api-version=1", t.DeviceUsername("h", "d", "m", "1")),
        ("h/d/api-version=2016-11-14", t.DeviceUsername("h", "d", None, "2016-11-14")),
        ("h/d/m/api-version=1&DeviceClientType=x", t.DeviceUsername("h", "d", "m", "1", "x")),
        ("h/d", t.DeviceUsername("h", "d")),
        ("h/d/", t.DeviceUsername("h", "d")),
        ("h/d/?", t.DeviceUsername("h", "d")),
        ("h/wh?t/?api-version=1", t.DeviceUsername("h", "wh?t", None, "1")),
        ("h/?d/?api-version=1", t.DeviceUsername("h", "?d", None, "1")),
        ("h/a=b/$edgeHub/?api-version=1", t.DeviceUsername("h", "a=b", "$edgeHub", "1")),
    ],
)
def test_usernames(text, expected):
    """User names of all forms are read."""
    assert t.parse_username(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "h",
        "h/",
        "h//?api-version=1",
        "/d/?api-version=1",
        "h/d/m/x/?api-version=1",
        "h/?api-version=1",
        "?api-version=1",
        "h/d//?api-version=1",
    ],
)
def test_wrong_usernames(text):
    """A user name without host or device is refused with its form."""
    with pytest.raises(Unauthorized, match="user name"):
        t.parse_username(text)


@pytest.mark.parametrize("module", [None, "m"])
@pytest.mark.parametrize("model", [None, "dtmi:com:example;Thing;1"])
def test_a_username_comes_through(module, model):
    """What is written is read again."""
    text = t.username("h:1", "d?x", module, api_version="2021-04-12", client_type="a b/c?", model_id=model)
    assert t.parse_username(text) == t.DeviceUsername("h:1", "d?x", module, "2021-04-12", "a b/c?", model)


def test_client_ids():
    """A client id is a device id, or a device's and a module's."""
    assert t.parse_client_id("dev1") == ("dev1", None)
    assert t.parse_client_id("dev1/$edgeHub") == ("dev1", "$edgeHub")
    for wrong in ("", "/", "/m", "d/", "d/m/x", "d d", "d/m m"):
        with pytest.raises(ArgumentInvalid):
            t.parse_client_id(wrong)


@pytest.mark.parametrize("device", ["a", "A9", "x" * 128, "-:.%_*?!(),=@$'", "car-0001"])
def test_ids(device):
    """Ids of the documented characters are given back."""
    assert t.check_device_id(device) == device
    assert t.check_module_id(device) == device


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("", "empty"),
        ("x" * 129, "129 characters"),
        ("a b", "' '"),
        ("a/b", "'/'"),
        ("ä", "'ä'"),
        ("a\n", r"'\\n'"),
        ("a;b", "';'"),
        ("a+b", r"'\+'"),
        ("a#b", "'#'"),
        ("٣", "'٣'"),
        ("a\0", "x00"),
    ],
)
def test_wrong_ids(device, message):
    """The character at fault is named, and what may stand there."""
    with pytest.raises(ArgumentInvalid, match=message):
        t.check_device_id(device)
    with pytest.raises(ArgumentInvalid, match="module id"):
        t.check_module_id(device)
