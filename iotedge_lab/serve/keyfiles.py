"""Files of keys and certificates, written whole or not at all and read with an error that helps.

PEM (RFC 7468): a key in PKCS #8 and its certificate share one file, so that the two cannot fall apart when a
write is cut short or two processes write at once. Left out: passwords, and keys other than elliptic-curve.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from iotedge_lab.errors import EnvironmentProblem


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A key and the certificate that belongs to it, as one PEM file holds them."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def read(cls, file: Path) -> KeyPair:
        """Load both from `file`; ValueError or TypeError say what is wrong with it."""
        pem = file.read_bytes()
        key = serialization.load_pem_private_key(pem, password=None)
        certificate = x509.load_pem_x509_certificate(pem)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("its key is not an elliptic-curve key")
        if key.public_key() != certificate.public_key():
            raise ValueError("its key and its certificate do not belong together")
        return cls(key, certificate)

    def pem(self) -> bytes:
        """The key (PKCS #8), then the certificate: the order that `load_cert_chain` and Node take."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ) + self.certificate.public_bytes(serialization.Encoding.PEM)


def load(file: Path, advice: str) -> KeyPair | None:
    """The pair in `file`, or None if there is no such file; its mode is set right on the way."""
    try:
        pair = KeyPair.read(file)
        if file.stat().st_mode & 0o077 and os.name == "posix":
            file.chmod(0o600)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EnvironmentProblem(
            f"{file} cannot be read ({error.strerror}). Mend its rights, or: {advice}"
        ) from error
    except (ValueError, TypeError) as error:  # TypeError: the key asks for a password
        reason = str(error).split(".", 1)[0] or type(error).__name__
        raise EnvironmentProblem(
            f"{file} is damaged or not a file of this lab ({reason}). {advice}"
        ) from error
    return pair


def unwritable(path: Path, error: OSError) -> EnvironmentProblem:
    """The error to raise when `path` could not be written."""
    return EnvironmentProblem(
        f"{path} cannot be written ({error.strerror}). Mend its rights or free some space, "
        "or choose another state folder."
    )


def refresh(file: Path, content: bytes) -> None:
    """Write `content` unless the file already holds it."""
    try:
        if file.read_bytes() == content:
            return
    except OSError:
        pass
    write(file, content)


def write(file: Path, content: bytes) -> None:
    """Replace `file` in one step: a reader, or a crash, meets the old content or the new, never a part."""
    temporary = _temporary(file, content)
    try:
        temporary.replace(file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise unwritable(file, error) from error


def write_new(file: Path, content: bytes) -> bool:
    """Create `file` in one step; False if another process has done so meanwhile."""
    temporary = _temporary(file, content)
    try:
        try:
            os.link(temporary, file)  # fails where the name exists, which rename does not
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            temporary.replace(file)
        return True
    except OSError as error:
        raise unwritable(file, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _temporary(file: Path, content: bytes) -> Path:
    """A new file beside `file` with `content` on the disk, mode 0600."""
    name = None
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".new", dir=file.parent)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        if name is not None:
            Path(name).unlink(missing_ok=True)
        raise unwritable(file, error) from error
    return Path(name)
