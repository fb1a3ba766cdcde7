"""The authority: what its certificates say, how they are kept, and when they are made anew."""

import datetime as dt
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from iotedge_lab.clock import FakeClock, SystemClock
from iotedge_lab.errors import EnvironmentProblem, UsageError
from iotedge_lab.serve.certificates import DEFAULT_NAMES, Authority

DAY = 86400.0


@pytest.fixture
def folder(tmp_path):
    """A folder that does not exist yet."""
    return tmp_path / "state" / "certificates"


def certificate(file):
    """The certificate in `file`."""
    return x509.load_pem_x509_certificate(file.read_bytes())


def handshake(server, client, name="localhost"):
    """Shake hands over a socket pair; the client's socket, or the client's error."""
    near, far = socket.socketpair()
    with near, far:

        def serve():
            try:
                with server.wrap_socket(far, server_side=True) as wrapped:
                    wrapped.recv(1)
            except OSError:  # the client refused, and the test sees why
                pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with client.wrap_socket(near, server_hostname=name) as wrapped:
                result = wrapped.version(), wrapped.selected_alpn_protocol()
                wrapped.send(b"x")
                return result
        finally:
            near.close()
            thread.join()


def test_what_they_say(folder):
    """Root and server certificate carry what RFC 5280 and OpenSSL's strict mode ask for."""
    clock = FakeClock()
    authority = Authority.open(folder, clock, names=["hub.example", "10.1.2.3", "Bücher.example"])
    now = dt.datetime.fromtimestamp(clock.now(), dt.UTC)
    root, server = certificate(authority.ca_file), certificate(authority.server_file)

    def of(made, kind):
        return made.extensions.get_extension_for_class(kind)

    server.verify_directly_issued_by(root)
    root.verify_directly_issued_by(root)
    assert of(root, x509.BasicConstraints).critical
    assert of(root, x509.BasicConstraints).value.ca
    assert of(root, x509.KeyUsage).critical
    assert of(root, x509.KeyUsage).value.key_cert_sign
    assert not of(server, x509.BasicConstraints).value.ca
    assert of(server, x509.KeyUsage).value.digital_signature
    assert not of(server, x509.KeyUsage).value.key_cert_sign
    assert list(of(server, x509.ExtendedKeyUsage).value) == [x509.ExtendedKeyUsageOID.SERVER_AUTH]
    assert (
        of(server, x509.AuthorityKeyIdentifier).value.key_identifier
        == of(root, x509.SubjectKeyIdentifier).value.digest
    )
    names = of(server, x509.SubjectAlternativeName).value
    addresses = {str(each) for each in names.get_values_for_type(x509.IPAddress)}
    assert addresses == {*(f"127.0.0.{n}" for n in range(1, 255)), "::1", "10.1.2.3"}
    assert names.get_values_for_type(x509.DNSName) == [
        "localhost",
        "*.azure-devices.net",
        "*.servicebus.windows.net",
        "hub.example",
        "xn--bcher-kva.example",
    ]
    assert root.not_valid_after_utc - now == dt.timedelta(days=3652)
    assert server.not_valid_after_utc - now == dt.timedelta(days=365)
    assert authority.expiry().root == root.not_valid_after_utc
    assert authority.expiry().server == server.not_valid_after_utc
    assert root.serial_number != server.serial_number
    assert authority.ca_pem == authority.ca_file.read_text()


@pytest.mark.parametrize(
    "name",
    ["localhost", "127.0.0.1", "127.0.0.254", "::1", "lab.azure-devices.net", "x.servicebus.windows.net"],
)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_strict_clients_accept(authority, name, version):
    """A strict client takes the server certificate for each name, under TLS 1.2 and 1.3."""
    client = ssl.create_default_context(cafile=authority.ca_file)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    client.minimum_version = client.maximum_version = version
    assert handshake(authority.server_context(), client, name)[0] == version.name.replace("_", ".")


@pytest.mark.parametrize("name", ["azure-devices.net", "a.b.azure-devices.net", "example.com", "127.0.1.1"])
def test_strict_clients_refuse(authority, name):
    """A name that the certificate does not cover is refused."""
    client = ssl.create_default_context(cafile=authority.ca_file)
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(authority.server_context(), client, name)


@pytest.mark.parametrize(
    ("asked", "agreed"),
    [([], None), (["h2", "http/1.1"], "http/1.1"), (["mqtt"], "mqtt"), (["x-amqp"], None)],
)
def test_alpn(authority, asked, agreed):
    """ALPN agrees on what is served and never fails a handshake."""
    client = ssl.create_default_context(cafile=authority.ca_file)
    if asked:
        client.set_alpn_protocols(asked)
    assert handshake(authority.server_context(), client)[1] == agreed


