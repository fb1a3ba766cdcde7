"""What no client of the REST API should send, field by field: a documented refusal each time, and no harm done."""

import contextlib
import copy
import http.client
import json
import socket
import ssl
import time
from itertools import count

import pytest

from iotedge_lab.broker.http import BODY_LIMIT
from iotedge_lab.wire import sas

VERSION = "api-version=2021-04-12"
KB = 1024
_fresh = count()
NUMBERS = (0, 7, 1.5, -1, 10**400)
WRONG_TEXTS = (*NUMBERS, True, False, [], ["x"], {}, {"a": "x"})
WRONG_OBJECTS = (*NUMBERS, True, False, "", "text", [], [{}])
DEEP = 900  # Python's own JSON reader takes it, and code that walks it by recursion does not


class Raw:
    """Requests on one kept connection, as they are given."""

    def __init__(self, lab):
        self.lab = lab
        told = lab._told
        self._context = ssl.create_default_context(cafile=str(lab.state_dir / "certificates" / "lab-ca.pem"))
        self._to = (told.host, told.https_port)
        self._connection = http.client.HTTPSConnection(*self._to, timeout=20, context=self._context)
        self.token = sas.build(lab.hostname, told.keys["iothubowner"], int(time.time()) + 600, "iothubowner")

    def __call__(self, method, path, body=None, headers=None, *, chunked=False, version=VERSION):
        """`body`: bytes as they are, anything else as JSON. Gives (status, headers, bytes)."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {"Authorization": self.token} | (headers or {})
        if chunked:
            data = iter([data[at : at + 1000] for at in range(0, len(data), 1000)])
        try:
            self._connection.request(method, f"{path}?{version}", data, sent, encode_chunked=chunked)
            answer = self._connection.getresponse()
            return answer.status, answer.headers, answer.read()
        except (http.client.HTTPException, ConnectionError):
            self._connection.close()
            raise

    def bytes(self, data):
        """Bytes on a connection of their own; what comes back until it ends, or nothing more comes."""
        plain = socket.create_connection(self._to, timeout=1)
        with self._context.wrap_socket(plain, server_hostname=self._to[0]) as sock:
            sock.sendall(data)
            found = b""
            with contextlib.suppress(TimeoutError, ConnectionError, ssl.SSLError):
                while chunk := sock.recv(65_536):
                    found += chunk
            return found

    def close(self):
        self._connection.close()


@pytest.fixture(scope="module")
def raw(lab):
    made = Raw(lab)
    yield made
    made.close()


@pytest.fixture(scope="module")
def known(lab):
    """A device and a module of it, for all tests of this file."""
    lab.rest().call("PUT", "/devices/known", {"deviceId": "known"})
    lab.rest().call("PUT", "/devices/known/modules/m", {"deviceId": "known", "moduleId": "m"})
    return "known"


def refused(answer, status=400, name="ArgumentInvalid"):
    """Check that it is a refusal in the service's shape, and a short one; its message."""
    got, headers, text = answer
    assert (got, headers["iothub-errorcode"]) == (status, name), text[:500]
    assert headers.get_content_type() == "application/json"
    told = json.loads(text)
    assert told["Message"].startswith(f"ErrorCode:{name};")
    assert len(text) < 4 * KB
    inner = json.loads(told["ExceptionMessage"].partition(";")[2])
    assert inner["errorCode"] // 1000 == status
    return told["Message"]


def at(path, value):
    """The body that has `value` at a dotted path."""
    body = value
    for name in reversed(path.split(".")):
        body = {name: body}
    return body


def nested(depth):
    """A list in a list in a list ..."""
    made = []
    for _ in range(depth):
        made = [made]
    return made


# -- identities ----------------------------------------------------------------------------------------

