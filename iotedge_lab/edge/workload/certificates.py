"""Server certificates for modules: what `certificate/server` of the workload API answers.

As with the real daemon the certificate covers the common name asked for and the module's own name, and how long
it is valid is the authority's matter, not the request's. One file a module is kept, so a module that asks again
and again fills no disk.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives import serialization

from iotedge_lab.errors import UsageError
from iotedge_lab.serve.keyfiles import KeyPair

if TYPE_CHECKING:
    from iotedge_lab.serve.certificates import Authority

_PEM: Final = serialization.Encoding.PEM


def server_certificate(
    authority: Authority, module: str, generation_id: str, common_name: str
) -> dict[str, Any]:
    """Issue a certificate: `{"privateKey": {"type": "key", "bytes": PEM}, "certificate": PEM, "expiration": time}`.

    The certificate comes with its chain. The same one is given again while it serves. Blocks for some
    milliseconds. Raises UsageError for a common name that can stand in no certificate.
    """
    name = f"module-{hashlib.sha256(f'{module}:{generation_id}'.encode()).hexdigest()[:24]}"
    file = None
    with suppress(
        UsageError
    ):  # a module's name may be more than a DNS name can hold (length, a '-' at its end)
        file = authority.issue(name, (common_name, module), defaults=False)
    if file is None:
        file = authority.issue(name, (common_name,), defaults=False)
    pair = KeyPair.read(file)
    key = pair.key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {
        "privateKey": {"type": "key", "bytes": key.decode()},
        "certificate": pair.certificate.public_bytes(_PEM).decode() + authority.ca_pem,
        "expiration": pair.certificate.not_valid_after_utc.isoformat(),
    }
