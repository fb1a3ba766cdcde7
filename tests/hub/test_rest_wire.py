"""The REST API without an SDK: the shape of refusals, and what a careless or hostile client sends."""

import http.client
import json
import ssl
import time

import pytest
from hub_clients import some_key

from iotedge_lab.wire import sas

VERSION = "api-version=2021-04-12"


class Rest:
    """One HTTPS call at a time, with headers and paths as they are given."""

    def __init__(self, lab):
        self.lab = lab
        self.context = ssl.create_default_context(cafile=str(lab.ca_file))

    def token(self, policy="iothubowner", *, key=None, seconds=60, host=None):
        host = host or f"{self.lab.hostname}:{self.lab._told.https_port}"
        return sas.build(host, key or self.lab._told.keys[policy], int(time.time()) + seconds, policy)

    def __call__(self, method, path, body=None, *, token="", headers=None, raw=None):
        told = self.lab._told
        connection = http.client.HTTPSConnection(told.host, told.https_port, timeout=30, context=self.context)
        sent = {"Authorization": token or self.token()} if token is not None else {}
        data = raw if raw is not None else (None if body is None else json.dumps(body).encode())
        try:
            connection.request(method, path, data, sent | (headers or {}))
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        return answer.status, answer.headers, text


@pytest.fixture(scope="module")
def rest(lab):
    return Rest(lab)


def _refused(answer, status, name):
    """The answer is a refusal in the service's shape; its message."""
    got, headers, text = answer
    assert (got, headers["iothub-errorcode"]) == (status, name), text
    assert headers.get_content_type() == "application/json"
    body = json.loads(text)
    assert set(body) == {"Message", "ExceptionMessage"}
    assert body["Message"].startswith(f"ErrorCode:{name};")
    assert body["ExceptionMessage"].startswith("Tracking ID:")
    return body["Message"]


def test_a_good_call(rest, device):
    """What the refusals below differ from."""
    status, headers, text = rest("GET", f"/devices/{device}?{VERSION}")
    assert status == 200
    assert json.loads(text)["deviceId"] == device
    assert headers["ETag"] == f'"{json.loads(text)["etag"]}"'


@pytest.mark.parametrize(
    ("sent", "refusal"),
    [
        (("GET", "/devices/nobody?" + VERSION, None), (404, "DeviceNotFound")),
        (("DELETE", "/devices/nobody?" + VERSION, None), (404, "DeviceNotFound")),
        (("GET", "/devices/nobody/modules?" + VERSION, None), (404, "DeviceNotFound")),
        (("GET", "/devices/{d}/modules/nobody?" + VERSION, None), (404, "ModuleNotFound")),
        (("PUT", "/devices/{d}?" + VERSION, {"deviceId": "{d}"}), (409, "DeviceAlreadyExists")),
        (("PUT", "/devices/{d}?" + VERSION, {"deviceId": "else"}), (400, "ArgumentInvalid")),
        (("GET", "/devices/{d}", None), (400, "InvalidProtocolVersion")),
        (("GET", "/devices/{d}?api-version=", None), (400, "InvalidProtocolVersion")),
        (("GET", "/devices/{d}?api-version=newest", None), (400, "InvalidProtocolVersion")),
        (("GET", "/devices/{d}?api-version=2021-04-13", None), (400, "InvalidProtocolVersion")),
        (("GET", "/devices?top=0&" + VERSION, None), (400, "ArgumentInvalid")),
        (("GET", "/devices?top=1001&" + VERSION, None), (400, "ArgumentInvalid")),
        (("GET", "/devices?top=-1&" + VERSION, None), (400, "ArgumentInvalid")),
        (("GET", "/devices?top=many&" + VERSION, None), (400, "ArgumentInvalid")),
        (("GET", "/devices?top=%D9%A3&" + VERSION, None), (400, "ArgumentInvalid")),
        (("GET", "/devices?top=" + "9" * 5000 + "&" + VERSION, None), (400, "ArgumentInvalid")),
        (("GET", "/no/such/call?" + VERSION, None), (501, "NotImplemented")),
        (("GET", "/?" + VERSION, None), (501, "NotImplemented")),
        (("PUT", "/lab/consumer-groups/-no-", None), (400, "ArgumentInvalid")),
        (("DELETE", "/lab/consumer-groups/$Default", None), (400, "ArgumentInvalid")),
    ],
)
def test_refusals_have_the_services_shape(rest, device, sent, refusal):
    """Status, the header `iothub-errorcode`, and Message and ExceptionMessage in the body."""
    method, path, body = sent
    filled = None if body is None else {key: value.replace("{d}", device) for key, value in body.items()}
    _refused(rest(method, path.replace("{d}", device), filled), *refusal)


@pytest.mark.parametrize("method", ["PATCH", "POST", "OPTIONS", "TRACE", "BREW"])
def test_methods_that_are_none(rest, device, method):
    """Another method on a path that is served is refused in the same shape."""
    status, headers, _ = rest(method, f"/devices/{device}?{VERSION}")
    assert status in (400, 405, 501)
    if status != 400:
        assert headers["iothub-errorcode"]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"nonsense",
        b"[]",
        b'"text"',
        b"null",
        b"5",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"status": NaN}',
        b'{"status": "disabled", "status": "broken"}',
        b'{"authentication": {"symmetricKey": {"primaryKey": null, "secondaryKey": 7}}}',
        b'{"statusReason": "\\ud800"}',
        b'{"deviceScope": {"a": 1}}',
        b'{"capabilities": "edge"}',
        b"1" * 5000,
    ],
    ids=lambda raw: repr(raw[:30]),
)
def test_a_body_that_is_no_device(rest, raw):
    """Malformed JSON and wrong types are 400 ArgumentInvalid, and nothing is made."""
    _refused(rest("PUT", f"/devices/made-of-junk?{VERSION}", raw=raw), 400, "ArgumentInvalid")
    _refused(rest("GET", f"/devices/made-of-junk?{VERSION}"), 404, "DeviceNotFound")


