"""Certificates for tests: self-signed ones, authorities, and what an authority signs, right and wrong."""

import hashlib
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER


class Pair:
    """A key with its certificate, and the issuers to be sent along."""

    def __init__(self, key, certificate, chain=()):
        self.key = key
        self.certificate = certificate
        self.chain = tuple(chain)

    @property
    def pem(self):
        return self.certificate.public_bytes(PEM).decode()

    @property
    def der(self):
        return self.certificate.public_bytes(DER)

    @property
    def sent(self):
        """What the hub sees of a client with this pair."""
        return (self.der, *(each.der for each in self.chain))

    @property
    def sha1(self):
        return hashlib.sha1(self.der).hexdigest()

    @property
    def sha256(self):
        return hashlib.sha256(self.der).hexdigest()

    def files(self, folder, name="device"):
        """(certificate file with its chain, key file)."""
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        certificate.write_text(self.pem + "".join(each.pem for each in self.chain))
        key.write_bytes(
            self.key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        return str(certificate), str(key)


def issue(
    common_name, issuer=None, *, now=None, days=(-1, 10), ca=None, path_length=None, extensions=(), chain=()
):
    """A `Pair` for `common_name`, signed by `issuer` or by itself; valid from and until so many days from now.

    `ca`: with basic constraints that say so. `extensions`: (extension, critical) more.
    """
    now = now or datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    names = [common_name] if isinstance(common_name, str) else common_name
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return Pair(key, builder.sign(issuer.key if issuer else key, hashes.SHA256()), chain)


def authority(name="Test root", issuer=None, **options):
    """An authority: a root, or one below `issuer`."""
    return issue(name, issuer, ca=True, **options)
