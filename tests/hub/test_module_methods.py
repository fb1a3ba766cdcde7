"""Direct methods that a module of an edge device calls: over HTTPS, with its own token, in its device's scope."""

import contextlib

import pytest
from azure.iot.device import IoTHubDeviceClient, IoTHubModuleClient, MethodResponse
from azure.iot.device.aio import IoTHubModuleClient as AioModuleClient
from azure.iot.device.exceptions import ClientError
from http_calls import Caller
from leftovers import collect_leftovers
from pki import issue

EDGE = {"capabilities": {"iotEdge": True}}
CALL = {
    "methodName": "reboot",
    "payload": {"in": 5},
    "responseTimeoutInSeconds": 30,
    "connectTimeoutInSeconds": 0,
}
HEADER = "x-ms-edge-moduleId"


@pytest.fixture(autouse=True)
def _tidy():
    """After each test with the vendor's clients."""
    yield
    collect_leftovers()


@pytest.fixture(scope="module")
def edge(lab):
    """An edge device with two modules, a leaf with a module, an edge device below, and strangers."""
    rest = lab.rest()
    scope = rest.call("PUT", "/devices/edge", {"deviceId": "edge", **EDGE})["deviceScope"]
    rest.call("PUT", "/devices/leaf", {"deviceId": "leaf", "deviceScope": scope})
    rest.call("PUT", "/devices/nested", {"deviceId": "nested", "parentScopes": [scope], **EDGE})
    rest.call("PUT", "/devices/plain", {"deviceId": "plain"})
    rest.call("PUT", "/devices/elsewhere", {"deviceId": "elsewhere", **EDGE})
    for device, module in (("edge", "caller"), ("edge", "callee"), ("leaf", "m"), ("plain", "m")):
        rest.call("PUT", f"/devices/{device}/modules/{module}", {"moduleId": module})
    return "edge"


@contextlib.contextmanager
def _answering(lab, device, module=None):
    """A connected client of the vendor's that answers each method; shut down at the end."""
    kind = IoTHubModuleClient if module else IoTHubDeviceClient
    client = kind.create_from_connection_string(lab.device_connection_string(device, module))

    def answer(request):
        told = {"name": request.name, "was": request.payload}
        client.send_method_response(MethodResponse.create_from_method_request(request, 207, told))

    client.on_method_request_received = answer
    try:
        client.connect()
        yield
    finally:
        client.shutdown()


@pytest.fixture
def environment(lab, edge, monkeypatch):
    """What an edge runtime in its development mode gives to `edge/caller`, with the hub in the gateway's place."""
    for name, value in lab.env(proxy=True).items():
        monkeypatch.setenv(name, value)
    string = lab.device_connection_string("edge", "caller")
    monkeypatch.setenv("EdgeHubConnectionString", f"{string};GatewayHostName={lab.hostname}")
    monkeypatch.setenv("EdgeModuleCACertificateFile", str(lab.ca_file))


@pytest.mark.parametrize("target", [("edge", "callee"), ("leaf", None), ("leaf", "m"), ("nested", None)])
@pytest.mark.usefixtures("environment")
def test_with_the_sdk(lab, target):
    """`invoke_method` of azure-iot-device reaches a module beside it, and devices and modules in the scope."""
    caller = IoTHubModuleClient.create_from_edge_environment()
    try:
        with _answering(lab, *target):
            found = caller.invoke_method(CALL, *target)
        assert found == {"status": 207, "payload": {"name": "reboot", "was": {"in": 5}}}
    finally:
        caller.shutdown()


@pytest.mark.usefixtures("environment")
async def test_with_the_asynchronous_sdk(lab):
    """`azure.iot.device.aio` does the same; one that is away is an error."""
    caller = AioModuleClient.create_from_edge_environment()
    try:
        with pytest.raises(ClientError):
            await caller.invoke_method(CALL, "edge", "callee")
    finally:
        await caller.shutdown()


@pytest.fixture
def caller(lab, edge):
    """`edge/caller` over HTTPS."""
    return Caller(lab, edge, "caller")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("edge/modules/callee", 404103),
        ("leaf", 404103),
        ("edge/modules/nobody", 404010),
        ("nobody", 404001),
        ("plain", 404001),
        ("plain/modules/m", 404001),
        ("elsewhere/modules/$edgeHub", 404001),
    ],
)
def test_who_is_not_there(caller, path, code):
    """404103 for one that is away; what is not in the scope is as unknown as what does not exist."""
    answer = caller.call("POST", f"/twins/{path}/methods", json=CALL, headers={HEADER: "edge/caller"})
    assert answer.status_code == 404
    assert f'"errorCode": {code}' in answer.json()["ExceptionMessage"]


def test_the_header_may_be_missing_and_not_another(caller):
    """It is the token that counts; a header that says another name is 401."""
    path = "/twins/edge/modules/callee/methods"
    assert caller.call("POST", path, json=CALL).status_code == 404
    for said in ("edge/callee", "edge", "", "plain/m", "a/b/c"):
        assert caller.call("POST", path, json=CALL, headers={HEADER: said}).status_code == 401, said


@pytest.mark.parametrize("who", [("edge",), ("leaf",), ("leaf", "m"), ("plain", "m")])
def test_who_may_not_call(lab, edge, who):
    """A device's own token does not call, edge device or not; nor a module of a device that is none."""
    caller = Caller(lab, *who)
    for target in ("edge", "/".join((who[0], "modules", who[1])) if who[1:] else who[0]):
        assert caller.call("POST", f"/twins/{target}/methods", json=CALL).status_code == 401


def test_a_token_that_is_none(lab, caller):
    """Forged or ended: 401; and a module of a disabled device calls no more."""
    path, good = "/twins/edge/modules/callee/methods", caller.token
    for token in (good.replace("sig=", "sig=A"), good[: good.index("&se=")] + "&se=1", ""):
        caller.token = token
        assert caller.call("POST", path, json=CALL, headers={HEADER: "edge/caller"}).status_code == 401
    caller.token = good
    assert caller.call("POST", path, version="2031-01-01", json=CALL).status_code == 400
    rest, at_once = lab.rest(), {"If-Match": "*"}
    rest.call("PUT", "/devices/edge", {"deviceId": "edge", "status": "disabled"}, headers=at_once)
    assert caller.call("POST", path, json=CALL).status_code == 401
    rest.call("PUT", "/devices/edge", {"deviceId": "edge", "status": "enabled"}, headers=at_once)
    assert caller.call("POST", path, json=CALL).status_code == 404


def test_by_certificate(lab, edge, caller, tmp_path):
    """A module that authenticates by certificate is known by the header."""
    pair = issue("any")
    auth = {"type": "selfSigned", "x509Thumbprint": {"primaryThumbprint": pair.sha256}}
    lab.rest().call("PUT", "/devices/edge/modules/x509", {"moduleId": "x509", "authentication": auth})
    caller.token = None
    path, files = "/twins/edge/modules/callee/methods", pair.files(tmp_path)
    good = caller.call("POST", path, json=CALL, headers={HEADER: "edge/x509"}, cert=files)
    assert (good.status_code, good.headers["iothub-errorcode"]) == (404, "DeviceNotOnline")
    for headers in ({HEADER: "edge/caller"}, {}):
        assert caller.call("POST", path, json=CALL, headers=headers, cert=files).status_code == 401
