"""The workload API: what each call answers, to whom, and who is refused."""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import socket
import ssl
import stat
import sys
from pathlib import Path

import aiohttp
import pytest
from edge_modules import WAITING, Edge

from iotedge_lab.clock import SystemClock
from iotedge_lab.edge.workload import ModuleKey, WorkloadServer, callers
from iotedge_lab.edge.workload.server import API_VERSIONS
from iotedge_lab.errors import EnvironmentProblem
from iotedge_lab.serve.certificates import Authority

KEY = base64.b64encode(b"k" * 32).decode()
VERSION = {"api-version": "2020-10-10"}
DATA = {"keyId": "primary", "algo": "HMACSHA256", "data": base64.b64encode(b"to be signed").decode()}
SIGN = "/modules/ModuleA/genid/g1/sign"
CERTIFICATE = "/modules/ModuleA/genid/g1/certificate/server"


class Workload:
    """A server with two modules, and a client for each of its doors."""

    def __init__(self, folder, authority, **options):
        self.folder = folder
        self.authority = authority
        self.keys = {
            "ModuleA": ModuleKey("g1", KEY),
            "$edgeHub": ModuleKey("g/2", KEY),
            "broken": ModuleKey("g3", "no base64!"),
        }
        self.server = WorkloadServer(self.keys, authority, **options)

    async def __aenter__(self):
        await self.server.start(self.folder / "run", port=0)
        self.path = self.server.socket_uri.removeprefix("unix://")
        self.unix = aiohttp.ClientSession("http://unix", connector=aiohttp.UnixConnector(self.path))
        self.http = aiohttp.ClientSession(self.server.http_uri)
        return self

    async def __aexit__(self, *_):
        await self.unix.close()
        await self.http.close()
        await self.server.close()

    async def call(self, method, path, body=None, *, session=None, params=VERSION):
        """Status and JSON."""
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body)
        async with (session or self.unix).request(method, path, data=data, params=params) as response:
            assert response.content_type == "application/json"
            return response.status, await response.json()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A lab's authority."""
    return Authority.open(tmp_path_factory.mktemp("certificates"), SystemClock())


@pytest.fixture
async def workload(tmp_path, authority):
    """See `Workload`."""
    async with Workload(tmp_path, authority, modules=lambda: [{"id": "ModuleA", "name": "ModuleA"}]) as made:
        yield made


async def test_the_trust_bundle(workload):
    """It is the lab's authority, on both doors."""
    for session in (workload.unix, workload.http):
        found = await workload.call("GET", "/trust-bundle", session=session)
        assert found == (200, {"certificate": workload.authority.ca_pem})


async def test_signing(workload):
    """The digest is HMAC-SHA256 with the module's key, which itself is nowhere to be seen."""
    digest = base64.b64encode(hmac.digest(b"k" * 32, b"to be signed", hashlib.sha256)).decode()
    for session in (workload.unix, workload.http):
        assert await workload.call("POST", SIGN, DATA, session=session) == (200, {"digest": digest})
    path = "/modules/%24edgeHub/genid/g%2F2/sign"
    async with workload.unix.post(
        aiohttp.client.URL(path, encoded=True), json=DATA, params=VERSION
    ) as response:
        assert (await response.json()) == {"digest": digest}
    assert KEY not in repr(workload.keys)


async def test_api_versions(workload):
    """Each version from the first on is served, and no other."""
    assert len(API_VERSIONS) > 5
    for version in API_VERSIONS:
        assert (await workload.call("GET", "/modules", params={"api-version": version}))[0] == 200
    for params, words in (
        ({}, "api-version not specified"),
        ({"api-version": "2017-01-01"}, "invalid api-version"),
    ):
        status, body = await workload.call("POST", SIGN, DATA, params=params)
        assert status == 400
        assert words in body["message"]


async def test_the_list_of_modules(workload):
    """It is what the agent says."""
    assert await workload.call("GET", "/modules") == (
        200,
        {"modules": [{"id": "ModuleA", "name": "ModuleA"}]},
    )