FIELDS = {
    "deviceId": WRONG_TEXTS,
    "status": (*WRONG_TEXTS, "", "Enabled", "on"),
    "statusReason": (*WRONG_TEXTS, "x" * 129, "\ud800"),
    "authentication": WRONG_OBJECTS,
    "authentication.type": (*WRONG_TEXTS, "", "SAS", "password"),
    "authentication.symmetricKey": WRONG_OBJECTS,
    "authentication.symmetricKey.primaryKey": (*WRONG_TEXTS, "no base64!", "YQ==", "A" * 2000),
    "authentication.symmetricKey.secondaryKey": (*WRONG_TEXTS, "ünïcode", "\ud800"),
    "authentication.x509Thumbprint": WRONG_OBJECTS,
    "authentication.x509Thumbprint.primaryThumbprint": (*WRONG_TEXTS, "AB", "Z" * 40, 10**39),
    "authentication.x509Thumbprint.secondaryThumbprint": (*WRONG_TEXTS, "AB", "\ud800" * 40),
    "capabilities": WRONG_OBJECTS,
    "capabilities.iotEdge": (*NUMBERS, "", "true", [], {}),
    "deviceScope": WRONG_TEXTS,
    "parentScopes": (*NUMBERS, True, False, "", "text", {}, [1], [None], [[]], [{}]),
}
MODULE_FIELDS = {
    name: FIELDS[name]
    for name in ("authentication", "authentication.type", "authentication.symmetricKey.primaryKey")
} | {"deviceId": WRONG_TEXTS, "moduleId": WRONG_TEXTS, "managedBy": (*WRONG_TEXTS, "\ud800")}


@pytest.mark.parametrize("field", FIELDS)
def test_a_device_with_a_wrong_field(raw, known, field):
    """Each field with each value that it cannot have is 400, to create and to update; nothing is made or changed."""
    before = raw("GET", f"/devices/{known}")[2]
    for value in (*FIELDS[field], nested(DEEP)):
        body = at(field, value)
        if field.endswith("Thumbprint") and "." in field[15:]:
            body["authentication"]["type"] = "selfSigned"
        name = f"wrong-{next(_fresh)}"
        refused(raw("PUT", f"/devices/{name}", body))
        refused(raw("GET", f"/devices/{name}"), 404, "DeviceNotFound")
        refused(raw("PUT", f"/devices/{known}", body, {"If-Match": "*"}))
    assert raw("GET", f"/devices/{known}")[2] == before


@pytest.mark.parametrize("field", MODULE_FIELDS)
def test_a_module_with_a_wrong_field(raw, known, field):
    """As for devices."""
    for value in (*MODULE_FIELDS[field], nested(DEEP)):
        name = f"wrong-{next(_fresh)}"
        refused(raw("PUT", f"/devices/{known}/modules/{name}", at(field, value)))
        refused(raw("GET", f"/devices/{known}/modules/{name}"), 404, "ModuleNotFound")


BULK = {
    "id": (*WRONG_TEXTS, "", None, "a/b", "ü", "x" * 129, "..%2F\n"),
    "moduleId": (7, 1.5, True, ["x"], {"a": "x"}, "a/b", "ü"),
    "importMode": (7, True, ["create"], {"a": 1}, "destroy"),
    "eTag": (7, True, ["x"], {"a": 1}),
    "status": (7, True, ["x"], {"a": 1}, "on"),
    "authentication": WRONG_OBJECTS,
    "tags": (7, 1.5, True, "text", [], [1]),
    "properties": (7, True, "text", [1]),
    "properties.desired": (7, True, "text", [1]),
}


@pytest.mark.parametrize("field", BULK)
def test_a_bulk_entry_with_a_wrong_field(raw, known, field):
    """The entry is listed with its error; its neighbours are done."""
    for value in BULK[field]:
        number = next(_fresh)
        wrong = {"id": f"bulk-{number}-wrong", "importMode": "create"} | at(field, value)
        if field == "eTag":
            wrong |= {"id": known, "importMode": "updateIfMatchETag"}
        entries = [{"id": f"bulk-{number}-a", "importMode": "create"}, wrong, {"id": f"bulk-{number}-z"}]
        status, _, text = raw("POST", "/devices", entries)
        told = json.loads(text)
        assert (status, told["isSuccessful"], len(told["errors"])) == (400, False, 1), (value, text)
        assert told["errors"][0]["errorCode"] in ("ArgumentInvalid", "PreconditionFailed", "ModuleNotFound")
        assert len(text) < 4 * KB
        for side in "az":
            assert raw("DELETE", f"/devices/bulk-{number}-{side}")[0] == 204


@pytest.mark.parametrize("mode", ["create", "Create", "CREATEORUPDATE", None])
def test_capitals_of_an_import_mode_do_not_matter(raw, mode):
    """The SDK for Node says 'Update' where the documents say 'update'."""
    status, _, text = raw("POST", "/devices", [{"id": "capitals", "importMode": mode}])
    assert (status, json.loads(text)["errors"]) == (200, [])
    assert raw("DELETE", "/devices/capitals")[0] == 204


