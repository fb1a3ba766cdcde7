"""X.509: the certificate authorities that a hub trusts, and whether a device's certificate is its own.

Stands for "Authenticate identities with X.509 certificates" (learn.microsoft.com, IoT Hub,
authenticate-authorize-x509) and for the hub's certificates in Azure Resource Manager
(Microsoft.Devices/IotHubs/certificates). Two kinds of identity:

- `selfSigned`: the certificate's SHA-1 or SHA-256 thumbprint is the identity's primary or secondary one.
- `certificateAuthority`: a chain leads from the certificate, by the issuers that the device sends along, to a
  registered one (a root, or an intermediate), and its common name is the device id; for a module it is
  `{device}/{module}`.

Either way the certificate must be valid at this moment. That the device holds the private key, the TLS
handshake has proved.

Chains are followed here and not by `cryptography.x509.verification`: that one applies the rules of the web's
CAs, and refuses what IoT Hub takes (no subject alternative name, no key identifiers). Of RFC 5280, section 6,
this does signatures, names, dates, basic constraints with path length, key usage and extended key usage, and
refuses any other critical extension. Left out: name constraints and policies, revocation (IoT Hub has none:
disable the device), proof of possession (who can register an authority here owns the hub).
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from iotedge_lab.errors import AccessDenied, ArgumentInvalid, QuotaExceeded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iotedge_lab.clock import Clock
    from iotedge_lab.hub.identities import Identity
    from iotedge_lab.hub.store import Store

AUTHORITIES: Final = 25  # the documented most
PEM_LIMIT: Final = 64 * 1024
_LONGEST_CHAIN: Final = 10
_META: Final = "certificate_authorities"
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_UNDERSTOOD: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    }
)
# What cryptography raises for a certificate that breaks the rules of its form.
_MALFORMED: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
_Kind = TypeVar("_Kind", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True)
class Authority:
    """A registered certificate authority. `created` is in s since 1970."""

    name: str
    certificate: x509.Certificate
    pem: str
    created: float

    def to_json(self) -> dict[str, Any]:
        """As Azure Resource Manager shows a hub's certificate."""
        made = datetime.fromtimestamp(int(self.created), UTC)
        return {
            "name": self.name,
            "properties": {
                "subject": self.certificate.subject.rfc4514_string(),
                "expiry": format_datetime(self.certificate.not_valid_after_utc, usegmt=True),
                "thumbprint": _sha1(_der(self.certificate)),
                "isVerified": True,
                "created": format_datetime(made, usegmt=True),
                "certificate": self.pem,
            },
        }