REFUSED = [
    # method, path, body, status, what the message says
    ("GET", "/nothing", None, 404, "not found"),
    ("GET", SIGN, None, 405, "method not allowed"),
    ("POST", "/modules/zebra/genid/g1/sign", DATA, 404, "no module 'zebra'"),
    ("POST", "/modules/modulea/genid/g1/sign", DATA, 404, "no module 'modulea'"),
    ("POST", "/modules/ModuleA/genid/g0/sign", DATA, 403, "not the generation id"),
    ("POST", "/modules/ModuleA/genid/g%2F2/sign", DATA, 403, "not the generation id"),
    ("POST", "/modules/ModuleA/genid/g\u00e4/sign", DATA, 403, "not the generation id"),
    ("POST", "/modules/ModuleA/genid//sign", DATA, 404, "not found"),
    ("POST", SIGN, None, 400, "no JSON"),
    ("POST", SIGN, b"{", 400, "no JSON"),
    ("POST", SIGN, b"[" * 100_000, 400, "no JSON"),
    ("POST", SIGN, b"\xff", 400, "no JSON"),
    ("POST", SIGN, [1], 400, "no JSON object"),
    ("POST", SIGN, {"keyId": "primary"}, 400, "data is missing"),
    ("POST", SIGN, {"data": 5}, 400, "data is missing"),
    ("POST", SIGN, {"data": "***"}, 400, "data is not base64"),
    ("POST", SIGN, {**DATA, "algo": "MD5"}, 400, "algo is 'MD5'"),
    ("POST", SIGN, {"data": "A" * 300_000}, 413, "Too Large"),
    ("POST", "/modules/broken/genid/g3/sign", DATA, 500, "not base64"),
    ("POST", CERTIFICATE, {}, 400, "commonName is missing"),
    ("POST", CERTIFICATE, {"commonName": "no name"}, 400, "cannot stand in a certificate"),
    (
        "POST",
        "/modules/ModuleA/genid/g0/certificate/server",
        {"commonName": "x"},
        403,
        "not the generation id",
    ),
]


@pytest.mark.parametrize("case", REFUSED, ids=range(len(REFUSED)))
async def test_refusals(case, workload):
    """Each refusal has its status, and a message in the documented form."""
    method, path, body, status, words = case
    found = await workload.call(method, path, body)
    assert found[0] == status
    assert set(found[1]) == {"message"}
    assert words in found[1]["message"]


async def test_an_identity_that_was_made_again(workload):
    """A key that changes in the ring changes at once: the new generation signs, the old one no more."""
    workload.keys["ModuleA"] = ModuleKey("g9", KEY)
    assert (await workload.call("POST", SIGN, DATA))[0] == 403
    assert (await workload.call("POST", "/modules/ModuleA/genid/g9/sign", DATA))[0] == 200
    del workload.keys["ModuleA"]
    assert (await workload.call("POST", "/modules/ModuleA/genid/g9/sign", DATA))[0] == 404


async def test_server_certificates(workload, tmp_path):
    """A module gets a certificate of the lab for its host name and its own, ready to serve TLS with."""
    status, made = await workload.call(
        "POST", CERTIFICATE, {"commonName": "edge.test", "expiration": "2020-01-01"}
    )
    assert status == 201
    assert made["privateKey"]["type"] == "key"
    assert made["expiration"].endswith("+00:00")
    file = tmp_path / "server.pem"
    file.write_text(made["privateKey"]["bytes"] + made["certificate"])
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(file)
    for name in ("edge.test", "ModuleA"):
        shake_hands(served, ssl.create_default_context(cadata=workload.authority.ca_pem), name)
    again = await workload.call("POST", CERTIFICATE, {"commonName": "edge.test"})
    assert again == (201, made)
    kept = len(list(workload.authority.folder.iterdir()))
    for number in range(3):
        assert (await workload.call("POST", CERTIFICATE, {"commonName": f"host{number}.test"}))[0] == 201
    assert len(list(workload.authority.folder.iterdir())) == kept


def shake_hands(server, client, name):
    """A TLS handshake in memory; raises where the client does not accept the server."""
    ends = [ssl.MemoryBIO(), ssl.MemoryBIO()]
    sides = [
        server.wrap_bio(ends[0], ends[1], server_side=True),
        client.wrap_bio(ends[1], ends[0], server_hostname=name),
    ]
    done = set()
    while len(done) < 2:
        for number in (1, 0):
            try:
                sides[number].do_handshake()
                done.add(number)
            except ssl.SSLWantReadError:
                pass


async def test_a_name_that_is_no_host_name(workload):
    """A module whose name can stand in no certificate gets one for the common name alone."""
    workload.keys["m" * 100] = ModuleKey("g", KEY)
    path = f"/modules/{'m' * 100}/genid/g/certificate/server"
    assert (await workload.call("POST", path, {"commonName": "127.0.0.1"}))[0] == 201


# -- who calls ------------------------------------------------------------------------------------------


def mode(path):
    """The rights of a file; None where there is none."""
    return stat.S_IMODE(path.stat().st_mode) if path.exists() else None