def test_a_slash_at_the_end_of_the_list(raw, known):
    """GET /devices/ is GET /devices, as the SDK for Node asks."""
    assert raw("GET", "/devices/")[2] == raw("GET", "/devices")[2]


@pytest.mark.parametrize("body", [None, {}, [], "text", 5, True, [5], [None], [[]], [{}] * 101, ["x"] * 3])
def test_a_bulk_that_is_no_list_of_entries(raw, body):
    """400 for the whole, or for each entry."""
    status, _, text = raw("POST", "/devices", b"null" if body is None else body)
    assert status == 400
    assert b"ArgumentInvalid" in text


# -- twins ---------------------------------------------------------------------------------------------

TWIN_FIELDS = {
    "tags": (*NUMBERS[:4], True, False, "", "text", [], [1]),
    "properties": WRONG_OBJECTS,
    "properties.desired": WRONG_OBJECTS,
    "tags.a b": (1,),
    "tags.$x": (1,),
    "tags.": (1,),
    "tags.\x01": (1,),
    "tags.\ud800": (1,),
    "tags.text": ("x" * (4 * KB + 1),),
    "tags." + "k" * (KB + 1): (1,),
    "properties.desired.n": (2**52, -(2**52) - 1, 10**400),
    "properties.desired.deep": (
        at(".".join("a" * 10), 1),
        nested(10),
        nested(DEEP),
        at(".".join("a" * 800), 1),
    ),
    "properties.desired.$new": (1,),
}


@pytest.mark.parametrize("field", TWIN_FIELDS, ids=lambda field: repr(field[:24]))
@pytest.mark.parametrize("path", ["/twins/known", "/twins/known/modules/m"])
@pytest.mark.usefixtures("known")
def test_a_twin_with_a_wrong_field(raw, path, field):
    """PATCH and PUT are 400, and the twin is as it was."""
    before = raw("GET", path)[2]
    for value in TWIN_FIELDS[field]:
        for method in ("PATCH", "PUT"):
            refused(raw(method, path, at(field, value)))
    assert raw("GET", path)[2] == before


def test_twins_at_their_limits(raw, lab):
    """Tags of 8 KB and desired properties of 32 KB are taken; a byte more is 400 and changes nothing."""
    lab.rest().call("PUT", "/devices/full", {"deviceId": "full"})
    sections = {
        "tags": (8, lambda values: {"tags": values}),
        "desired": (32, lambda v: at("properties.desired", v)),
    }
    for kilobytes, body in sections.values():
        full = {f"k{number:02}": "x" * (KB - 3) for number in range(kilobytes)}
        assert raw("PATCH", "/twins/full", body(full))[0] == 200
        before = raw("GET", "/twins/full")[2]
        more = full | {"k00": "x" * (KB - 2)}
        refused(raw("PATCH", "/twins/full", body({"k00": more["k00"]})))
        refused(raw("PUT", "/twins/full", body(more)))
        assert raw("GET", "/twins/full")[2] == before


def test_the_last_of_two_equal_names_counts(raw, lab):
    """RFC 8259 leaves it open; here the last one counts, as with the service's own JSON reader."""
    lab.rest().call("PUT", "/devices/twice", {"deviceId": "twice"})
    status, _, text = raw("PATCH", "/twins/twice", b'{"tags": {"a": 1}, "tags": {"a": 2, "a": 3}}')
    assert (status, json.loads(text)["tags"]) == (200, {"a": 3})


# -- methods -------------------------------------------------------------------------------------------

METHOD_FIELDS = {
    "methodName": (*WRONG_TEXTS, "", None, "x" * 101, "\ud800"),
    "responseTimeoutInSeconds": (0, 4, 301, -1, 1.5, 10**400, True, "30", "", [], {}),
    "connectTimeoutInSeconds": (301, -1, 0.5, 10**400, True, "30", "", [], {}),
    "payload": ("x" * (128 * KB - 1), nested(DEEP)),
}