class Certificates:
    """The registered authorities, kept in the store, and the check of what a device shows."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known = {
            name: Authority(name, x509.load_pem_x509_certificate(pem.encode()), pem, created)
            for name, (pem, created) in json.loads(store.get_meta(_META) or "{}").items()
        }

    # -- authorities -----------------------------------------------------------------------------------

    def authorities(self) -> list[Authority]:
        """All of them, by name."""
        return [self._known[name] for name in sorted(self._known)]

    def find(self, name: str) -> Authority | None:
        """The one of that name, or None."""
        return self._known.get(name)

    def register(self, name: str, pem: str) -> Authority:
        """Trust the authority whose certificate `pem` holds; another of the same name is replaced.

        Raises `ArgumentInvalid` (no such name, not one certificate, not an authority's, out of its dates),
        `QuotaExceeded` for the 26th.
        """
        if not _NAME.fullmatch(name):
            raise ArgumentInvalid(
                f"{name[:70]!r} cannot name a certificate: 1 to 64 letters, digits, '.', '_', '-'."
            )
        if name not in self._known and len(self._known) >= AUTHORITIES:
            raise QuotaExceeded(f"the hub has {AUTHORITIES} certificates, the most it may have; delete one.")
        certificate = _one_certificate(pem)
        try:
            fault = _fault_of_issuer(certificate, 0) or _fault_of_dates(certificate, self._now())
        except _MALFORMED as error:
            fault = f"cannot be read ({error})"
        if fault:
            raise ArgumentInvalid(f"the certificate of {certificate.subject.rfc4514_string()!r} {fault}.")
        made = Authority(name, certificate, pem, self._clock.now())
        self._keep({**self._known, name: made})
        return made

    def delete(self, name: str) -> bool:
        """Trust it no more; False if there was none. Connections that it opened stay until they end."""
        if name not in self._known:
            return False
        self._keep({key: known for key, known in self._known.items() if key != name})
        return True

    def _keep(self, known: dict[str, Authority]) -> None:
        kept = {name: (each.pem, each.created) for name, each in known.items()}
        self._store.set_meta(_META, json.dumps(kept))
        self._known = known

    # -- devices ---------------------------------------------------------------------------------------

    def check(self, identity: Identity, sent: Sequence[bytes]) -> None:
        """Whether the certificate `sent[0]` (DER, its issuers behind it) is that of `identity`.

        Raises `AccessDenied` (401003) with the reason.
        """
        who = f"{identity.device}/{identity.module}" if identity.module else identity.device
        try:
            certificate = x509.load_der_x509_certificate(sent[0])
            fault = _fault_of_dates(certificate, self._now())
            if not fault and identity.auth_type == "selfSigned":
                fault = _fault_of_thumbprint(identity, sent[0])
            elif not fault:
                fault = _fault_of_name(certificate, who) or self._fault_of_chain(certificate, sent[1:])
        except _MALFORMED as error:
            fault = f"cannot be read ({error})"
        if fault:
            raise AccessDenied(f"{who!r}: its certificate {fault}.")

    def _fault_of_chain(self, certificate: x509.Certificate, sent: Sequence[bytes]) -> str:
        if not self._known:
            return (
                "is to be signed by an authority, and none is registered: Lab.add_ca_certificate(name, pem), "
                "or PUT /lab/certificates/{name}"
            )
        fault = _fault_of_extensions(certificate) or _fault_of_use(certificate)
        if fault:
            return fault
        helpers = [x509.load_der_x509_certificate(each) for each in sent[:_LONGEST_CHAIN]]
        anchors = [each.certificate for each in self._known.values()]
        now = self._now()
        faults: list[str] = []
        below = 0  # authorities between the device's certificate and the one looked at
        current = certificate
        while below <= _LONGEST_CHAIN:
            issuer = _issuer(current, anchors)
            anchored = issuer is not None
            if issuer is None:
                issuer = _issuer(current, helpers)
            if issuer is None:
                break
            fault = _fault_of_issuer(issuer, below) or _fault_of_dates(issuer, now)
            if fault:
                faults.append(f"is issued by {issuer.subject.rfc4514_string()!r}, whose certificate {fault}")
                break
            if anchored:
                return ""
            helpers.remove(issuer)
            below += 1
            current = issuer
        known = ", ".join(sorted(self._known))
        return (
            faults[0]
            if faults
            else (
                f"leads to {current.issuer.rfc4514_string()!r}, which is not registered (there are {known}); a "
                "device must send its intermediate certificates along, behind its own in the file"
            )
        )

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now(), UTC)


def _one_certificate(pem: str) -> x509.Certificate:
    if len(pem) > PEM_LIMIT:
        raise ArgumentInvalid(f"the PEM text has {len(pem)} characters; {PEM_LIMIT} is the most.")
    if "PRIVATE KEY-----" in pem:
        raise ArgumentInvalid("the PEM text holds a private key; send the certificate alone.")
    try:
        found = x509.load_pem_x509_certificates(pem.encode())
    except _MALFORMED as error:
        raise ArgumentInvalid(f"that is no certificate in PEM: {str(error)[:120]}.") from error
    if len(found) != 1:
        raise ArgumentInvalid(f"the PEM text holds {len(found)} certificates; register each by itself.")
    return found[0]


def _issuer(certificate: x509.Certificate, candidates: Sequence[x509.Certificate]) -> x509.Certificate | None:
    for candidate in candidates:
        if candidate.subject != certificate.issuer:
            continue
        try:
            certificate.verify_directly_issued_by(candidate)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            continue
        return candidate
    return None


# -- faults: '' for none, else what is wrong, as the end of a sentence that begins "its certificate" -----------


def _fault_of_dates(certificate: x509.Certificate, now: datetime) -> str:
    if now < certificate.not_valid_before_utc:
        return f"is valid from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on; check the clocks"
    if now > certificate.not_valid_after_utc:
        return f"ended at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC; make a new one"
    return ""


def _fault_of_thumbprint(identity: Identity, der: bytes) -> str:
    known = {each for each in (identity.primary_thumbprint, identity.secondary_thumbprint) if each}
    shown = (_sha1(der), hashlib.sha256(der).hexdigest().upper())
    if known.isdisjoint(shown):
        return f"has the thumbprint {shown[0]} (SHA-256 {shown[1]}), which is not a registered one"
    return ""


def _fault_of_name(certificate: x509.Certificate, who: str) -> str:
    names = [each.value for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names != [who]:
        return f"has the common name {', '.join(map(repr, names)) or '(none)'}, and {who!r} is needed"
    return ""


def _fault_of_extensions(certificate: x509.Certificate) -> str:
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            return f"has the critical extension {extension.oid.dotted_string}, which this hub cannot judge"
    return ""


def _fault_of_use(certificate: x509.Certificate) -> str:
    use = _extension(certificate, x509.ExtendedKeyUsage)
    if use is not None and not {
        ExtendedKeyUsageOID.CLIENT_AUTH,
        ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    } & set(use):
        return "is not for clients (its extended key usage lacks clientAuth)"
    return ""


def _fault_of_issuer(certificate: x509.Certificate, below: int) -> str:
    """RFC 5280, 6.1.4 (k) to (o). `below`: further authorities on the way down to the device."""
    basic = _extension(certificate, x509.BasicConstraints)
    if basic is None or not basic.ca:
        return "is not that of an authority (basic constraints without CA)"
    if basic.path_length is not None and below > basic.path_length:
        return f"allows {basic.path_length} further authorities below it, and there are {below}"
    use = _extension(certificate, x509.KeyUsage)
    if use is not None and not use.key_cert_sign:
        return "is not for signing certificates (key usage)"
    return _fault_of_extensions(certificate)


def _extension(certificate: x509.Certificate, kind: type[_Kind]) -> _Kind | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _der(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)


def _sha1(der: bytes) -> str:
    return hashlib.sha1(der, usedforsecurity=False).hexdigest().upper()
