"""MQTT and AMQP inside WebSocket: a transport that makes a WebSocket look like a socket.

The protocols of 8883 and 5671 are served unchanged over 443 or the HTTPS port, as IoT Hub and Event Hubs do for
clients behind a firewall (RFC 6455; MQTT 3.1.1, 6; "AMQP WebSocket Binding" AMQPWSB10).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiohttp import WSMsgType, web

if TYPE_CHECKING:
    from collections.abc import Callable

HIGH_WATER = 256 * 1024
FRAME_LIMIT = 1024 * 1024
_LOW_WATER = 64 * 1024


class WebSocketTransport(asyncio.Transport):
    """What a protocol writes goes out as binary frames; `serve` feeds what comes in."""

    def __init__(self, ws: web.WebSocketResponse, protocol: asyncio.Protocol, extra: dict[str, Any]) -> None:
        super().__init__(extra)
        self._ws = ws
        self._protocol = protocol
        self._out = bytearray()
        self._more = asyncio.Event()
        self._reading = asyncio.Event()
        self._reading.set()
        self._closing = False
        self._paused = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queue bytes; frames are made of what has gathered since the last one."""
        if self._closing:
            return
        self._out += data
        self._more.set()
        if len(self._out) > HIGH_WATER and not self._paused:
            self._paused = True
            self._protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        """Bytes that wait."""
        return len(self._out)

    def is_closing(self) -> bool:
        """Whether `close` or `abort` was called."""
        return self._closing

    def close(self) -> None:
        """Send what waits, then close."""
        self._closing = True
        self._more.set()
        self._reading.set()

    def abort(self) -> None:
        """Close without sending what waits."""
        self._out.clear()
        self.close()

    def pause_reading(self) -> None:
        """Take no more frames for now."""
        self._reading.clear()

    def resume_reading(self) -> None:
        """Take frames again."""
        self._reading.set()

    async def pump(self) -> None:
        """Write until closed; the task beside `serve`."""
        try:
            while self._out or not self._closing:
                await self._more.wait()
                self._more.clear()
                while self._out:
                    chunk, self._out = bytes(self._out), bytearray()
                    await self._ws.send_bytes(chunk)
                    if self._paused and len(self._out) < _LOW_WATER:
                        self._paused = False
                        self._protocol.resume_writing()
        except ConnectionError:
            self._closing = True
        await self._ws.close()

    async def reading(self) -> None:
        """Wait until frames are wanted."""
        await self._reading.wait()


async def serve(
    request: web.Request, subprotocol: str, factory: Callable[[], asyncio.Protocol]
) -> web.WebSocketResponse:
    """Upgrade `request` and let the protocol that `factory` makes speak over it, until either side closes."""
    ws = web.WebSocketResponse(
        protocols=(subprotocol,), compress=False, max_msg_size=FRAME_LIMIT, autoping=True
    )
    await ws.prepare(request)
    protocol = factory()
    below = request.transport
    extra = {name: below.get_extra_info(name) for name in ("peername", "socket")} if below else {}
    transport = WebSocketTransport(ws, protocol, extra)
    protocol.connection_made(transport)
    pump = asyncio.get_running_loop().create_task(transport.pump())
    error: Exception | None = None
    try:
        async for message in ws:
            if message.type is WSMsgType.BINARY:
                protocol.data_received(message.data)
            elif message.type is not WSMsgType.ERROR:
                break  # text: neither protocol sends any
            if transport.is_closing():
                break
            await transport.reading()
    except ConnectionError as lost:
        error = lost
    finally:
        transport.close()
        try:
            async with asyncio.timeout(5):
                await pump
        except TimeoutError:
            pump.cancel()
        protocol.connection_lost(error)
    return ws
