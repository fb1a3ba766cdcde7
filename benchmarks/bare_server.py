"""A yardstick of its own process: TLS and MQTT as the hub reads it, acknowledged at once, nothing checked or kept.

What a server in Python on this machine cannot be faster than. Job: host, port, certificate. Says a line when it
listens, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from typing import Any

from iotedge_lab.wire.mqtt.packets import Connect, Disconnect, PingReq, PublishRun
from iotedge_lab.wire.mqtt.server import MqttServer

try:
    from uvloop import run as run_loop
except ImportError:  # Windows
    run_loop = asyncio.run


class Bare(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._wire = MqttServer()

    def data_received(self, data: bytes) -> None:
        for event in self._wire.receive(data):
            if isinstance(event, PublishRun):
                self._transport.write(event.acks)
            elif isinstance(event, Connect):
                self._transport.write(self._wire.connack())
            elif isinstance(event, PingReq):
                self._transport.write(self._wire.pingresp())
            elif isinstance(event, Disconnect):
                self._transport.close()


async def _serve(job: dict[str, Any]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(job["certificate"])
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Bare, job["host"], job["port"], ssl=context)
    print(json.dumps({"ready": True}), flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    server.close()


def main() -> None:
    run_loop(_serve(json.loads(sys.stdin.readline())))


if __name__ == "__main__":
    main()
