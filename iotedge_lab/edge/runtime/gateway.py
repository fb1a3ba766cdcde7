"""Where modules and leaf devices find their edge: an address with the SDKs' fixed ports, or a name behind a proxy.

On Linux and Windows each edge has a loopback address of its own (127.0.0.2, say) with 8883 and 8443, and 443 where it
can be bound. On a machine with one loopback address alone (macOS) it listens on any port, has a name such as
`car.lab`, and a CONNECT proxy leads there: `mqtt_proxy` and `HTTPS_PROXY` in the modules' environment. There is such a
proxy too where 443 cannot be bound, which direct methods between modules and MQTT over WebSocket need.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import logging
import os
from typing import TYPE_CHECKING, Any, Final, Self

from iotedge_lab.errors import EnvironmentProblem, LabError, PortTaken, UsageError
from iotedge_lab.serve.addresses import is_loopback, listen
from iotedge_lab.serve.claims import bind, claim, release
from iotedge_lab.serve.listener import Listener
from iotedge_lab.serve.proxy import ConnectProxy, Route

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from iotedge_lab.serve.certificates import Authority
    from iotedge_lab.serve.sniffing import Handlers

log = logging.getLogger(__name__)

MQTT_PORT: Final = 8883
HTTPS_PORT: Final = 8443
WELL_KNOWN_HTTPS: Final = 443
_FIRST: Final = 2  # 127.0.0.1 is the hub's


class Gateway:
    """Listens for one edge device from `start` to `close`.

    `wanted`: None for a loopback address of its own; an address; or a name, which is then served through the proxy.
    `owner` is the JSON file that says where it lives (`serve.claims`): written here.
    """

    def __init__(self, owner: Path, wanted: str | None = None) -> None:
        self._owner = owner
        self._wanted = wanted
        self._listener: Listener | None = None
        self._proxy: ConnectProxy | None = None
        self.hostname = ""
        """GatewayHostName: what modules and leaf devices connect to"""
        self.host = ""
        self.mqtt_port = MQTT_PORT
        self.https_port = HTTPS_PORT
        self.port_443 = False
        self._proxy_port = 0

    async def start(self, authority: Authority, handlers: Handlers) -> Self:
        """Bind, and listen. Raises PortTaken, EnvironmentProblem or UsageError."""
        named = self._wanted is not None and not is_loopback(self._wanted)
        try:
            sockets = self._bind_named() if named else self._bind()
        except EnvironmentProblem:
            if self._wanted is not None:
                raise
            # One loopback address alone, and the hub has its ports.
            named = True
            self._wanted = f"{self._owner.parent.name.lower()}.lab"
            sockets = self._bind_named()
        try:
            file = authority.issue("edge-" + _file_name(self.hostname), (self.hostname,))
            self._listener = Listener(authority.server_context(file), handlers)
            await self._listener.start(sockets)
            if named or not self.port_443:
                await self._start_proxy(named=named)
        except BaseException:
            for each in sockets:
                each.close()
            await self.close()
            raise
        try:
            self._tell()
        except OSError as error:
            await self.close()
            raise EnvironmentProblem(
                f"{self._owner} cannot be written ({error.strerror}). Free some space, or mend the folder's rights."
            ) from error
        if not named:
            claim(self.host, self._owner)
        return self

    def environment(self) -> dict[str, str]:
        """What a module, or a leaf device on this machine, needs in its environment to get here."""
        if self._proxy is None or self._proxy.url is None:
            return {}
        # The SDKs' MQTT client reads mqtt_proxy for MQTT over WebSocket too, and cannot be given it for that alone.
        return dict.fromkeys(("HTTPS_PROXY", "https_proxy", "mqtt_proxy"), self._proxy.url)

    async def close(self) -> None:
        """Stop listening and cut what is open. Again does nothing."""
        if self._listener is not None:
            await self._listener.close()
            self._listener = None
        if self._proxy is not None:
            await self._proxy.close()
            self._proxy = None

    def give_up(self) -> None:
        """The address is free for others: this edge does not come back."""
        release(self.host, self._owner)

    # -- binding -------------------------------------------------------------------------------------------

    def _bind(self) -> list[socket.socket]:
        before = self._before()
        host, sockets = bind(
            (MQTT_PORT, HTTPS_PORT), self._owner, asked=self._wanted, before=before, first=_FIRST
        )
        if before and host != before and self._wanted is None:
            log.warning(
                "%s is taken; this edge moves to %s, and leaf devices need the new GatewayHostName",
                before,
                host,
            )
        with contextlib.suppress(LabError):
            sockets += listen(host, WELL_KNOWN_HTTPS)
            self.port_443 = True
        self.host = host
        self.hostname = "localhost" if host == "127.0.0.1" else host
        return sockets

    def _bind_named(self) -> list[socket.socket]:
        assert self._wanted is not None
        if not _is_name(self._wanted):
            raise UsageError(
                f"{self._wanted!r} is no GatewayHostName: a loopback address, or a host name without a port."
            )
        sockets = listen("127.0.0.1", 0)
        self.host, self.hostname = "127.0.0.1", self._wanted
        self.mqtt_port = self.https_port = sockets[0].getsockname()[1]
        return sockets

    async def _start_proxy(self, *, named: bool) -> None:
        ports = (WELL_KNOWN_HTTPS, HTTPS_PORT, MQTT_PORT) if named else (WELL_KNOWN_HTTPS,)
        routes = [Route(self.hostname, port, self.host, self.https_port) for port in ports]
        before = self._told().get("proxyPort")
        for port in (
            (before, 0) if isinstance(before, int) else (0,)
        ):  # leaf devices have the address of before
            self._proxy = ConnectProxy(routes, upstream=os.environ.get("HTTPS_PROXY"))
            try:
                self._proxy_port = await self._proxy.start(self.host, port)
                return
            except PortTaken:
                if not port:
                    raise

    def _before(self) -> str | None:
        found = self._told().get("host")
        return found if isinstance(found, str) and found != "127.0.0.1" else None

    def _told(self) -> dict[str, Any]:
        """What was written here last."""
        try:
            found = json.loads(self._owner.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _tell(self) -> None:
        told = {"host": self.host, "hostname": self.hostname, "pid": os.getpid()}
        if self._proxy_port:
            told["proxyPort"] = self._proxy_port
        beside = self._owner.with_suffix(".new")
        beside.write_text(json.dumps(told), encoding="utf-8")
        beside.replace(self._owner)


def _file_name(hostname: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in hostname)[:50]


def _is_name(text: str) -> bool:
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(text)
        return False  # one that is not on loopback
    return all(part and part.replace("-", "").isalnum() for part in text.split(".")) and len(text) <= 253
