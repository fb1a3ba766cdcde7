"""Connection strings: what the SDKs take is taken, what they refuse is refused with a reason."""

import pytest

from iotedge_lab.errors import ConnectionStringError
from iotedge_lab.wire.connection_string import ConnectionString, Kind

KEY = "c2VjcmV0LXNlY3JldC0xMjM0NTY3OA=="

# Text, kind, fields; used for reading and for writing.
CASES = {
    "service": (
        f"HostName=lab.azure-devices.net;SharedAccessKeyName=iothubowner;SharedAccessKey={KEY}",
        Kind.SERVICE,
        {
            "host_name": "lab.azure-devices.net",
            "shared_access_key_name": "iothubowner",
            "shared_access_key": KEY,
        },
    ),
    "service with a port": (
        f"HostName=localhost:8443;SharedAccessKeyName=service;SharedAccessKey={KEY}",
        Kind.SERVICE,
        {"host_name": "localhost:8443", "shared_access_key_name": "service", "shared_access_key": KEY},
    ),
    "device": (
        f"HostName=127.0.0.1;DeviceId=dev1;SharedAccessKey={KEY}",
        Kind.DEVICE,
        {"host_name": "127.0.0.1", "device_id": "dev1", "shared_access_key": KEY},
    ),
    "device with '=' in its id": (
        f"HostName=h;DeviceId=a=b;SharedAccessKey={KEY}",
        Kind.DEVICE,
        {"host_name": "h", "device_id": "a=b", "shared_access_key": KEY},
    ),
    "device behind a gateway": (
        f"HostName=h;DeviceId=d;SharedAccessKey={KEY};GatewayHostName=localhost",
        Kind.DEVICE,
        {"host_name": "h", "device_id": "d", "shared_access_key": KEY, "gateway_host_name": "localhost"},
    ),
    "device with a certificate": (
        "HostName=h;DeviceId=d;x509=true",
        Kind.DEVICE,
        {"host_name": "h", "device_id": "d", "x509": True},
    ),
    "module": (
        f"HostName=h;DeviceId=d;ModuleId=m;SharedAccessKey={KEY};GatewayHostName=g",
        Kind.MODULE,
        {
            "host_name": "h",
            "device_id": "d",
            "module_id": "m",
            "shared_access_key": KEY,
            "gateway_host_name": "g",
        },
    ),
    "Event Hubs": (
        f"Endpoint=sb://h.servicebus.windows.net/;SharedAccessKeyName=k;SharedAccessKey={KEY};EntityPath=hub",
        Kind.EVENT_HUBS,
        {
            "endpoint": "sb://h.servicebus.windows.net/",
            "shared_access_key_name": "k",
            "shared_access_key": KEY,
            "entity_path": "hub",
        },
    ),
    "Event Hubs, emulated": (
        "Endpoint=sb://127.0.0.1/;SharedAccessKeyName=k;SharedAccessKey=a b;UseDevelopmentEmulator=true",
        Kind.EVENT_HUBS,
        {
            "endpoint": "sb://127.0.0.1/",
            "shared_access_key_name": "k",
            "shared_access_key": "a b",
            "use_development_emulator": True,
        },
    ),
    "Event Hubs with a token": (
        "Endpoint=sb://h;SharedAccessSignature=SharedAccessSignature sr=h&sig=c2VjcmV0&se=1;EntityPath=hub",
        Kind.EVENT_HUBS,
        {
            "endpoint": "sb://h",
            "shared_access_signature": "SharedAccessSignature sr=h&sig=c2VjcmV0&se=1",
            "entity_path": "hub",
        },
    ),
}
all_cases = pytest.mark.parametrize(("text", "kind", "values"), CASES.values(), ids=CASES.keys())


@all_cases
def test_reads(text, kind, values):
    """A connection string gives its kind and its parts."""
    parsed = ConnectionString.parse(text)
    assert parsed == ConnectionString(**values)
    assert parsed.kind is kind


@all_cases
def test_writes(text, kind, values):
    """Parts become the line that the portal shows."""
    made = ConnectionString(**values)
    assert made.format() == text
    assert made.kind is kind


@all_cases
def test_no_secret_shows(text, kind, values):
    """Neither repr nor str has the key or the token; the rest is there to be read."""
    shown = repr(ConnectionString.parse(text))
    assert shown == str(ConnectionString.parse(text))
    for name, value in values.items():
        if name in ("shared_access_key", "shared_access_signature"):
            assert value not in shown
            assert "=***" in shown
        elif isinstance(value, str):
            assert value in shown


@all_cases
def test_the_sdks_agree(text, kind, values):
    """The SDK for which a connection string is takes what is taken here."""
    if kind is Kind.EVENT_HUBS:
        from azure.eventhub import parse_connection_string

        sdk = parse_connection_string(text)
        assert sdk.eventhub_name == values.get("entity_path")
        assert sdk.shared_access_key == values.get("shared_access_key")
        host = sdk.fully_qualified_namespace
        assert host.partition(":")[0] == ConnectionString.parse(text).host
    elif kind is Kind.SERVICE:
        pytest.importorskip("uamqp", reason="azure-iot-hub cannot be imported without it")
        from azure.iot.hub.connection_string import ConnectionString as HubString

        assert HubString(text)["SharedAccessKey"] == values["shared_access_key"]
    else:
        from azure.iot.device.common.auth.connection_string import ConnectionString as DeviceString

        assert DeviceString(text)["DeviceId"] == values["device_id"]


