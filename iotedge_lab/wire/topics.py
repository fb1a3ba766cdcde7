"""The MQTT topics, user names and ids of IoT Hub, written and read.

Azure: "Communicate with an IoT hub using the MQTT protocol" (iot-mqtt-connect-to-iot-hub), "Create and read
IoT Hub messages" (iot-hub-devguide-messages-construct), "Understand the identity registry in your IoT hub"
(rules of device and module ids). What the SDKs really write was read from azure-iot-device 2.14.

    from the device                                         read by `parse_device_topic` into
    devices/{d}[/modules/{m}]/messages/events/{props}       TelemetryTopic
    $iothub/twin/GET/?$rid={rid}                            TwinGet
    $iothub/twin/PATCH/properties/reported/?$rid={rid}      ReportedPatch
    $iothub/methods/res/{status}/?$rid={rid}                MethodResponse

    to the device                                           read by `parse_hub_topic` into
    devices/{d}/messages/devicebound/{props}                CloudMessage
    devices/{d}/modules/{m}/inputs/{name}/{props}           InputMessage
    $iothub/twin/res/{status}/?$rid={rid}[&$version={n}]    TwinResponse
    $iothub/twin/PATCH/properties/desired/?$version={n}     DesiredPatch
    $iothub/methods/POST/{name}/?$rid={rid}                 MethodCall

Device and module ids stand in topics as they are, never percent-encoded (the SDKs' wiki, "URL-Encoding
(MQTT)"). All else is encoded, `/` included, and a `+` that was not encoded means itself, not a blank.

Leaves out: what IoT Edge's own broker adds (`$edgehub/...`), and topics of the device provisioning service.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

from iotedge_lab.errors import ArgumentInvalid, ProtocolViolation, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Mapping

SPEC = "IoT Hub MQTT topics"

SYSTEM_PROPERTIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        # In the order in which azure-iot-device writes them, then those that only other SDKs write.
        "$.on": "iothub-outputname",  # the output of an edge module; routes read it
        "$.mid": "message-id",
        "$.cid": "correlation-id",
        "$.uid": "user-id",
        "$.ct": "content-type",  # application/json, with $.ce, lets routing queries look into the body
        "$.ce": "content-encoding",  # utf-8, utf-16 or utf-32
        "$.ifid": "iothub-interface-id",  # set for security messages
        "$.exp": "absolute-expiry-time",
        "$.to": "to",  # the hub sets it on cloud-to-device messages
        "$.ctime": "iothub-creation-time-utc",
        "$.sub": "dt-subject",  # the component, for Plug and Play
        "$.schema": "iothub-message-schema",
        "$.cdid": "iothub-connection-device-id",  # set by an edge hub on what it delivers to an input
        "$.cmid": "iothub-connection-module-id",
    }
)
"""The system property in a topic, to its name at the built-in endpoint and in routing queries."""

# The same by the name as it stands in a topic, with '$' encoded or not: spares decoding what comes most often.
_BY_ENCODED_NAME: Final = {
    spelling: name
    for wire, name in SYSTEM_PROPERTIES.items()
    for spelling in (wire, wire.replace("$", "%24"))
}

Properties = dict[str, str | None]
"""Application properties. A value is None where the topic has the name without `=`."""


@dataclass(frozen=True, slots=True)
class TelemetryTopic:
    """A message to the hub. `system` is keyed by the values of `SYSTEM_PROPERTIES`."""

    device: str
    module: str | None = None
    system: dict[str, str] = field(default_factory=dict)
    properties: Properties = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TwinGet:
    """A request for the whole twin."""

    request_id: str


@dataclass(frozen=True, slots=True)
class ReportedPatch:
    """A patch of the reported properties; `version` is set where it must meet the twin's."""

    request_id: str
    version: int | None = None


@dataclass(frozen=True, slots=True)
class MethodResponse:
    """The answer to a direct method; `status` is the device's own."""

    status: int
    request_id: str


@dataclass(frozen=True, slots=True)
class CloudMessage:
    """A message to a device."""

    device: str
    system: dict[str, str] = field(default_factory=dict)
    properties: Properties = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InputMessage:
    """A message to an input of a module."""

    device: str
    module: str
    input_name: str
    system: dict[str, str] = field(default_factory=dict)
    properties: Properties = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TwinResponse:
    """The answer to `TwinGet` (200) or `ReportedPatch` (204, with the new version)."""

    status: int
    request_id: str
    version: int | None = None


@dataclass(frozen=True, slots=True)
class DesiredPatch:
    """The desired properties have changed; the body repeats the version."""

    version: int | None = None


@dataclass(frozen=True, slots=True)
class MethodCall:
    """A direct method is called."""

    name: str
    request_id: str


