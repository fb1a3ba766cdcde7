"""A load of its own process: azure-iot-device as it is, one message after another, and many at a time.

Job: servers (name, connection_string, ca), size, block (messages), blocks, at_once. One client for each server; they
take turns block by block, so that what else the machine does meets all alike. Says the rate of each block, in
messages a second, by way and server.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from azure.iot.device import IoTHubDeviceClient, IoTHubModuleClient, Message
from azure.iot.device.aio import IoTHubDeviceClient as AsyncClient
from azure.iot.device.aio import IoTHubModuleClient as AsyncModule

Rates = dict[str, list[float]]


def _trust(server: dict[str, str]) -> str:
    return Path(server["ca"]).read_text(encoding="utf-8")


def _is_module(server: dict[str, str]) -> bool:
    return "ModuleId=" in server["connection_string"]


def _one_after_another(job: dict[str, Any]) -> Rates:
    clients = {}
    for server in job["servers"]:
        kind = IoTHubModuleClient if _is_module(server) else IoTHubDeviceClient
        client = kind.create_from_connection_string(
            server["connection_string"], server_verification_cert=_trust(server)
        )
        client.connect()
        clients[server["name"]] = client
    message = Message("x" * job["size"])
    rates: Rates = {name: [] for name in clients}
    for turn in range(-1, job["blocks"]):  # the first is to warm up
        for name, client in clients.items():
            began = time.perf_counter()
            for _ in range(job["block"]):
                client.send_message(message)
            if turn >= 0:
                rates[name].append(job["block"] / (time.perf_counter() - began))
    for client in clients.values():
        client.shutdown()
    return rates


async def _at_once(job: dict[str, Any]) -> Rates:
    clients = {}
    for server in job["servers"]:
        kind = AsyncModule if _is_module(server) else AsyncClient
        client = kind.create_from_connection_string(
            server["connection_string"], server_verification_cert=_trust(server)
        )
        await client.connect()
        clients[server["name"]] = client
    message = Message("x" * job["size"])

    async def block(client: AsyncClient | AsyncModule, count: int) -> None:
        left = iter(range(count))

        async def sender() -> None:
            for _ in left:
                await client.send_message(message)

        await asyncio.gather(*(sender() for _ in range(job["at_once"])))

    rates: Rates = {name: [] for name in clients}
    count = 4 * job["block"]
    for turn in range(-1, job["blocks"] // 4):
        for name, client in clients.items():
            began = time.perf_counter()
            await block(client, count)
            if turn >= 0:
                rates[name].append(count / (time.perf_counter() - began))
    for client in clients.values():
        await client.shutdown()
    return rates


def main() -> None:
    job = json.loads(sys.stdin.readline())
    told = {"sequential": _one_after_another(job), "concurrent": asyncio.run(_at_once(job))}
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
