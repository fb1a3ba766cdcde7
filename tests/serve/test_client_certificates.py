"""TLS servers that take any client certificate, and none: what the hub is told of it, on both loops."""

import gc
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from iotedge_lab.serve import client_certificates
from iotedge_lab.serve.client_certificates import accept_any_certificate, chain_of

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def _self_signed(folder, name, *, issuer=None, days=(-1, 1)):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[1].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .sign(issuer[0] if issuer else key, hashes.SHA256())
    )
    file = folder / f"{name}.pem"
    pem = serialization.Encoding.PEM
    file.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(pem)
        + (issuer[1].public_bytes(pem) if issuer else b"")
    )
    return file, key, certificate


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture
def asking(authority):
    """A server context that asks, and takes any."""
    context = authority.server_context()
    assert accept_any_certificate(context) == ""
    return context


def _client(authority, file=None, version=None):
    context = ssl.create_default_context(cadata=authority.ca_pem)
    if file is not None:
        context.load_cert_chain(file)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def _shake(server, client):
    """A handshake in memory; the server's end."""
    return _shake_both(server, client)[0]


def _shake_both(server, client, session=None):
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        server.wrap_bio(there, back, server_side=True),
        client.wrap_bio(back, there, server_hostname="localhost", session=session),
    ]
    done = set()
    for _ in range(6):
        for end in ends[::-1]:
            try:
                end.do_handshake()
                done.add(end)
            except ssl.SSLWantReadError:
                pass
    assert len(done) == 2
    return ends


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("days", [(-1, 1), (-9, -1), (1, 9)], ids=["now", "past", "to come"])
def test_an_unknown_certificate_is_taken(authority, asking, folder, version, days):
    """Self-signed, out of its dates or not: the handshake succeeds, and the server has the certificate."""
    file, _, certificate = _self_signed(folder, "stranger", days=days)
    end = _shake(asking, _client(authority, file, version))
    assert chain_of(end) == (certificate.public_bytes(serialization.Encoding.DER),)


@pytest.mark.parametrize("version", VERSIONS)
def test_issuers_come_along(authority, asking, folder, version):
    """What the client sent with its certificate is there, in order."""
    _, key, issuer = _self_signed(folder, "issuer")
    file, _, certificate = _self_signed(folder, "below", issuer=(key, issuer))
    der = serialization.Encoding.DER
    end = _shake(asking, _client(authority, file, version))
    assert chain_of(end) == (certificate.public_bytes(der), issuer.public_bytes(der))


@pytest.mark.parametrize("version", VERSIONS)
def test_no_certificate_is_fine(authority, asking, version):
    """A client without one is served as before."""
    assert chain_of(_shake(asking, _client(authority, version=version))) == ()


@pytest.mark.parametrize("version", VERSIONS)
def test_no_session_is_resumed(authority, asking, folder, version):
    """A client that would resume its session shakes hands anew, and its issuers are there each time."""
    _, key, issuer = _self_signed(folder, "issuer")
    file, _, _ = _self_signed(folder, "resuming", issuer=(key, issuer))
    client = _client(authority, file, version)
    session = None
    for _ in range(3):
        end, other = _shake_both(asking, client, session)
        assert len(chain_of(end)) == 2
        assert not other.session_reused
        session = other.session


def test_a_context_that_does_not_ask_gets_none(authority, folder):
    """The setting is of one context, and not of the process."""
    file, _, _ = _self_signed(folder, "unasked")
    assert accept_any_certificate(authority.server_context()) == ""
    assert chain_of(_shake(authority.server_context(), _client(authority, file))) == ()


def test_another_context_still_refuses(authority, folder, asking):
    """CERT_OPTIONAL elsewhere is judged by OpenSSL as ever."""
    file, _, _ = _self_signed(folder, "refused")
    strict = authority.server_context(trusted_clients=authority.ca_pem)
    _shake(asking, _client(authority, file))
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        _shake(strict, _client(authority, file))