DeviceTopic = TelemetryTopic | TwinGet | ReportedPatch | MethodResponse
HubTopic = CloudMessage | InputMessage | TwinResponse | DesiredPatch | MethodCall


# --- Property bags


def encode_properties(
    system: Mapping[str, str] | None = None, properties: Mapping[str, str | None] | None = None
) -> str:
    """A property bag as azure-iot-device writes it: system properties in its order, then ours, sorted.

    `system` is keyed by the names that `SYSTEM_PROPERTIES` gives. Raises ArgumentInvalid for another name.
    """
    given = dict(system or {})
    parts = [(wire, given.pop(name)) for wire, name in SYSTEM_PROPERTIES.items() if name in given]
    if given:
        raise ArgumentInvalid(
            f"'{next(iter(given))}' is not a system property that MQTT carries; make it a property of yours."
        )
    pairs: list[tuple[str, str | None]] = [*parts, *sorted((properties or {}).items())]
    return "&".join(
        quote(name, safe="") if value is None else f"{quote(name, safe='')}={quote(value, safe='')}"
        for name, value in pairs
    )


def decode_properties(bag: str) -> tuple[dict[str, str], Properties]:
    """A property bag, `name=value&...`, as system properties by name and the sender's own.

    A leading `?` and a trailing `/` (which other SDKs write) are passed over. Of a name that is there twice
    the last counts. A `$.` name that is not known stays a property of the sender's. Raises ProtocolViolation
    when what was percent-encoded is not UTF-8.
    """
    system: dict[str, str] = {}
    properties: Properties = {}
    for item in bag.removeprefix("?").removesuffix("/").split("&"):
        if not item:
            continue
        encoded_name, separator, encoded = item.partition("=")
        value = _decoded(encoded) if separator else None
        known = _BY_ENCODED_NAME.get(encoded_name)
        if known is None:
            name = _decoded(encoded_name)
            known = SYSTEM_PROPERTIES.get(name)
            if known is None:
                properties[name] = value
                continue
        system[known] = value or ""
    return system, properties


def _decoded(text: str) -> str:
    if "%" not in text:
        return text
    return _decoded_before(text) if len(text) <= _SHORT else _unquoted(text)


_SHORT = 64  # characters; longer ones are not remembered, so that the memory is bounded


@lru_cache(maxsize=4096)
def _decoded_before(text: str) -> str:
    return _unquoted(text)


def _unquoted(text: str) -> str:
    try:
        # unquote, not unquote_plus: a '+' in a topic means itself.
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ProtocolViolation("a topic whose percent-encoding is not UTF-8", SPEC) from None


# --- Topics that a device publishes to


def telemetry_topic(
    device: str,
    module: str | None = None,
    system: Mapping[str, str] | None = None,
    properties: Mapping[str, str | None] | None = None,
) -> str:
    """Where a device or module sends a message."""
    return f"{_base(device, module)}/messages/events/{encode_properties(system, properties)}"


def twin_get_topic(request_id: str) -> str:
    """Where a device asks for its twin."""
    return f"$iothub/twin/GET/?$rid={quote(request_id, safe='')}"


def reported_patch_topic(request_id: str, version: int | None = None) -> str:
    """Where a device patches its reported properties."""
    return f"$iothub/twin/PATCH/properties/reported/?$rid={quote(request_id, safe='')}{_version(version)}"


def method_response_topic(status: int, request_id: str) -> str:
    """Where a device answers a direct method."""
    return f"$iothub/methods/res/{status}/?$rid={quote(request_id, safe='')}"


def parse_telemetry(topic: str | bytes) -> TelemetryTopic:
    """Read the topic of a message to the hub. Raises ProtocolViolation when it is another topic."""
    parsed = parse_device_topic(topic)
    if not isinstance(parsed, TelemetryTopic):
        raise _unknown(_text(topic))
    return parsed


def parse_device_topic(topic: str | bytes) -> DeviceTopic:
    """Read whatever a device may publish to.

    Whether the device in the topic is the one on the connection is the caller's to check. Raises
    ProtocolViolation for a topic that is not in the table: IoT Hub closes the connection then.
    """
    text = _text(topic)
    if text.startswith("devices/"):
        levels = text.split("/", 6)
        if levels[2:4] == ["messages", "events"] and levels[1]:
            # The rest may hold '/' where a sender did not encode it.
            return TelemetryTopic(levels[1], None, *decode_properties("/".join(levels[4:])))
        if levels[2:3] == ["modules"] and levels[4:6] == ["messages", "events"] and levels[1] and levels[3]:
            return TelemetryTopic(levels[1], levels[3], *decode_properties("/".join(levels[6:])))
        raise _unknown(text)
    path, query = _path_and_query(text)
    if path == "$iothub/twin/GET":
        return TwinGet(_request_id(text, query))
    if path == "$iothub/twin/PATCH/properties/reported":
        return ReportedPatch(_request_id(text, query), _number(query.get("$version")))
    if path.startswith("$iothub/methods/res/"):
        return MethodResponse(
            _status(text, path.removeprefix("$iothub/methods/res/")), _request_id(text, query)
        )
    raise _unknown(text)


