"""The few REST calls of the lab itself, against a tiny server that stands for Azure."""

import http.server
import json
import socket
import ssl
import threading
import urllib.parse

import pytest
from hub_clients import some_key

from iotedge_lab import rest
from iotedge_lab.clock import FakeClock, SystemClock
from iotedge_lab.errors import EnvironmentProblem, HubNotRunning, ServiceError
from iotedge_lab.lab import SERVICE_VARIABLE, Lab
from iotedge_lab.rest import RestClient, RestError, quote
from iotedge_lab.serve.certificates import Authority
from iotedge_lab.wire import sas


class Azure:
    """An HTTPS server with devices; it answers the query by tag two devices at a time, from an index that lags."""

    def __init__(self, authority):
        self.requests = []
        self.tagged = []
        self.index = None  # what the query finds, if it is not what there is
        self.answers = []  # (status, headers, body) given before anything else
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def _serve(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.requests.append((self.command, self.path, dict(self.headers), body))
                status, headers, text = outer.answer(
                    self.command, urllib.parse.urlsplit(self.path).path, self.headers
                )
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 - the base class names them so

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = False

            def get_request(self):
                # The handshake would otherwise block the accepting thread; a client that breaks off is no news.
                sock, peer = super().get_request()
                return context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), peer

            def handle_error(self, *_):
                pass

        context = authority.server_context()
        self.server = Server(("127.0.0.1", 0), Handler)
        self.host = f"localhost:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def answer(self, method, path, headers):
        if self.answers:
            return self.answers.pop(0)
        if path == "/devices/query":
            found = self.tagged if self.index is None else self.index
            begin = int(headers.get("x-ms-continuation", "0"))
            more = {"x-ms-continuation": str(begin + 2)} if begin + 2 < len(found) else {}
            page = [{"deviceId": name} for name in found[begin : begin + 2]]
            return 200, {"Content-Type": "application/json"} | more, json.dumps(page).encode()
        if method == "DELETE":
            name = urllib.parse.unquote(path.removeprefix("/devices/"))
            if name in self.tagged:
                self.tagged.remove(name)
                return 204, {}, b""
            return (
                404,
                {"iothub-errorcode": "DeviceNotFound"},
                b'{"Message": "ErrorCode:DeviceNotFound;gone"}',
            )
        return 200, {}, b'{"deviceId": "d"}'

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority.open(tmp_path_factory.mktemp("rest") / "certificates", SystemClock())


@pytest.fixture
def azure(authority):
    server = Azure(authority)
    yield server
    server.close()


@pytest.fixture
def string(azure):
    return f"HostName={azure.host};SharedAccessKeyName=iothubowner;SharedAccessKey={some_key()}"


@pytest.fixture
def client(string, authority):
    return RestClient(string, authority.bundle_file, clock=FakeClock(1_700_000_000))


def test_a_call_is_signed_and_names_its_version(client, azure):
    """A token of the policy, for five minutes, for the host and port; api-version and JSON."""
    assert client.call(
        "PUT", "/devices/d", {"deviceId": "d"}, headers={"If-Match": "*"}, query={"a": "ü&"}
    ) == {"deviceId": "d"}
    ((method, path, headers, body),) = azure.requests
    assert (method, path) == ("PUT", "/devices/d?api-version=2021-04-12&a=%C3%BC%26")
    assert json.loads(body) == {"deviceId": "d"}
    assert headers["If-Match"] == "*"
    token = sas.parse(headers["Authorization"])
    assert (token.resource_decoded, token.key_name, token.expiry) == (
        azure.host,
        "iothubowner",
        1_700_000_300,
    )
    sas.verify(token, some_key(), 1_700_000_000)


def test_an_empty_answer_is_none(client, azure):
    """204 has no body."""
    azure.answers = [(204, {}, b"")]
    assert client.call("DELETE", "/devices/d") is None


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (
            (404, {"iothub-errorcode": "DeviceNotFound"}, b'{"Message": "ErrorCode:DeviceNotFound;no d"}'),
            "DeviceNotFound",
            "no d",
        ),
        ((401, {}, b'{"Message": "no"}'), "", "no"),
        ((500, {}, b"<html>oh</html>"), "", "<html>oh</html>"),
        ((503, {}, b""), "", ""),
        ((429, {}, b"[1]"), "", "[1]"),
        ((400, {}, b"\xff\xfe"), "", "\ufffd"),
    ],
)
def test_a_refusal(client, azure, answer, error, message):
    """Whatever the body is, status, word and message are in the error."""
    azure.answers = [answer]
    with pytest.raises(RestError) as caught:
        client.call("GET", "/devices/d")
    assert isinstance(caught.value, ServiceError)
    assert (caught.value.http_status, caught.value.error) == (answer[0], error)
    assert message in str(caught.value)
    assert str(answer[0]) in str(caught.value)