async def test_the_socket_is_private(workload):
    """Folder and socket are the user's alone, and gone after `close`."""
    path = Path(workload.path)
    assert (mode(path.parent), mode(path)) == (0o700, 0o600)
    await workload.server.close()
    await workload.server.close()
    assert mode(path) is None


async def test_other_users_are_refused(workload, monkeypatch):
    """Who runs as another user gets nothing, by neither door: the kernel says who it is."""
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    for session in (workload.unix, workload.http):
        for method, path, body in (
            ("POST", SIGN, DATA),
            ("GET", "/trust-bundle", None),
            ("GET", "/modules", None),
        ):
            status, answer = await workload.call(method, path, body, session=session)
            assert (status, answer["message"].partition(":")[0]) == (403, "forbidden")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
async def test_another_user_on_the_loopback_port(workload):
    """A process of another user is recognised by its socket."""
    code = """
import os, socket, sys
import encodings.idna
os.setuid(65534)
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as sock:
    sock.sendall(b"GET /trust-bundle?api-version=2020-10-10 HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    print(sock.recv(1000).decode())
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(workload.server._port), stdout=asyncio.subprocess.PIPE
    )
    assert b"HTTP/1.1 403" in (await process.communicate())[0]


def test_the_owner_of_a_peer():
    """The kernel's table names the user of the other end of a loopback connection, IPv4 and IPv6."""
    families = [(socket.AF_INET, "127.0.0.1")]
    if socket.has_dualstack_ipv6():
        families.append((socket.AF_INET6, "::1"))
    for family, host in families:
        with (
            socket.create_server((host, 0), family=family) as listener,
            socket.create_connection(listener.getsockname()[:2]),
            listener.accept()[0] as accepted,
        ):
            assert callers.caller_of(accepted.fileno()).uid == os.getuid()
    left, right = socket.socketpair()
    with left, right:
        assert callers.caller_of(left.fileno()) == callers.Caller(uid=os.getuid(), pid=os.getpid())


async def test_a_module_speaks_for_itself_alone(tmp_path, authority):
    """A process of one module gets no signature of another's, though it knows the generation id."""
    ask = f"""
        import http.client, json, socket, sys
        class Unix(http.client.HTTPConnection):
            def connect(self):
                self.sock = socket.socket(socket.AF_UNIX)
                self.sock.connect(sys.argv[1])
        for module, generation in (("ModuleA", "g1"), ("$edgeHub", "g%2F2")):
            connection = Unix("x")
            connection.request(
                "POST", f"/modules/{{module}}/genid/{{generation}}/sign?api-version=2020-10-10", {json.dumps(DATA)!r}
            )
            print(connection.getresponse().status)
            connection.close()
    """
    async with Edge(tmp_path, {"ModuleA": ask, "b": WAITING}) as edge:
        made = Workload(
            tmp_path, authority, module_of=edge.supervisor.module_of, modules=edge.supervisor.listing
        )
        async with made as workload:
            await edge.apply(
                ModuleA={"restartPolicy": "never", "createOptions": {"Cmd": [workload.path]}}, b={}
            )
            await edge.until_status("stopped", "ModuleA")
            assert edge.output("ModuleA") == ["200", "403"]
            # The same user's own programs may ask for any module: it is they who run the edge.
            assert (await workload.call("POST", SIGN, DATA))[0] == 200
            _, found = await workload.call("GET", "/modules")
            assert [each["name"] for each in found["modules"]] == ["edgeAgent", "ModuleA", "b"]


# -- the socket's path -----------------------------------------------------------------------------------


async def test_a_path_that_is_too_long(tmp_path, authority):
    """Where the state folder lies too deep for a socket's path, a short private folder takes it."""
    deep = tmp_path.joinpath(*["deep" * 10] * 4)
    async with Workload(deep, authority) as workload:
        path = Path(workload.path)
        assert len(os.fsencode(path)) < 104
        assert mode(path.parent) == 0o700
        assert (await workload.call("POST", SIGN, DATA))[0] == 200
    assert mode(path.parent) is None


async def test_a_socket_that_was_left(tmp_path, authority):
    """The socket of a killed runtime is replaced; one that still answers, or another file, is not touched."""
    folder = tmp_path / "run"
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(folder / "workload.sock"))
    async with Workload(tmp_path, authority) as workload:
        with pytest.raises(EnvironmentProblem, match="Another edge runtime serves"):
            await WorkloadServer({}, authority).start(folder)
        assert (await workload.call("GET", "/modules"))[0] == 200
    (folder / "workload.sock").write_text("mine")
    with pytest.raises(EnvironmentProblem, match="is in the way"):
        await WorkloadServer({}, authority).start(folder)
    assert (folder / "workload.sock").read_text() == "mine"