def test_a_body_that_is_too_large(rest):
    """Over 1 MB is 413, and the connection's next call is not taken for a part of it."""
    status, headers, _ = rest("PUT", f"/devices/big?{VERSION}", raw=b"x" * (2 * 1024 * 1024))
    assert status == 413
    assert headers["iothub-errorcode"] in ("MessageTooLarge", "RequestEntityTooLarge")


@pytest.mark.parametrize(
    "name",
    [
        "%C3%BC",
        "a%20b",
        "..%2F..%2Fetc%2Fpasswd",
        "%2e%2e%2fhub.json",
        "x';DROP%20TABLE%20identity;--",
        "x%00y",
        "x%0d%0aSet-Cookie:1",
        "a%2Fb",
        "x" * 129,
        "%F0%9F%9A%97",
        "%2b",
        "%23",
    ],
)
def test_ids_that_are_none(rest, name):
    """Traversal, statements, control characters and other alphabets in an id are refused, and harm nothing."""
    status, headers, text = rest("PUT", f"/devices/{name}?{VERSION}", {})
    assert status == 400, text
    assert headers["iothub-errorcode"] == "ArgumentInvalid"
    assert rest("GET", f"/devices/{name}?{VERSION}")[0] in (400, 404)
    assert rest("GET", f"/devices?{VERSION}")[0] == 200


@pytest.mark.parametrize(
    "path",
    ["/devices/../lab/status", "/..%2f..%2fhub.json", "//devices", "/%2e%2e/hub.db", "/lab/../hub.json"],
)
def test_no_path_leads_to_a_file(rest, lab, path):
    """No request gives the content of the state folder."""
    status, _, text = rest("GET", f"{path}?{VERSION}")
    assert status in (400, 404, 501, 200)
    assert lab._told.keys["iothubowner"].encode() not in text


@pytest.mark.parametrize(
    ("make", "word", "name"),
    [
        (lambda rest: None, "no Authorization", "IotHubUnauthorized"),
        (lambda rest: "Bearer abc", "SharedAccessSignature", "IotHubUnauthorizedAccess"),
        (lambda rest: "SharedAccessSignature sr=x", "lacks", "IotHubUnauthorizedAccess"),
        (lambda rest: rest.token(key=some_key()), "another key", "IotHubUnauthorizedAccess"),
        (lambda rest: rest.token("service"), "REGISTRY_READ", "IotHubUnauthorized"),
        (lambda rest: rest.token("device"), "REGISTRY_READ", "IotHubUnauthorized"),
        (lambda rest: rest.token(seconds=-5), "expired", "IotHubUnauthorized"),
        (
            lambda rest: rest.token(host="elsewhere.azure-devices.net"),
            "elsewhere",
            "IotHubUnauthorizedAccess",
        ),
    ],
)
def test_tokens_that_do_not_open(rest, device, make, word, name):
    """401 with the word for what is wrong: no token, another key, too few rights, too old, another hub."""
    answer = rest("GET", f"/devices/{device}?{VERSION}", token=make(rest))
    assert word in _refused(answer, 401, name)


def test_rights(rest, device):
    """registryRead reads and does not write; registryReadWrite does both; service reads the lab's status."""
    path = f"/devices/{device}?{VERSION}"
    for policy in ("registryRead", "registryReadWrite"):
        assert rest("GET", path, token=rest.token(policy))[0] == 200
    everything = {"If-Match": "*"}
    _refused(
        rest("PUT", path, {}, token=rest.token("registryRead"), headers=everything), 401, "IotHubUnauthorized"
    )
    assert rest("PUT", path, {}, token=rest.token("registryReadWrite"), headers=everything)[0] == 200
    assert rest("GET", "/lab/status", token=rest.token("service"))[0] == 200
    for policy in ("service", "registryReadWrite", "device"):
        _refused(rest("POST", "/lab/reset", token=rest.token(policy)), 401, "IotHubUnauthorized")


def test_without_a_token_nothing_is_told(rest, device):
    """Only /lab/health answers a stranger, and it tells the hub's id and version."""
    status, _, text = rest("GET", "/lab/health", token=None)
    assert status == 200
    assert set(json.loads(text)) == {"hub", "version"}
    for method, path in [
        ("GET", "/devices"),
        ("GET", f"/devices/{device}"),
        ("PUT", "/devices/x"),
        ("DELETE", f"/devices/{device}"),
        ("GET", "/statistics/devices"),
        ("GET", "/statistics/service"),
        ("GET", "/lab/status"),
        ("POST", "/lab/reset"),
        ("GET", "/lab/consumer-groups"),
        ("PUT", "/lab/consumer-groups/x"),
        ("GET", "/anything"),
    ]:
        _refused(rest(method, f"{path}?{VERSION}", token=None), 401, "IotHubUnauthorized")


def test_a_new_module_is_201(rest, device):
    """As the service answers: 201 for a new module, 200 for an update and for a device."""
    path = f"/devices/{device}/modules/m?{VERSION}"
    assert rest("PUT", path, {})[0] == 201
    assert rest("PUT", path, {}, headers={"If-Match": "*"})[0] == 200
    assert rest("DELETE", path)[0] == 204


def test_the_hub_took_all_this_calmly(rest, lab):
    """After the hostile requests the hub's log holds no traceback and no key."""
    log = lab.state_dir.joinpath("hub.log").read_text()
    assert "Traceback" not in log, log[log.index("Traceback") - 500 :][:3000]
    assert not [name for name, key in lab._told.keys.items() if key in log]