@pytest.mark.parametrize(
    ("host_name", "host", "port"),
    [
        ("h", "h", None),
        ("h:8443", "h", 8443),
        ("127.0.0.2", "127.0.0.2", None),
        ("[::1]:5671", "[::1]", 5671),
    ],
)
def test_host_and_port(host_name, host, port):
    """Host and port come apart for both kinds of address."""
    hub = ConnectionString(host_name=host_name, shared_access_key_name="k", shared_access_key=KEY)
    assert (hub.host, hub.port) == (host, port)
    events = ConnectionString(
        endpoint=f"sb://{host_name}/", shared_access_key_name="k", shared_access_key=KEY
    )
    assert (events.host, events.port) == (host, port)


def test_blanks_around_and_event_hubs_spelling():
    """A pasted line may have blanks around it; Event Hubs names may be in any case and end with ';'."""
    assert ConnectionString.parse(f"\n {CASES['device'][0]} \n").device_id == "dev1"
    parsed = ConnectionString.parse(f"ENDPOINT=sb://h/;sharedaccesskeyname=k;SharedAccessKey={KEY};")
    assert (parsed.endpoint, parsed.shared_access_key_name) == ("sb://h/", "k")


DEVICE = f"HostName=h;DeviceId=d;SharedAccessKey={KEY}"
EVENTS = f"Endpoint=sb://h/;SharedAccessKeyName=k;SharedAccessKey={KEY}"

WRONG = {
    "": "empty",
    " \n": "empty",
    KEY: "Part 1",
    KEY.rstrip("="): "Part 1 has no '='",
    f"HostName=h;{KEY}": "Part 2",
    DEVICE + ";": "ends with ';'",
    DEVICE.replace(";Shared", ";;Shared"): "Part 3 has no '='",
    DEVICE + ";DeviceId=e": "DeviceId is there twice",
    DEVICE + ";Colour=red": "Part 4 .* none of",
    DEVICE.replace("DeviceId", "deviceid"): "DeviceId is spelled 'deviceid'",
    DEVICE.replace("DeviceId", " DeviceId"): "spelled ' DeviceId'",
    DEVICE.replace("=h;", "=;"): "HostName is empty",
    DEVICE.replace("=d;", "=;"): "DeviceId is empty",
    "HostName=h;DeviceId=d;SharedAccessKey=": "SharedAccessKey is empty",
    f"DeviceId=d;SharedAccessKey={KEY}": "needs HostName",
    f"HostName=h;SharedAccessKey={KEY}": "SharedAccessKeyName .* or DeviceId",
    "HostName=h;DeviceId=d": r"needs SharedAccessKey \(or x509=true\)",
    "HostName=h;DeviceId=d;x509=false": "needs SharedAccessKey",
    "HostName=h;SharedAccessKeyName=k": r"needs SharedAccessKey\.",
    "HostName=h;SharedAccessKeyName=k;x509=true": "x509",
    "HostName=h;SharedAccessKeyName=k;GatewayHostName=g": "DeviceId is missing",
    DEVICE + ";x509=true": "exclude each other",
    DEVICE + ";x509=yes": "true or false",
    f"HostName=h;ModuleId=m;SharedAccessKey={KEY}": "ModuleId without DeviceId",
    "HostName=h;DeviceId=d;SharedAccessSignature=x": "SharedAccessSignature",
    "HostName=h;DeviceId=d;SharedAccessKey=c2VjcmV": "not base64",
    DEVICE + ";GatewayHostName=g:8883": "takes no port",
    DEVICE.replace("=h;", "=https://h;"): "https",
    DEVICE.replace("=h;", "=h/x;"): "host or host:port",
    DEVICE.replace("=h;", "=h:;"): "port in HostName",
    DEVICE.replace("=h;", "=h:0;"): "1 to 65535",
    DEVICE.replace("=h;", "=h:65536;"): "1 to 65535",
    DEVICE.replace("=h;", "=h:1:2;"): "1 to 65535",
    DEVICE.replace("=h;", "=:8443;"): "no host",
    DEVICE.replace("=h;", "=[::1]x;"): "host or host:port",
    DEVICE + ";EntityPath=x": "Part 4",
    EVENTS + ";HostName=h": "Part 4",
    EVENTS + ";endpoint=sb://x/": "Endpoint is there twice",
    EVENTS.replace("sb://h/", "https://h/"): "sb://host/",
    EVENTS.replace("sb://h/", "h"): "sb://host/",
    EVENTS.replace("sb://h/", "sb:///x"): "sb://host/",
    EVENTS.replace("sb://h/", "sb://h:x/"): "port in Endpoint",
    EVENTS + ";UseDevelopmentEmulator=True": "small letters",
    EVENTS + ";SharedAccessSignature=x": "exclude each other",
    "Endpoint=sb://h/;SharedAccessKeyName=k": "needs SharedAccessKey",
    f"Endpoint=sb://h/;SharedAccessKey={KEY}": "needs SharedAccessKeyName",
}


@pytest.mark.parametrize(("text", "message"), WRONG.items())
def test_refuses(text, message):
    """The part at fault is named, and no key is shown."""
    with pytest.raises(ConnectionStringError, match=message) as caught:
        ConnectionString.parse(text)
    assert "c2VjcmV" not in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"host_name": "h", "device_id": "d;x=y", "shared_access_key": KEY},
        {"host_name": "h", "device_id": "", "shared_access_key": KEY},
        {"host_name": "h", "device_id": "d", "shared_access_key": KEY, "entity_path": "x"},
        {"endpoint": "sb://h/", "host_name": "h", "shared_access_key_name": "k", "shared_access_key": KEY},
        {"host_name": "h", "device_id": "d", "shared_access_signature": "x"},
    ],
)
def test_refuses_what_could_not_be_read_back(values):
    """Made by keywords, the same rules hold."""
    with pytest.raises(ConnectionStringError):
        ConnectionString(**values)
