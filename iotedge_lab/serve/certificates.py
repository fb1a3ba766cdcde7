"""The lab's own certificate authority: one root, and server certificates that the SDKs' TLS stacks accept.

It stands for what a public CA does for `*.azure-devices.net`, and later for the root that an IoT Edge
device's operator makes. X.509 by RFC 5280: basicConstraints, keyUsage, extendedKeyUsage serverAuth,
subject and authority key identifiers, so that OpenSSL's strict mode (`ssl.VERIFY_X509_STRICT`, the default
of Python 3.13), uamqp and Node take it. Keys are ECDSA P-256: made in a millisecond, cheap to shake hands by.

In the folder (mode 0700), each file mode 0600 and written whole or not at all:

    authority.pem    the root's key and certificate, 10 years
    lab-ca.pem       the root's certificate alone: what a client is told to trust
    server.pem       the server's key and certificate, 1 year; further names beside it (`Authority.issue`)
    ca-bundle.pem    certifi's roots and the lab's, for variables that name one file (SSL_CERT_FILE)

Left out: revocation (nothing here outlives its folder), intermediates, password-protected keys. A key is
guarded by the folder's mode; whoever reads it can pose as any server to clients that were told to trust
`lab-ca.pem`, so trust it per process (environment variables), never in the system's store.
"""

from __future__ import annotations

import ipaddress
import re
import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import certifi
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from iotedge_lab.errors import EnvironmentProblem, UsageError
from iotedge_lab.serve.keyfiles import KeyPair, load, refresh, unwritable, write, write_new

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from iotedge_lab.clock import Clock

#: What every server certificate speaks for: this machine, each loopback address of 127.0.0.0/24 (further
#: hubs and edge gateways sit on those, with the standard ports), and Azure's own names, which the CONNECT
#: proxy and a hosts file can lead here.
DEFAULT_NAMES: Final[tuple[str, ...]] = (
    "localhost",
    *(f"127.0.0.{n}" for n in range(1, 255)),
    "::1",
    "*.azure-devices.net",
    "*.servicebus.windows.net",
)
ROOT_DAYS: Final = 3652
SERVER_DAYS: Final = 365
#: A certificate with less than this left is made anew when the authority is opened.
RENEW_DAYS: Final = 30
#: Certificates are valid from this long before they were made: a container's clock may lag its host's.
BACKDATE: Final = timedelta(days=1)

_ORGANISATION: Final = "IoT Edge Lab"
_ROOT_NAME: Final = "IoT Edge Lab local root"
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DNS_NAME: Final = re.compile(
    r"(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
)
_RESERVED: Final = frozenset({"authority", "lab-ca", "ca-bundle"})


@dataclass(frozen=True, slots=True)
class Expiry:
    """When the certificates end (UTC); the server's is renewed by opening the authority again."""

    root: datetime
    server: datetime