def test_nobody_there(authority):
    """A closed port is HubNotRunning, which says how to start one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    string = f"HostName=localhost:{port};SharedAccessKeyName=p;SharedAccessKey={some_key()}"
    with pytest.raises(HubNotRunning, match="iotedge-lab up"):
        RestClient(string, authority.bundle_file).call("GET", "/devices")


def test_a_server_that_says_nothing(authority):
    """A host that accepts and never answers is given up after the time-out."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        string = (
            f"HostName=localhost:{server.getsockname()[1]};SharedAccessKeyName=p;SharedAccessKey={some_key()}"
        )
        with pytest.raises(HubNotRunning):
            RestClient(string, authority.bundle_file).call("GET", "/devices", timeout=0.2)


def test_a_certificate_that_is_not_trusted(string, tmp_path):
    """Another root is told as what it is, with the doctor's name."""
    stranger = Authority.open(tmp_path / "other", SystemClock())
    with pytest.raises(EnvironmentProblem, match="doctor") as caught:
        RestClient(string, stranger.bundle_file).call("GET", "/devices")
    assert not isinstance(caught.value, HubNotRunning)


def test_no_key_in_an_error(string, client, azure):
    """Neither the key nor the token is in what goes wrong."""
    azure.answers = [(500, {}, b"oh")]
    with pytest.raises(RestError) as caught:
        client.call("GET", "/devices")
    assert some_key() not in str(caught.value)
    assert "sig=" not in str(caught.value)


@pytest.mark.parametrize(
    ("part", "quoted"),
    [("a/b", "a%2Fb"), ("a b", "a%20b"), ("50%", "50%25"), ("a?b#c", "a%3Fb%23c"), ("ü", "%C3%BC")],
)
def test_quote(part, quoted):
    """An id is one segment of the path."""
    assert quote(part) == quoted


# -- Lab.reset on Azure --------------------------------------------------------------------------------


@pytest.fixture
def cloud(azure, string, authority, monkeypatch, tmp_path):
    """A `Lab` on the tiny server, as if that were Azure."""
    monkeypatch.setenv(SERVICE_VARIABLE, string)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle_file))
    monkeypatch.setattr("iotedge_lab.lab.is_local", lambda *_: False)  # it listens on loopback, as all here
    with Lab.open(tmp_path / "state") as lab:
        assert not lab.is_local
        yield lab
    assert not (tmp_path / "state").exists()


def test_reset_deletes_what_is_tagged(cloud, azure):
    """Only devices whose twin has the tag, page by page, with If-Match *; how many is told."""
    azure.tagged = ["car 1", "a/b", "c", "d", "e"]
    assert cloud.reset() == 5
    queries = [body for method, path, _, body in azure.requests if path.startswith("/devices/query")]
    assert len(queries) == 3
    assert json.loads(queries[0])["query"] == "SELECT deviceId FROM devices WHERE is_defined(tags.iotedgeLab)"
    deletions = [
        (path.partition("?")[0], headers) for method, path, headers, _ in azure.requests if method == "DELETE"
    ]
    assert {path for path, _ in deletions} == {
        f"/devices/{quote(name)}" for name in ("car 1", "a/b", "c", "d", "e")
    }
    assert len(deletions) == 5
    assert all(headers["If-Match"] == "*" for _, headers in deletions)


def test_reset_with_nothing_tagged(cloud):
    """Nothing is deleted."""
    assert cloud.reset() == 0


def test_reset_meets_a_device_that_went_by_itself(cloud, azure):
    """A device that is gone by now is no trouble; another refusal is."""
    page = json.dumps([{"deviceId": "gone"}]).encode()
    azure.answers = [(200, {}, page)]
    assert cloud.reset() == 0
    azure.answers = [(200, {}, page), (401, {"iothub-errorcode": "IotHubUnauthorizedAccess"}, b"{}")]
    with pytest.raises(RestError, match="401"):
        cloud.reset()


def test_reset_where_the_query_lags(cloud, azure):
    """Azure's query index is behind: what it still names is not counted, and keeps nothing from being deleted."""
    azure.index = ["stale 1", "stale 2", "stale 3", "there", "stale 4"]
    azure.tagged = ["there"]
    assert cloud.reset() == 1
    assert azure.tagged == []
    assert cloud.reset() == 0


def test_reset_waits_where_it_is_throttled(cloud, azure, monkeypatch):
    """A 429 is waited for, as long as the hub says or longer and longer; when it never ends it is raised."""
    waited = []
    monkeypatch.setattr("iotedge_lab.lab.time.sleep", waited.append)
    page, throttled = json.dumps([{"deviceId": "car"}]).encode(), {"iothub-errorcode": "ThrottlingException"}
    azure.answers = [
        (200, {}, page),
        (429, throttled, b"{}"),
        (429, throttled | {"Retry-After": "7"}, b"{}"),
        (204, {}, b""),
    ]
    assert cloud.reset() == 1
    assert waited == [1, 7]
    azure.answers = [(200, {}, page), *[(429, throttled, b"{}")] * 7]
    with pytest.raises(RestError, match="429 ThrottlingException"):
        cloud.reset()
    assert waited[2:] == [1, 2, 4, 8, 15, 30]
    assert azure.answers == []


def test_the_module_needs_no_sdk():
    """`iotedge_lab.rest` serves where azure-iot-hub has no wheel."""
    assert not [name for name in vars(rest) if "azure" in name.lower()]
    assert isinstance(ssl.create_default_context(), ssl.SSLContext)
