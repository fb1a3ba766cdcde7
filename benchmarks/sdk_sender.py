"""A load of its own process: azure-iot-device as it is, one message after another, and many at a time.

Job: connection_string, ca, size, count, at_once. Says the rates, in messages a second.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from azure.iot.device import IoTHubDeviceClient, Message
from azure.iot.device.aio import IoTHubDeviceClient as AsyncClient


def _one_after_another(job: dict[str, Any], trust: str) -> float:
    client = IoTHubDeviceClient.create_from_connection_string(
        job["connection_string"], server_verification_cert=trust
    )
    client.connect()
    message = Message("x" * job["size"])
    for _ in range(min(20, job["count"])):
        client.send_message(message)
    began = time.perf_counter()
    for _ in range(job["count"]):
        client.send_message(message)
    rate = job["count"] / (time.perf_counter() - began)
    client.shutdown()
    return rate


async def _at_once(job: dict[str, Any], trust: str) -> float:
    client = AsyncClient.create_from_connection_string(
        job["connection_string"], server_verification_cert=trust
    )
    await client.connect()
    message = Message("x" * job["size"])
    left = iter(range(job["count"]))

    async def sender() -> None:
        for _ in left:
            await client.send_message(message)

    began = time.perf_counter()
    await asyncio.gather(*(sender() for _ in range(job["at_once"])))
    rate = job["count"] / (time.perf_counter() - began)
    await client.shutdown()
    return rate


def main() -> None:
    job = json.loads(sys.stdin.readline())
    trust = Path(job["ca"]).read_text(encoding="utf-8")
    sequential = _one_after_another(job, trust)
    concurrent = asyncio.run(_at_once(job, trust))
    print(json.dumps({"sequential": sequential, "concurrent": concurrent}), flush=True)


if __name__ == "__main__":
    main()
