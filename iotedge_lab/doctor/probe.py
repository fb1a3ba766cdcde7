"""Why a hub that should answer does not."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

from iotedge_lab import launch

if TYPE_CHECKING:
    from iotedge_lab.hub.state import HubFile, StateFolder

_SECONDS = 3.0


def probe(state: StateFolder, told: HubFile) -> str:
    """'' if the hub that wrote `told` answers over HTTPS; otherwise why not, in a clause."""
    if launch.answers(state, told, _SECONDS):
        return ""
    where = f"{told.host}:{told.https_port}"
    try:
        context = ssl.create_default_context(cafile=str(state.certificates / "lab-ca.pem"))
    except OSError:
        return f"the root certificate {state.certificates / 'lab-ca.pem'} cannot be read"
    try:
        with socket.create_connection((told.host, told.https_port), _SECONDS) as plain:
            plain.settimeout(_SECONDS)
            with context.wrap_socket(plain, server_hostname=told.host):
                return f"who answers at {where} is another hub, or one that cannot reach its store"
    except ssl.SSLCertVerificationError as error:
        return (
            f"who answers at {where} shows a certificate that this lab did not make ({error.verify_message})"
        )
    except ConnectionRefusedError:
        return f"nothing listens on {where}"
    except TimeoutError:
        return f"{where} does not answer within {_SECONDS:g} s"
    except OSError as error:  # ssl.SSLError is one
        return f"{where} does not speak TLS as a hub does ({error.strerror or error})"