def test_old_tls_is_refused(authority):
    """Nothing below TLS 1.2 is spoken, and no client certificate is asked for."""
    context = authority.server_context()
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_NONE
    assert authority.server_context(trusted_clients=authority.ca_pem).verify_mode == ssl.CERT_OPTIONAL


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
def test_openssl_strict(authority, tmp_path):
    """`openssl verify -x509_strict` has nothing to say against it."""
    told = subprocess.run(
        [
            *("openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "localhost"),
            *("-CAfile", str(authority.ca_file), str(authority.server_file)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
def test_node(authority):
    """Node takes it through NODE_EXTRA_CA_CERTS."""
    server = socket.create_server(("127.0.0.1", 0))
    context = authority.server_context()

    def serve():
        plain, _ = server.accept()
        with plain, context.wrap_socket(plain, server_side=True) as wrapped:
            while wrapped.recv(100):
                pass

    thread = threading.Thread(target=serve)
    thread.start()
    script = (
        f"const s = require('tls').connect({{host: '127.0.0.1', port: {server.getsockname()[1]}, "
        "servername: 'lab.azure-devices.net'}, () => { "
        "console.log(JSON.stringify([s.authorized, s.getProtocol()])); s.end('x') })"
    )
    environment = {**os.environ, "NODE_EXTRA_CA_CERTS": str(authority.ca_file)}
    told = subprocess.run(
        ["node", "-e", script], env=environment, capture_output=True, text=True, timeout=20, check=False
    )
    thread.join()
    server.close()
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout) == [True, "TLSv1.3"]


@pytest.mark.skipif(os.name != "posix", reason="POSIX modes")
def test_modes(folder):
    """The folder is for its owner alone and so is each file, also if somebody had opened them up."""
    folder.mkdir(parents=True, mode=0o755)
    authority = Authority.open(folder, SystemClock())
    authority.issue("edge-1", ["edge-1.lab"])
    files = {authority.bundle_file, authority.ca_file, authority.server_file, *folder.iterdir()}
    assert {each.name for each in files} == {
        *("authority.pem", "lab-ca.pem", "server.pem", "ca-bundle.pem", "edge-1.pem")
    }
    assert [oct(each.stat().st_mode & 0o777) for each in (folder, *files)] == ["0o700", *["0o600"] * 5]
    authority.server_file.chmod(0o644)
    assert Authority.open(folder, SystemClock()).server_file.stat().st_mode & 0o777 == 0o600


def test_opened_again(folder):
    """Opening again gives the same certificates."""
    clock = FakeClock()
    first = Authority.open(folder, clock)
    kept = {each: each.read_bytes() for each in folder.iterdir()}
    second = Authority.open(folder, clock)
    assert second.ca_pem == first.ca_pem
    assert {each: each.read_bytes() for each in folder.iterdir()} == kept


@pytest.mark.parametrize(("days", "renewed"), [(0, False), (334, False), (336, True), (400, True)])
def test_renewal(folder, days, renewed):
    """The server certificate is made anew when less than 30 days are left, and the root stays."""
    clock = FakeClock()
    first = Authority.open(folder, clock)
    clock.advance(days * DAY)
    second = Authority.open(folder, clock)
    assert (second.expiry().server != first.expiry().server) is renewed
    assert second.ca_pem == first.ca_pem
    if renewed:
        assert second.expiry().server.timestamp() == clock.now() + 365 * DAY
    certificate(second.server_file).verify_directly_issued_by(certificate(second.ca_file))


def test_root_ends(folder):
    """When the root's ten years are over both are made anew."""
    clock = FakeClock()
    first = Authority.open(folder, clock)
    clock.advance(3640 * DAY)
    second = Authority.open(folder, clock)
    assert second.ca_pem != first.ca_pem
    assert second.ca_file.read_text() == second.ca_pem
    certificate(second.server_file).verify_directly_issued_by(certificate(second.ca_file))


def test_clock_was_wrong(folder):
    """A certificate made under a clock that was ahead is made anew, as clients would find it not yet valid."""
    clock = FakeClock()
    clock.advance(100 * DAY)
    Authority.open(folder, clock)
    clock.time -= 100 * DAY
    assert Authority.open(folder, clock).expiry().server.timestamp() == clock.now() + 365 * DAY


def test_more_names(folder):
    """A name that is missing means a new certificate, one that is covered does not."""
    clock = FakeClock()
    first = Authority.open(folder, clock).server_file.read_bytes()
    wider = Authority.open(folder, clock, names=["hub.example", "127.0.0.7"]).server_file.read_bytes()
    assert wider != first
    assert Authority.open(folder, clock, names=["HUB.example."]).server_file.read_bytes() == wider
    assert Authority.open(folder, clock).server_file.read_bytes() == wider


@pytest.mark.parametrize(
    "name", ["", "a b", "https://hub.example", "hub.example:8883", "-x-.", "x" * 300, "*"]
)
def test_names_refused(folder, name):
    """What is neither a DNS name nor an address cannot be covered."""
    with pytest.raises(UsageError, match="cannot stand in a certificate"):
        Authority.open(folder, FakeClock(), names=[name])


def test_issue(authority):
    """A further certificate covers its names, is kept, and serves under its own file."""
    file = authority.issue("gateway", ["gateway.lab"], defaults=False)
    assert authority.issue("gateway", ["gateway.lab"], defaults=False).read_bytes() == file.read_bytes()
    names = certificate(file).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.DNSName("gateway.lab")]
    client = ssl.create_default_context(cafile=authority.ca_file)
    assert handshake(authority.server_context(file), client, "gateway.lab")[0] == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(authority.server_context(file), client, "localhost")
    assert set(DEFAULT_NAMES) <= set(authority.names)


@pytest.mark.parametrize("name", ["", "../x", "server", "authority", "a/b", ".x", "lab-ca"])
def test_issue_names_refused(authority, name):
    """A name that is no plain file name, or is in use, is refused."""
    with pytest.raises(UsageError, match="cannot name a certificate"):
        authority.issue(name)
    with pytest.raises(UsageError, match="would cover no name"):
        authority.issue("empty", defaults=False)


def rsa_key():
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.mark.parametrize("name", ["authority.pem", "server.pem"])
@pytest.mark.parametrize("damage", ["empty", "half", "text", "binary", "no-key", "other-key", "foreign"])
def test_damaged_files(folder, tmp_path, name, damage):
    """A file that is damaged, cut short or not ours is an error that says what to delete, and that mends it."""
    authority = Authority.open(folder, SystemClock())
    file = folder / name
    good = file.read_bytes()
    middle = good.index(b"-----BEGIN CERTIFICATE")
    stranger = Authority.open(tmp_path / "other", SystemClock())
    file.write_bytes(
        {
            "empty": b"",
            "half": good[: len(good) // 2],
            "text": b"hello\n",
            "binary": bytes(range(256)),
            "no-key": good[middle:],
            "other-key": (stranger.folder / name).read_bytes()[:240] + good[middle:],
            "foreign": rsa_key() + good[middle:],
        }[damage]
    )
    with pytest.raises(EnvironmentProblem, match=rf"[Dd]elete .*{name}"):
        Authority.open(folder, SystemClock())
    file.unlink()
    mended = Authority.open(folder, SystemClock())
    client = ssl.create_default_context(cafile=mended.ca_file)
    assert handshake(mended.server_context(), client)[0] == "TLSv1.3"
    assert (mended.ca_pem == authority.ca_pem) is (name == "server.pem")


def test_server_file_as_authority(folder):
    """A server certificate put in the root's place is refused."""
    Authority.open(folder, SystemClock())
    shutil.copy(folder / "server.pem", folder / "authority.pem")
    with pytest.raises(EnvironmentProblem, match=r"not the root certificate of a lab\. Delete"):
        Authority.open(folder, SystemClock())


def test_unwritable(tmp_path):
    """A folder that cannot be made is an error that names it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblem, match="cannot be written"):
        Authority.open(tmp_path / "file" / "certificates", SystemClock())


def test_full_disk(folder, monkeypatch):
    """A write that fails leaves the old file whole and no temporary file behind."""
    clock = FakeClock()
    first = Authority.open(folder, clock)
    kept = first.server_file.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EnvironmentProblem, match="No space left"):
        Authority.open(folder, clock, names=["more.example"])
    assert first.server_file.read_bytes() == kept
    assert not list(folder.glob(".*"))


def test_opened_by_many_at_once(folder):
    """Of several that open a new folder at the same time all get the same root."""
    start = threading.Barrier(8)
    roots = []

    def work():
        start.wait()
        roots.append(Authority.open(folder, SystemClock()).ca_pem)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(roots) == 8
    assert len(set(roots)) == 1
    Authority.open(folder, SystemClock())


def test_bundle(folder, tmp_path, monkeypatch):
    """The bundle holds certifi's roots and the lab's, and follows either when it changes."""
    source = tmp_path / "cacert.pem"
    shutil.copy(certifi.where(), source)
    monkeypatch.setattr(certifi, "where", lambda: str(source))
    authority = Authority.open(folder, SystemClock())
    bundle = authority.bundle_file
    context = ssl.create_default_context(cafile=bundle)
    assert context.cert_store_stats()["x509_ca"] == source.read_text().count("BEGIN CERTIFICATE") + 1 > 100
    assert handshake(authority.server_context(), context)[0] == "TLSv1.3"

    before = bundle.stat().st_mtime_ns, bundle.stat().st_ino
    assert (authority.bundle_file.stat().st_mtime_ns, bundle.stat().st_ino) == before
    source.write_text(source.read_text() + "# newer\n")
    assert authority.bundle_file.read_text().endswith("# newer\n")
    (folder / "authority.pem").unlink()
    renewed = Authority.open(folder, SystemClock())
    assert renewed.ca_pem in renewed.bundle_file.read_text()
    assert authority.ca_pem not in renewed.bundle_file.read_text()


def test_keys_that_are_made_in_milliseconds(authority):
    """Both keys are on the curve P-256: making RSA keys would cost each fresh hub a second."""
    for file in ("authority.pem", "server.pem"):
        key = certificate(authority.folder / file).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert key.curve.name == "secp256r1"


def test_repr(authority):
    """It shows where it is kept and until when it holds."""
    assert repr(authority) == f"<Authority {authority.folder} until {authority.expiry().server:%Y-%m-%d}>"