def test_the_private_key_must_be_held(authority, asking, folder):
    """Who shows another's certificate without its key does not get through the handshake."""
    file, _, _ = _self_signed(folder, "owner")
    thief = folder / "thief.pem"
    other, _, _ = _self_signed(folder, "other")
    key = other.read_text().partition("-----BEGIN CERTIFICATE-----")[0]
    certificate = file.read_text().partition("-----BEGIN CERTIFICATE-----")[2]
    thief.write_text(f"{key}-----BEGIN CERTIFICATE-----{certificate}")
    with pytest.raises(ssl.SSLError, match="KEY_VALUES_MISMATCH"):
        _client(authority, thief)


def test_a_thousand_handshakes(authority, asking, folder):
    """Many in a row, with the collector at work, and the callback is still there."""
    file, _, certificate = _self_signed(folder, "many")
    client = _client(authority, file)
    der = certificate.public_bytes(serialization.Encoding.DER)
    for number in range(1000):
        assert chain_of(_shake(asking, client)) == (der,)
        if number % 250 == 0:
            gc.collect()


_UNDER_DEBUG = """
import gc, ssl, sys, threading
sys.path[:0] = {paths!r}
from pathlib import Path
from iotedge_lab.clock import SystemClock
from iotedge_lab.serve.certificates import Authority
import iotedge_lab.serve.client_certificates as cc
from test_client_certificates import _client, _self_signed, _shake
folder = Path({folder!r})
authority = Authority.open(folder / "authority", SystemClock())
file, _, _ = _self_signed(folder, "debug")
for _ in range(3):
    context = authority.server_context()
    assert cc.accept_any_certificate(context) == ""
    def many():
        for _ in range(40):
            assert cc.chain_of(_shake(context, _client(authority, file)))
    threads = [threading.Thread(target=many) for _ in range(2)]
    [each.start() for each in threads]
    [each.join() for each in threads]
    del many
    gc.collect()
del cc._take_any, cc._take
gc.collect()
assert context.wrap_bio and _shake(context, _client(authority, file)).getpeercert(True)
print("well")
"""


def test_with_a_debugging_allocator_on_threads(tmp_path):
    """No access to what is freed: with the memory debugger, on threads, and when the module's names are gone."""
    paths = [str(each) for each in sys.path if each]
    code = _UNDER_DEBUG.format(paths=[*paths, __file__.rpartition("/")[0]], folder=str(tmp_path))
    ended = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", code],
        env={"PYTHONMALLOC": "debug", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout.strip()) == (0, "well"), ended.stderr


BROKEN = {
    "another Python": ("_KNOWN_LAYOUTS", ((2, 6), (2, 7)), "not a Python"),
    "no library": ("_candidates", lambda: iter(["no-such-library.so"]), "cannot be reached"),
    "another library": ("_candidates", lambda: iter([None]), "cannot be reached"),
    "the proof fails": ("_install", lambda _: None, "CERTIFICATE_VERIFY_FAILED"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_where_it_cannot_be_done_nothing_is_asked(authority, folder, monkeypatch, broken):
    """The reason is told, and clients are served without certificates."""
    name, value, word = BROKEN[broken]
    if broken == "another library":
        monkeypatch.setattr(client_certificates.ssl, "OPENSSL_VERSION", "OpenSSL 0.9.8")
    else:
        monkeypatch.setattr(client_certificates, name, value)
    context = authority.server_context()
    assert word in accept_any_certificate(context)
    assert context.verify_mode is ssl.CERT_NONE
    file, _, _ = _self_signed(folder, "unheard")
    assert chain_of(_shake(context, _client(authority, file))) == ()


@pytest.mark.parametrize("version", VERSIONS)
async def test_through_the_listener(authority, asking, folder, version, *, listening, connect, made):
    """A handler is told of the certificates, on either loop, and of none where there are none."""
    file, _, certificate = _self_signed(folder, "listened")
    async with listening(tls=asking) as (_, port):
        for shown in (file, None):
            reader, writer = await connect(port, ssl=_client(authority, shown, version))
            writer.write(b"GET")
            assert await reader.readexactly(8) == b"http:GET"
    der = certificate.public_bytes(serialization.Encoding.DER)
    told = [(each.info.client_certificate, each.info.client_chain) for each in made]
    assert told == [(der, (der,)), (None, ())]