# --- Topics that the hub publishes to


def cloud_message_topic(
    device: str,
    system: Mapping[str, str] | None = None,
    properties: Mapping[str, str | None] | None = None,
) -> str:
    """Where a device receives a message; `$.to` comes first, as from IoT Hub."""
    to = f"/devices/{device}/messages/devicebound"
    bag = encode_properties(
        {name: value for name, value in (system or {}).items() if name != "to"}, properties
    )
    return f"devices/{device}/messages/devicebound/%24.to={quote(to, safe='')}{'&' if bag else ''}{bag}"


def input_topic(
    device: str,
    module: str,
    input_name: str,
    system: Mapping[str, str] | None = None,
    properties: Mapping[str, str | None] | None = None,
) -> str:
    """Where a module receives a message at an input."""
    bag = encode_properties(system, properties)
    return f"{_base(device, module)}/inputs/{quote(input_name, safe='')}/{bag}"


def twin_response_topic(status: int, request_id: str, version: int | None = None) -> str:
    """Where the hub answers a twin request; `version` for a patch that was taken."""
    return f"$iothub/twin/res/{status}/?$rid={quote(request_id, safe='')}{_version(version)}"


def desired_patch_topic(version: int) -> str:
    """Where the hub tells of changed desired properties."""
    return f"$iothub/twin/PATCH/properties/desired/?$version={version}"


def method_call_topic(name: str, request_id: str) -> str:
    """Where the hub calls a direct method."""
    return f"$iothub/methods/POST/{quote(name, safe='')}/?$rid={quote(request_id, safe='')}"


def parse_hub_topic(topic: str | bytes) -> HubTopic:
    """Read whatever a hub may publish to a device. Raises ProtocolViolation for another topic."""
    text = _text(topic)
    if text.startswith("devices/"):
        levels = text.split("/", 6)
        if levels[2:4] == ["messages", "devicebound"] and levels[1]:
            return CloudMessage(levels[1], *decode_properties("/".join(levels[4:])))
        if (
            levels[2:3] == ["modules"]
            and levels[4:5] == ["inputs"]
            and levels[1]
            and levels[3]
            and levels[5:]
        ):
            system, properties = decode_properties("/".join(levels[6:]))
            return InputMessage(levels[1], levels[3], _decoded(levels[5]), system, properties)
        raise _unknown(text)
    path, query = _path_and_query(text)
    if path.startswith("$iothub/twin/res/"):
        status = _status(text, path.removeprefix("$iothub/twin/res/"))
        return TwinResponse(status, _request_id(text, query), _number(query.get("$version")))
    if path == "$iothub/twin/PATCH/properties/desired":
        return DesiredPatch(_number(query.get("$version")))
    name = path.removeprefix("$iothub/methods/POST/")
    if name and name != path and "/" not in name:
        return MethodCall(_decoded(name), _request_id(text, query))
    raise _unknown(text)


# --- What a device may subscribe to


def device_filters(device: str, module: str | None = None) -> tuple[str, ...]:
    """The filters that the SDKs subscribe to for this identity."""
    own = f"{_base(device, module)}/inputs/#" if module else f"{_base(device)}/messages/devicebound/#"
    return (
        own,
        "$iothub/methods/POST/#",
        "$iothub/twin/res/#",
        "$iothub/twin/PATCH/properties/desired/#",
    )


def allowed_filter(topic_filter: str, device: str, module: str | None = None) -> bool:
    """Whether this identity may subscribe to a filter (one that MQTT finds valid).

    It may when each topic that the filter matches lies under one of `device_filters`: the filter itself, or
    a narrower one such as `$iothub/methods/POST/reboot/#`.
    """
    for allowed in device_filters(device, module):
        root = allowed.removesuffix("/#")
        if topic_filter == root or topic_filter.startswith(root + "/"):
            return True
    return False


# --- User name, client id, ids


@dataclass(frozen=True, slots=True)
class DeviceUsername:
    """The user name in a device's CONNECT. `host` is the IoT Hub's, through a gateway too."""

    host: str
    device: str
    module: str | None = None
    api_version: str | None = None
    client_type: str | None = None
    model_id: str | None = None


