"""A load of its own process: rows of the car over raw MQTT, as fast as they are acknowledged, or so many a second.

Job: host, port, ca, clients (client_id, username, password, topic), each (messages a connection), rate (messages a
second of all connections together; 0: as fast as possible), in_flight (a connection, where there is no rate). Says one
line with the seconds that it took.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
import sys
import time
from typing import Any

from iotedge_lab.car import drives
from iotedge_lab.wire.mqtt.client import MqttClient
from iotedge_lab.wire.mqtt.packets import ConnAck, ConnackCode, PubAcks, Violation

TURN = 0.02  # s between two shots of a paced load


class Flow(asyncio.Protocol):
    """One connection."""

    def __init__(self, login: dict[str, str], bodies: list[bytes], each: int) -> None:
        self._client = MqttClient(login["client_id"], login["username"], login["password"], keep_alive=0)
        self._topic = (login["topic"] + f"driveId={login['client_id']}").encode()
        self._bodies = itertools.cycle(bodies)
        self._each = each
        self.sent = self.acked = self.in_flight = 0
        loop = asyncio.get_running_loop()
        self.connected: asyncio.Future[None] = loop.create_future()
        self.done: asyncio.Future[None] = loop.create_future()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._transport.write(self._client.connect())

    def data_received(self, data: bytes) -> None:
        for event in self._client.receive(data):
            if isinstance(event, PubAcks):
                self.acked += len(event.packet_ids)
                if self.acked == self._each:
                    self.done.set_result(None)
                elif self.in_flight:
                    self.send(self.in_flight - (self.sent - self.acked))
            elif isinstance(event, ConnAck):
                if event.code is ConnackCode.ACCEPTED:
                    self.connected.set_result(None)
                else:
                    self.connected.set_exception(ConnectionError(f"refused: {event.code}"))
            elif isinstance(event, Violation):
                raise ConnectionError(event.reason)

    def send(self, count: int) -> None:
        """So many more, but no more than `each` in all."""
        bodies = list(itertools.islice(self._bodies, min(count, self._each - self.sent)))
        self.sent += len(bodies)
        self._transport.write(self._client.publish_many(self._topic, bodies)[1])

    def connection_lost(self, error: Exception | None) -> None:
        for waiting in (self.connected, self.done):
            if not waiting.done():
                waiting.set_exception(error or ConnectionError("the server closed the connection"))


async def _send(job: dict[str, Any]) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    context = ssl.create_default_context(cafile=job["ca"])
    bodies = [
        row.to_csv_line().encode() for row in itertools.islice(drives.rows(drives.car_csv()), job["each"])
    ]
    flows = []
    for login in job["clients"]:
        _, flow = await loop.create_connection(
            lambda login=login: Flow(login, bodies, job["each"]), job["host"], job["port"], ssl=context
        )
        await flow.connected
        flows.append(flow)
    began = time.perf_counter()
    if job["rate"]:
        share = job["rate"] / len(flows)
        while any(flow.sent < job["each"] for flow in flows):
            due = int((time.perf_counter() - began) * share)
            for flow in flows:
                if flow.sent < due:
                    flow.send(due - flow.sent)
            await asyncio.sleep(TURN)
    else:
        for flow in flows:
            flow.in_flight = job["in_flight"]
            flow.send(flow.in_flight)
    await asyncio.gather(*(flow.done for flow in flows))
    return {"seconds": time.perf_counter() - began}


def main() -> None:
    print(json.dumps(asyncio.run(_send(json.loads(sys.stdin.readline())))), flush=True)


if __name__ == "__main__":
    main()