class Authority:
    """The lab's root and the server certificate that it signed. Made by `Authority.open`."""

    def __init__(self, folder: Path, clock: Clock, root: KeyPair, names: tuple[str, ...]) -> None:
        self.folder = folder
        self.names = names
        self._clock = clock
        self._root = root
        refresh(self.ca_file, self.ca_pem.encode())
        self._server = self._pair("server", names)

    @classmethod
    def open(cls, folder: Path, clock: Clock, *, names: Iterable[str] = ()) -> Authority:
        """Load the authority kept in `folder`, or make it there.

        `names` are host names or addresses that the server certificate shall cover besides `DEFAULT_NAMES`.
        The server certificate is renewed when less than `RENEW_DAYS` days are left, when a name is missing
        from it or when another root signed it. Two processes may open one folder at once: the first to
        finish makes the root and the other takes it over.

        Raises EnvironmentProblem if the folder cannot be written or a file in it is damaged or not ours (the
        message says what to delete), UsageError if a name is neither an address nor a DNS name.
        """
        wanted = _merge(DEFAULT_NAMES, names)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
        except OSError as error:
            raise unwritable(folder, error) from error
        return cls(folder, clock, _root_pair(folder, clock), wanted)

    def __repr__(self) -> str:
        return f"<Authority {self.folder} until {self.expiry().server:%Y-%m-%d}>"

    @property
    def ca_pem(self) -> str:
        """The root's certificate as PEM text: `server_verification_cert=` of azure-iot-device takes it."""
        return self._root.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def ca_file(self) -> Path:
        """The file that holds `ca_pem`: `NODE_EXTRA_CA_CERTS` and `connection_verify=` take its path."""
        return self.folder / "lab-ca.pem"

    @property
    def server_file(self) -> Path:
        """The file that holds the server's key and certificate."""
        return self.folder / "server.pem"

    @property
    def bundle_file(self) -> Path:
        """The roots of certifi and the lab's in one file, for SSL_CERT_FILE and REQUESTS_CA_BUNDLE.

        Made when first asked for, and again when certifi's file or the root has changed since.
        """
        file = self.folder / "ca-bundle.pem"
        source = Path(certifi.where())
        state = source.stat()
        root = self._root.certificate.fingerprint(hashes.SHA256()).hex()
        # Text outside the PEM blocks is a comment (RFC 7468, section 2): the first line tells the sources.
        header = f"# certifi {state.st_size} {state.st_mtime_ns}, lab {root}\n".encode()
        try:
            with file.open("rb") as existing:
                fresh = existing.readline() == header
        except OSError:
            fresh = False
        if not fresh:
            # The lab's root comes first: some readers stop at the first damaged block of a patched certifi.
            write(file, header + self.ca_pem.encode() + source.read_bytes())
        return file

    def expiry(self) -> Expiry:
        """When the root and the server certificate end."""
        return Expiry(
            self._root.certificate.not_valid_after_utc, self._server.certificate.not_valid_after_utc
        )

    def issue(self, name: str, hosts: Sequence[str] = (), *, defaults: bool = True) -> Path:
        """The file of a further server certificate called `name` (an edge gateway's, say); made or renewed.

        It covers `hosts`, and `DEFAULT_NAMES` too unless `defaults` is false. The file holds key and
        certificate, ready for `ssl.SSLContext.load_cert_chain`; the same rules of renewal hold as for the
        server's own. Raises UsageError for a name that is no plain file name, and what `open` raises.
        """
        if not _PLAIN_NAME.fullmatch(name) or name in _RESERVED or name == "server":
            raise UsageError(
                f"{name!r} cannot name a certificate: letters, digits, '.', '_' and '-', at most 64, "
                f"and none of {', '.join(sorted(_RESERVED))}, server."
            )
        wanted = _merge(DEFAULT_NAMES if defaults else (), hosts)
        if not wanted:
            raise UsageError(
                f"The certificate {name!r} would cover no name: give hosts, or leave defaults on."
            )
        self._pair(name, wanted)
        return self.folder / f"{name}.pem"

    def server_context(
        self, file: Path | None = None, *, trusted_clients: str | None = None
    ) -> ssl.SSLContext:
        """A server's TLS settings for `file` (from `issue`), or for the server certificate.

        TLS 1.2 (azure-iot-device speaks nothing newer) and 1.3 (uamqp). ALPN offers `http/1.1` and `mqtt`,
        as browsers and curl ask for the former; who asks for neither, or for nothing, is served as well.

        No client certificate is asked for unless `trusted_clients` is given: PEM text with the roots of
        device certificates. Then the mode is CERT_OPTIONAL. A self-signed device certificate fails the
        handshake under it unless that certificate itself was loaded (`load_verify_locations(cadata=...)`,
        at any time later too: it holds for the handshakes that follow).
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(file or self.server_file)
        context.set_alpn_protocols(["http/1.1", "mqtt"])
        # No session tickets under TLS 1.3: the SDKs never resume, and a client that closes right after its
        # handshake would meet them as unread data and turn the close into a reset.
        context.num_tickets = 0
        context.verify_mode = ssl.CERT_NONE
        if trusted_clients is not None:
            context.verify_mode = ssl.CERT_OPTIONAL
            context.load_verify_locations(cadata=trusted_clients)
        return context

    def _pair(self, name: str, hosts: tuple[str, ...]) -> KeyPair:
        """The certificate `name` for `hosts`: the one on disk while it serves, else a new one."""
        file = self.folder / f"{name}.pem"
        found = load(file, f"Delete {file}, and a new one is made.")
        if found is not None:
            if not _is_ours(found.certificate):
                raise EnvironmentProblem(
                    f"{file} is not a certificate of this lab (subject "
                    f"{found.certificate.subject.rfc4514_string()!r}). Move it away or delete it, "
                    "and a new one is made."
                )
            if self._serves(found.certificate, hosts):
                return found
        made = _server_pair(name, hosts, self._root, self._clock)
        write(file, made.pem())
        return made

    def _serves(self, certificate: x509.Certificate, hosts: tuple[str, ...]) -> bool:
        """Whether `certificate` is signed by this root, long enough valid and covers `hosts`."""
        try:
            certificate.verify_directly_issued_by(self._root.certificate)
            covered = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
            return False
        return _valid(certificate, self._clock) and set(map(_general_name, hosts)) <= set(covered)


def _root_pair(folder: Path, clock: Clock) -> KeyPair:
    """The root kept in `folder`, or a new one."""
    file = folder / "authority.pem"
    advice = f"Delete {file}, and a new root is made; clients must then load the new lab-ca.pem."
    root = load(file, advice)
    if root is None:
        root = _new_root(clock)
        if write_new(file, root.pem()):
            return root
        root = load(file, advice)  # another process was faster
        if root is None:
            raise EnvironmentProblem(f"{file} appeared and vanished while it was opened; try again.")
    try:
        is_root = root.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        is_root = False
    if not is_root or not _is_ours(root.certificate):
        raise EnvironmentProblem(f"{file} is not the root certificate of a lab. {advice}")
    if not _valid(root.certificate, clock):
        # Every client must learn of the new root anyway, so this is no reason to stop.
        root = _new_root(clock)
        write(file, root.pem())
    return root


def _new_root(clock: Clock) -> KeyPair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(_ROOT_NAME)
    builder = (
        _builder(name, name, key.public_key(), clock, ROOT_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
    )
    return KeyPair(key, builder.sign(key, hashes.SHA256()))


def _server_pair(name: str, hosts: tuple[str, ...], root: KeyPair, clock: Clock) -> KeyPair:
    key = ec.generate_private_key(ec.SECP256R1())
    subject_key = root.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        _builder(
            _name(f"{_ORGANISATION} {name}"[:64]),
            root.certificate.subject,
            key.public_key(),
            clock,
            SERVER_DAYS,
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject_key), critical=False
        )
        .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
    )
    return KeyPair(key, builder.sign(root.key, hashes.SHA256()))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, clock: Clock, days: int
) -> x509.CertificateBuilder:
    now = datetime.fromtimestamp(int(clock.now()), UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        # 127 bits, and positive as RFC 5280, section 4.1.2.2 wants it.
        .serial_number(int.from_bytes(clock.token(16), "big") % 2**127 or 1)
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, _ORGANISATION),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _is_ours(certificate: x509.Certificate) -> bool:
    """Whether a lab (this one or another) signed `certificate`, by its issuer's name."""
    return certificate.issuer == _name(_ROOT_NAME)


def _valid(certificate: x509.Certificate, clock: Clock) -> bool:
    """Whether it holds now and for `RENEW_DAYS` more."""
    now = datetime.fromtimestamp(clock.now(), UTC)
    return (
        certificate.not_valid_before_utc <= now
        and now + timedelta(days=RENEW_DAYS) <= certificate.not_valid_after_utc
    )


def _merge(first: Sequence[str], more: Iterable[str]) -> tuple[str, ...]:
    """Both without repeats, normalised; UsageError for what cannot stand in a certificate."""
    return tuple(dict.fromkeys((*first, *map(_normal, more))))


def _normal(host: str) -> str:
    text = host.strip().strip("[]")
    with suppress(ValueError):
        return str(ipaddress.ip_address(text))
    text = text.rstrip(".").lower()
    with suppress(UnicodeError):
        text = text if text.isascii() else text.encode("idna").decode()
    if len(text) > 253 or not _DNS_NAME.fullmatch(text):
        raise UsageError(
            f"{host!r} cannot stand in a certificate: give a host name ('lab.example', '*.lab.example') "
            "or an address, without scheme and port."
        )
    return text


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