@pytest.mark.parametrize("field", METHOD_FIELDS)
@pytest.mark.parametrize("path", ["/twins/known/methods", "/twins/known/modules/m/methods"])
@pytest.mark.usefixtures("known")
def test_a_method_with_a_wrong_field(raw, path, field):
    """400 before anybody is asked for the device."""
    for value in METHOD_FIELDS[field]:
        answer = raw("POST", path, {"methodName": "m"} | {field: value})
        if field == "payload" and not isinstance(value, str) and answer[0] == 404:
            continue  # deep, and still within what can be written
        refused(answer)
    refused(raw("POST", path, {"methodName": "m", "payload": "x" * (128 * KB - 2)}), 404, "DeviceNotOnline")


# -- bodies --------------------------------------------------------------------------------------------

CALLS = {
    "PUT device": ("PUT", "/devices/junk-device"),
    "PUT module": ("PUT", "/devices/known/modules/junk-module"),
    "POST bulk": ("POST", "/devices"),
    "PATCH twin": ("PATCH", "/twins/known"),
    "PUT twin": ("PUT", "/twins/known"),
    "POST method": ("POST", "/twins/known/methods"),
    "PUT settings": ("PUT", "/lab/settings"),
    "PUT commands": ("PUT", "/lab/cloud-to-device"),
}
JUNK = [
    b"",
    b" ",
    b"{",
    b"}",
    b"nonsense",
    b"null",
    b"5",
    b'"text"',
    b"\xff\xfe\x00",
    b'{"tags": "\xff"}',
    b"\xef\xbb\xbf",
    b"{'tags': 1}",
    b'{"tags": {"a": NaN}}',
    b'{"methodName": "m", "payload": Infinity}',
    b'{"methodName": "m", "payload": -1e999, "tags": {"a": 1e999}}',
    b'{"tags": {"a": ' + b"1" * 5000 + b"}}",
    b"[" * 10_000,
    b"[" * 10_000 + b"]" * 10_000,
    b'{"tags": ' * 10_000 + b"1" + b"}" * 10_000,
    b"\x00" * 100,
    b"<device/>",
]


@pytest.mark.parametrize("depth", [800, 900, 950, 980, 990, 1000, 1100])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.usefixtures("known")
def test_a_body_near_the_depth_that_python_reads(raw, call, depth):
    """What is read and then cannot be walked is refused as well, or passed over, and never a fault."""
    fields = ("payload", "tags", "status", "authentication", "id", "methodName", "feedback")
    for field in fields:
        body = b'{"methodName": "m", "%s": %s%s}' % (field.encode(), b"[" * depth, b"]" * depth)
        status, _, text = raw(*CALLS[call], body)
        assert status in (200, 201, 400, 404), text[:300]
        for made in ("/devices/junk-device", "/devices/known/modules/junk-module"):
            assert raw("DELETE", made)[0] in (204, 404)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.usefixtures("known")
def test_a_body_that_is_no_json_object(raw, lab, call):
    """400 with a word, whole and in chunks; the connection serves the next call."""
    before = lab.status()["devices"]
    for junk in JUNK:
        for chunked in (False, True):
            refused(raw(*CALLS[call], junk, chunked=chunked))
    assert lab.status()["devices"] == before


@pytest.mark.parametrize("call", [name for name in CALLS if "lab" not in CALLS[name][1]])
@pytest.mark.usefixtures("known")
def test_bodies_at_the_limit(raw, call):
    """Just under 1 MB is read, and refused for what it says; over it is 413."""
    refused(raw(*CALLS[call], b'"' + b"x" * (BODY_LIMIT - 3) + b'"'))
    for chunked in (False, True):
        refused(raw(*CALLS[call], b"x" * (BODY_LIMIT + 1), chunked=chunked), 413, "MessageTooLarge")


