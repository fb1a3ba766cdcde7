"""Ask TLS clients for a certificate and take any: whose it is, is checked after the handshake.

Stands for the TLS side of "Authenticate identities with X.509 certificates" (learn.microsoft.com, IoT Hub,
authenticate-authorize-x509). A device may show a self-signed certificate of which the hub knows the thumbprint
alone. OpenSSL would refuse it in the handshake, before anybody can compare thumbprints, and Python's `ssl`
has no callback to say otherwise. OpenSSL has one, `SSL_CTX_set_cert_verify_callback`; it is set here through
ctypes. The handshake still proves that the client holds the certificate's private key (RFC 5246, 7.4.8; RFC
8446, 4.4.3); chain, dates and thumbprint are for the hub to check (`hub/certificates`).

What this rests on, and what is checked before anything is touched:

- CPython 3.11 to 3.14 keep the `SSL_CTX *` of a context right behind the object's head (`PySSLContext`).
- The function comes from the very OpenSSL that `_ssl` uses: its version text is compared.
- After that a handshake in memory, with a certificate nobody knows, must succeed.

Where one of these does not hold no certificate is asked for, and `accept_any_certificate` says why. Clients
that show none are served as before: the callback is called only when there is a certificate to judge. A TLS
session is not resumed on such a server: resuming would leave out the issuers that the client sent.

Left out: telling clients which authorities are known (the list in the request is empty: "any"), and
certificates over clear text, of course.
"""

from __future__ import annotations

import ctypes
import platform
import ssl
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from iotedge_lab.errors import EnvironmentProblem

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

_KNOWN_LAYOUTS: Final = (
    (3, 11),
    (3, 14),
)  # the first and the last CPython whose `PySSLContext` was looked at
_FLIGHTS: Final = 6  # turns that a handshake in memory takes at most, with room to spare
_SET_SESSION_CACHE_MODE: Final = 44  # SSL_CTRL_SET_SESS_CACHE_MODE of ssl.h
_SESSION_CACHE_OFF: Final = 0
_Verify = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


def _take(_store: int | None, _argument: int | None) -> int:
    return 1


_take_any = _Verify(_take)
# OpenSSL keeps the address alone. One more reference than there are names: it outlives this module too.
ctypes.pythonapi.Py_IncRef(ctypes.py_object(_take_any))


def accept_any_certificate(context: ssl.SSLContext) -> str:
    """Have the server `context` ask for a client certificate, and take any or none.

    Give it its own certificate before, and call this before connections are served by it. Returns '' when it
    works; otherwise the reason, and then `context` asks for no certificate. Raises nothing.
    """
    try:
        _install(context)
        context.verify_mode = ssl.CERT_OPTIONAL
        _prove(context)
    except (EnvironmentProblem, OSError, ValueError) as error:  # ssl.SSLError is an OSError
        context.verify_mode = ssl.CERT_NONE
        return str(error)
    return ""


def certificates_of(transport: asyncio.BaseTransport | None) -> tuple[bytes, ...]:
    """The certificates that the client of `transport` sent, as DER: its own first, then its issuers.

    Empty without TLS, before the handshake, and when the client sent none.
    """
    tls = None if transport is None else transport.get_extra_info("ssl_object")
    return () if tls is None else chain_of(tls)


def chain_of(tls: ssl.SSLObject | ssl.SSLSocket) -> tuple[bytes, ...]:
    """`certificates_of` for the server's end of a TLS connection."""
    own = tls.getpeercert(binary_form=True)
    if own is None:
        return ()
    if sys.version_info >= (3, 13):
        sent = list(tls.get_unverified_chain() or ())
    else:
        inner: Any = getattr(tls, "_sslobj", None)  # public from 3.13 on
        try:
            sent = [_der(each) for each in inner.get_unverified_chain() or ()]
        except AttributeError:
            sent = []
    return tuple(sent) if own in sent[:1] else (own, *sent)


def _der(certificate: Any) -> bytes:
    import _ssl

    encoding: int = _ssl.ENCODING_DER
    found: bytes = certificate.public_bytes(encoding)
    return found


# -- OpenSSL -------------------------------------------------------------------------------------------


def _install(context: ssl.SSLContext) -> None:
    first, last = _KNOWN_LAYOUTS
    if platform.python_implementation() != "CPython" or not first <= sys.version_info[:2] <= last:
        raise EnvironmentProblem(
            f"{platform.python_implementation()} {platform.python_version()} is not a Python in which this "
            f"was tried (CPython {first[0]}.{first[1]} to {last[0]}.{last[1]})."
        )
    library = _openssl()
    try:
        install, control = library.SSL_CTX_set_cert_verify_callback, library.SSL_CTX_ctrl
    except AttributeError:
        raise EnvironmentProblem("OpenSSL's functions cannot be reached in this Python.") from None
    install.argtypes = [ctypes.c_void_p, _Verify, ctypes.c_void_p]
    install.restype = None
    control.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_void_p]
    control.restype = ctypes.c_long
    pointer = ctypes.c_void_p.from_address(id(context) + object.__basicsize__).value
    if not pointer or pointer % ctypes.sizeof(ctypes.c_void_p):
        raise EnvironmentProblem("the TLS context of this Python has another layout.")
    install(pointer, _take_any, None)
    # A session that is resumed (TLS 1.2; Node does so) brings the certificate again and not its issuers.
    control(pointer, _SET_SESSION_CACHE_MODE, _SESSION_CACHE_OFF, None)
    context.options |= ssl.OP_NO_TICKET


def _openssl() -> ctypes.CDLL:
    """The library that Python's own `ssl` runs on, and no other that may be loaded beside it."""
    for each in _candidates():
        try:
            library = ctypes.CDLL(each)
            told = library.OpenSSL_version
        except (OSError, AttributeError):
            continue
        told.argtypes = [ctypes.c_int]
        told.restype = ctypes.c_char_p
        text = told(0)
        if text is not None and text.decode("ascii", "replace") == ssl.OPENSSL_VERSION:
            return library
    raise EnvironmentProblem(f"the library of {ssl.OPENSSL_VERSION} cannot be reached in this Python.")


def _candidates() -> Iterator[str | None]:
    import _ssl

    file = getattr(_ssl, "__file__", None)
    if file is None:  # built into the interpreter
        yield None
    elif sys.platform == "win32":  # what a DLL depends on is found under its own name alone
        yield from sorted(str(each) for each in Path(file).parent.glob("libssl*.dll"))
    else:
        yield file


# -- the proof -----------------------------------------------------------------------------------------


def _prove(context: ssl.SSLContext) -> None:
    """A handshake in memory with a certificate that nobody knows; raises where it is refused."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    with tempfile.TemporaryDirectory(prefix="iotedge-lab-") as folder:
        file = Path(folder) / "stranger.pem"
        file.write_bytes(_stranger())
        client.load_cert_chain(file)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [context.wrap_bio(there, back, server_side=True), client.wrap_bio(back, there)]
    under_way = set(ends)
    for _ in range(_FLIGHTS):
        for end in ends[::-1]:
            try:
                end.do_handshake()
                under_way.discard(end)
            except ssl.SSLWantReadError:
                pass
    if under_way or not chain_of(ends[0]):
        raise EnvironmentProblem("a trial handshake with a client certificate did not come to its end.")


def _stranger() -> bytes:
    """Key and self-signed certificate in PEM, for the trial alone: thrown away at once."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "trial")])
    start = datetime(2020, 1, 1, tzinfo=UTC)  # its dates are nobody's business: the callback takes them all
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + certificate.public_bytes(serialization.Encoding.PEM)
