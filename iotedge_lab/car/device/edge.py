"""A module's side of the edge hub: the vendor's client, connected, and connected again whenever that is lost.

The SDK connects again by itself, but not after every error (a hub that refused it once is not asked again), and
what waits for an acknowledgement then waits for ever. So a thread looks at the connection now and then.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping

UNUSABLE: Final = 2  # the exit code where the environment cannot be used
RETRY: Final = 2.0  # s between two attempts to connect
SHUTDOWN: Final = 4.0  # s for the client to end; the edge agent kills after 10

PRODUCTION: Final = (
    "IOTEDGE_IOTHUBHOSTNAME",
    "IOTEDGE_DEVICEID",
    "IOTEDGE_MODULEID",
    "IOTEDGE_GATEWAYHOSTNAME",
    "IOTEDGE_MODULEGENERATIONID",
    "IOTEDGE_WORKLOADURI",
    "IOTEDGE_APIVERSION",
)
DEVELOPMENT: Final = ("EdgeHubConnectionString", "EdgeModuleCACertificateFile")


def check_environment(environment: Mapping[str, str]) -> None:
    """Raises ValueError where no edge hub is named, or only in part."""
    if all(name in environment for name in PRODUCTION) or all(name in environment for name in DEVELOPMENT):
        return
    wanted = PRODUCTION if any(name in environment for name in PRODUCTION) else DEVELOPMENT
    missing = [name for name in wanted if name not in environment]
    raise ValueError(
        f"No edge hub to connect to: {', '.join(missing)} not set. The edge agent sets the IOTEDGE_ variables for a "
        f"module that is deployed; to run one by hand, set {' and '.join(DEVELOPMENT)}."
    )


class EdgeHub:
    """The connection. `connected` is set once it has been made for the first time."""

    def __init__(
        self,
        create: Callable[[], Any],
        failed: Callable[[int], None],
        log: logging.Logger,
    ) -> None:
        """`create` makes the vendor's client; `failed` gets the exit code where no waiting helps."""
        self._create = create
        self.handlers: Mapping[str, Callable[..., None]] = {}
        """by the client's names, set on each client"""
        self._failed = failed
        self._log = log
        self._stopping = threading.Event()
        self._client: Any = None
        self.connected = threading.Event()

    @property
    def client(self) -> Any:
        """The vendor's client. There is one after `connected`."""
        return self._client

    @property
    def online(self) -> bool:
        """Whether there is a connection now."""
        return self._client is not None and bool(self._client.connected)

    @property
    def stopping(self) -> bool:
        """Whether it connects no more."""
        return self._stopping.is_set()

    def pause(self, seconds: float) -> None:
        """Wait so long, or until it is released."""
        self._stopping.wait(seconds)

    def run(self) -> None:
        """Connect, and see to it that the connection comes back; until `release`."""
        while not self._stopping.is_set() and not self._connect():
            self._stopping.wait(RETRY)
        away = False
        while not self._stopping.wait(RETRY):
            if self._client.connected:
                away = False
                continue
            try:
                self._client.connect()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again
                if not away and not self._stopping.is_set():
                    self._log.warning("The edge hub cannot be reached: %s", error)
                away = True

    def _connect(self) -> bool:
        """Make a client and connect it, the first time; whether that went well."""
        client = None
        try:
            client = self._create()
            self._client = client
            client.connect()
            for name, handler in self.handlers.items():
                setattr(client, name, handler)
        except ValueError as error:  # a malformed connection string or certificate: no waiting mends it
            self._log.error("The edge environment cannot be used: %s", error)
            self._failed(UNUSABLE)
            self._stopping.set()
            return False
        except Exception as error:  # noqa: BLE001 - subscribing raises the pipeline's own errors, not ClientError
            self._log.warning("The edge hub cannot be reached yet: %s", error)
            self._client = None
            if client is not None:
                with contextlib.suppress(Exception):
                    client.shutdown()
            return False
        self.connected.set()
        return True

    def release(self) -> None:
        """Connect no more, and let go whoever waits for `connected`."""
        self._stopping.set()
        self.connected.set()

    def close(self) -> None:
        """Disconnect. A client that does not end in time is left to the end of the process."""
        self.release()
        client = self._client
        if client is not None:
            ending = threading.Thread(target=_shut_down, args=(client,), name="shutdown", daemon=True)
            ending.start()
            ending.join(SHUTDOWN)


def _shut_down(client: Any) -> None:
    with contextlib.suppress(Exception):
        client.shutdown()