def test_bodies_that_never_come_whole(raw, lab):
    """A length that is a lie, a chunk that is none and two lengths harm nobody."""
    head = f"PUT /twins/known?{VERSION} HTTP/1.1\r\nHost: x\r\nAuthorization: {raw.token}\r\n"
    ends = [
        "Content-Length: 100\r\n\r\n{}",
        "Content-Length: -1\r\n\r\n{}",
        "Content-Length: many\r\n\r\n{}",
        "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}",
        "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    ]
    for end in ends:
        found = raw.bytes((head + "Connection: close\r\n" + end).encode())
        assert b" 500 " not in found.partition(b"\r\n")[0], (end, found)
    assert raw("GET", "/twins/known")[0] == 200


# -- addresses -----------------------------------------------------------------------------------------

IDS = {
    "..%2F..%2Fetc%2Fpasswd": 400,
    "..%5C..%5Chub.db": 400,
    "%2e%2e%2fhub.json": 400,
    "x';DROP%20TABLE%20identity;--": 400,
    "x'%20OR%20'1'='1": 400,
    "%25%27%20UNION%20SELECT%201": 400,
    "%00": 400,
    "a%0d%0aX-Evil:%201": 400,
    "%C3%BC": 400,
    "%F0%9F%9A%97": 400,
    "%ED%A0%80": 400,
    "%FF%FE": 400,
    "%E2%80%AEdcba": 400,
    "x" * 129: 400,
    "x" * 5000: 400,
    "x" * 128: 404,
    "1'='1": 404,
    "$sys": 404,
    "-": 404,
    "%25": 404,
    "(SELECT*)": 404,
}
PATHS = [
    ("GET", "/devices/{}"),
    ("DELETE", "/devices/{}"),
    ("GET", "/devices/{}/modules"),
    ("GET", "/devices/known/modules/{}"),
    ("GET", "/twins/{}"),
    ("GET", "/twins/known/modules/{}"),
    ("PATCH", "/twins/{}"),
    ("POST", "/twins/{}/methods"),
    ("DELETE", "/devices/{}/commands"),
]


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.usefixtures("known")
def test_ids_that_no_device_has(raw, lab, method, path):
    """An id that cannot be is 400 or 404, one that could be and is not 404; nobody else's data is told or harmed."""
    before = lab.status()["devices"]
    for name, least in IDS.items():
        body = {"methodName": "m"} if method in ("PATCH", "POST") else None
        status, headers, text = raw(method, path.format(name), body)
        assert status in (least, 404), (name, text)
        assert headers["iothub-errorcode"] in ("ArgumentInvalid", "DeviceNotFound", "ModuleNotFound")
        assert json.loads(text)["Message"]
        assert "X-Evil" not in headers
        assert len(text) < 20 * KB
    assert lab.status()["devices"] == before


@pytest.mark.parametrize("name", [name for name, least in IDS.items() if least == 404])
def test_ids_that_a_device_may_have(raw, lab, name):
    """Made, read by the same address, and deleted; no other is."""
    before = lab.status()["devices"]
    assert raw("PUT", f"/devices/{name}", {})[0] == 200
    assert lab.status()["devices"] == before + 1
    assert raw("GET", f"/twins/{name}")[0] == 200
    assert raw("DELETE", f"/devices/{name}")[0] == 204
    assert lab.status()["devices"] == before


VERSIONS = ["", "api-version=", "api-version=latest", "api-version=2021-4-12", "api-version=2021-04-12%00",
            "api-version=20210412", "api-version=1999-01-01", "api-version=2099-01-01-preview",
            "API-VERSION=2021-04-12", "version=2021-04-12",
            "api-version=2021-04-12-", "api-version=%D9%A2%D9%A0%D9%A2%D9%A1-04-12"]  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
def test_versions_of_the_api_that_are_none(raw, known, version):
    """400 for each call, before it is done."""
    for method, path in [
        ("GET", "/devices"),
        ("GET", f"/devices/{known}"),
        ("DELETE", f"/devices/{known}"),
        ("GET", f"/twins/{known}"),
        ("PATCH", f"/twins/{known}"),
        ("POST", f"/twins/{known}/methods"),
        ("GET", "/statistics/devices"),
    ]:
        answer = raw(method, path, {} if method in ("PATCH", "POST") else None, version=version)
        refused(answer, name="InvalidProtocolVersion")
    assert raw("GET", f"/devices/{known}")[0] == 200


AUTHORIZATIONS = [
    "",
    " ",
    "SharedAccessSignature",
    "SharedAccessSignature ",
    "SharedAccessSignature sr=&sig=&se=&skn=",
    "SharedAccessSignature sr=x&sig=x&se=never&skn=iothubowner",
    "SharedAccessSignature sr=x&sig=x&se=" + "9" * 5000 + "&skn=iothubowner",
    "SharedAccessSignature sr=%ff&sig=%00&se=-1&skn=%ff",
    "SharedAccessSignature sr=x&sr=y&sig=x&se=1&skn=iothubowner",
    "SharedAccessSignature " + "&" * 4000,
    "Basic aW90aHVib3duZXI6eA==",
    "x" * 7000,
    "S\xe4sSig sr=x",
]


@pytest.mark.parametrize("given", AUTHORIZATIONS, ids=lambda text: repr(text[:48]))
def test_authorizations_that_are_none(raw, known, given):
    """401 for each call of a service and of a device, and never a reason that tells a key.

    401003 where there is no token, else 401002.
    """
    for method, path in [
        ("GET", f"/devices/{known}"),
        ("PUT", "/devices/never-made"),
        ("PATCH", f"/twins/{known}"),
        ("POST", f"/twins/{known}/methods"),
        ("POST", f"/devices/{known}/messages/events"),
        ("GET", f"/devices/{known}/messages/deviceBound"),
        ("GET", "/messages/serviceBound/feedback"),
    ]:
        body = b"{}" if method in ("PUT", "PATCH", "POST") else None
        status, headers, text = raw(method, path, body, {"Authorization": given})
        name = "IotHubUnauthorizedAccess" if given.strip() else "IotHubUnauthorized"
        assert (status, headers["iothub-errorcode"]) == (401, name), text
        assert raw.lab._told.keys["iothubowner"].encode() not in text
        assert len(text) < 20 * KB
    refused(raw("GET", "/devices/never-made"), 404, "DeviceNotFound")


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "BREW"])
def test_methods_and_paths_that_are_none(raw, known, method):
    """405 or 501 (404 where a thing is named that is not there), in the service's shape."""
    served = {
        "/devices": ("GET", "POST"),
        f"/devices/{known}": ("GET", "PUT", "DELETE"),
        f"/twins/{known}": ("GET", "PUT", "PATCH"),
        f"/twins/{known}/methods": ("POST",),
        "/statistics/devices": ("GET",),
        "/no/such/thing": (),
        "/no/such": (),
        "/": (),
        "/devices/known/modules/m/twins": (),
        "/jobs/create": (),
        "/configurations/c": ("GET", "PUT", "DELETE"),
        "/digitaltwins/known": (),
        "/twins/known/methods/more": (),
    }
    asked = 0
    for path, methods in served.items():
        if method not in methods:
            status, headers, text = raw(method, path, b"{}" if method[0] == "P" else None)
            asked += 1
            if method == "BREW" and status == 400:
                continue  # aiohttp answers a verb that HTTP does not know by itself
            assert status in (404, 405, 501), (path, text)
            assert headers["iothub-errorcode"] in ("NotImplemented", "MethodNotAllowed", "NotFound")
            assert json.loads(text)["Message"]
    assert asked >= 8