def username(
    host: str,
    device: str,
    module: str | None = None,
    *,
    api_version: str = "2021-04-12",
    client_type: str | None = None,
    model_id: str | None = None,
) -> str:
    """The user name with which a device connects."""
    query = {"api-version": api_version, "DeviceClientType": client_type, "model-id": model_id}
    pairs = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items() if value)
    return f"{host}/{device}{f'/{module}' if module else ''}/?{pairs}"


def parse_username(text: str) -> DeviceUsername:
    """Read `{host}/{device}[/{module}]/?api-version=...`.

    The older forms without the slash before `?`, or without the `?`, are read too. Raises Unauthorized: the
    hub answers a CONNECT with such a name with code 5 (or 4).
    """
    # An id may hold `?`, even at its beginning: only one with `name=` after it begins the query.
    match = re.search(r"/\?(?=[^/=&]+=|$)|[/?](?=api-version=)", text)
    path, query_text = (text[: match.start()], text[match.end() :]) if match else (text.removesuffix("/"), "")
    host, *ids = path.split("/")
    if not host or not 1 <= len(ids) <= 2 or not all(ids):
        raise Unauthorized(
            "The user name does not read '{host name}/{device}[/{module}]/?api-version=...'; "
            "take it from the documentation of IoT Hub's MQTT interface."
        )
    query: dict[str, str] = {}
    for item in query_text.split("&"):
        name, _, value = item.partition("=")
        query[unquote(name)] = unquote(value)
    return DeviceUsername(
        host,
        ids[0],
        ids[1] if len(ids) == 2 else None,
        query.get("api-version") or None,
        query.get("DeviceClientType") or None,
        query.get("model-id") or None,
    )


def parse_client_id(client_id: str) -> tuple[str, str | None]:
    """Read `{device}[/{module}]`. Raises ArgumentInvalid when an id in it is not a valid one."""
    device, separator, module = client_id.partition("/")
    return check_device_id(device), check_module_id(module) if separator else None


MAX_ID = 128
_ID = re.compile(r"[A-Za-z0-9\-:.%_*?!(),=@$']+")


def check_device_id(device: str) -> str:
    """Give back a device id that is allowed.

    Up to 128 ASCII letters, digits and `- . % _ * ? ! ( ) , : = @ $ '`. Raises ArgumentInvalid. `+` and `#`,
    which older documents allow, are refused as the present one does: MQTT could not carry them in a topic.
    """
    return _check_id("device", device)


def check_module_id(module: str) -> str:
    """Give back a module id that is allowed: the rules are those of device ids. Raises ArgumentInvalid."""
    return _check_id("module", module)


def _check_id(what: str, text: str) -> str:
    if not text:
        raise ArgumentInvalid(f"The {what} id is empty; give it one of 1 to {MAX_ID} characters.")
    if len(text) > MAX_ID:
        raise ArgumentInvalid(f"The {what} id has {len(text)} characters; {MAX_ID} are allowed.")
    if not _ID.fullmatch(text):
        wrong = next(character for character in text if not _ID.fullmatch(character))
        raise ArgumentInvalid(
            f"The {what} id {text!r} holds {wrong!r}; "
            "letters, digits and - . % _ * ? ! ( ) , : = @ $ ' are allowed."
        )
    return text


# --- Inside


def _base(device: str, module: str | None = None) -> str:
    return f"devices/{device}/modules/{module}" if module else f"devices/{device}"


def _version(version: int | None) -> str:
    return "" if version is None else f"&$version={version}"


def _text(topic: str | bytes) -> str:
    if isinstance(topic, str):
        return topic
    try:
        return topic.decode()
    except UnicodeDecodeError:
        raise ProtocolViolation("a topic that is not UTF-8", SPEC) from None


def _path_and_query(topic: str) -> tuple[str, dict[str, str]]:
    """`{path}/?{query}`, with or without the slash."""
    path, _, query_text = topic.partition("?")
    query: dict[str, str] = {}
    for item in query_text.split("&"):
        name, separator, value = item.partition("=")
        if separator:
            query[_decoded(name)] = _decoded(value)
    return path.removesuffix("/"), query


def _request_id(topic: str, query: dict[str, str]) -> str:
    request_id = query.get("$rid")
    if not request_id:
        raise ProtocolViolation(f"no $rid in the topic {topic[:120]!r}", SPEC)
    return request_id


def _status(topic: str, text: str) -> int:
    status = _number(_decoded(text))
    if status is None:
        raise ProtocolViolation(f"no status number in the topic {topic[:120]!r}", SPEC)
    return status


def _number(text: str | None) -> int | None:
    """A whole number of up to 18 digits, or None; a sign may stand before it."""
    return int(text) if text and re.fullmatch(r"-?[0-9]{1,18}", text) else None


def _unknown(topic: str) -> ProtocolViolation:
    return ProtocolViolation(f"the topic {topic[:120]!r} is none of IoT Hub's", SPEC)