# -- If-Match ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["", '""', '"', "x", "'*'", "x" * 7000, "W/", '"\xff"', "*x", ",,,"])
def test_etags_that_are_none(raw, known, given):
    """412, and nothing changes."""
    before = raw("GET", f"/twins/{known}")[2], raw("GET", f"/devices/{known}")[2]
    headers = {"If-Match": given}
    refused(raw("PATCH", f"/twins/{known}", {"tags": {"changed": 1}}, headers), 412, "PreconditionFailed")
    refused(raw("PUT", f"/devices/{known}", {"status": "disabled"}, headers), 412, "PreconditionFailed")
    refused(raw("DELETE", f"/devices/{known}", None, headers), 412, "PreconditionFailed")
    assert (raw("GET", f"/twins/{known}")[2], raw("GET", f"/devices/{known}")[2]) == before


# -- afterwards ----------------------------------------------------------------------------------------


def test_the_hub_is_well(raw, lab, known):
    """After all of this it serves as before, and its log holds neither a traceback nor a key."""
    twin = json.loads(raw("GET", f"/twins/{known}")[2])
    changed = json.loads(raw("PATCH", f"/twins/{known}", {"tags": {"well": True}})[2])
    expected = copy.deepcopy(twin["tags"]) | {"well": True}
    assert changed["tags"] == expected
    log = "".join(file.read_text() for file in sorted(lab.state_dir.glob("hub.log*")))
    assert "serves on" in log
    assert "Traceback" not in log, log[log.index("Traceback") - 300 :][:3000]
    assert not [name for name, key in lab._told.keys.items() if key in log]
