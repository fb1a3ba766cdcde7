"""A probe of its own process: from send_message of one SDK to on_event of the other, one message at a time.

Job: connection_string, ca, events, name, count. Says p50, p99 and all of it, in seconds.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

from azure.eventhub import EventData, EventHubConsumerClient, PartitionContext
from azure.iot.device import IoTHubDeviceClient, Message


def _probe(job: dict[str, Any]) -> dict[str, Any]:
    arrived = threading.Event()
    seen: list[tuple[str, float]] = []

    def on_event(_: PartitionContext, event: EventData) -> None:
        seen.append((event.body_as_str(), time.perf_counter()))
        arrived.set()

    consumer = EventHubConsumerClient.from_connection_string(
        job["events"], consumer_group="$Default", eventhub_name=job["name"]
    )
    threading.Thread(
        target=lambda: consumer.receive(on_event=on_event, starting_position="@latest"), daemon=True
    ).start()
    device = IoTHubDeviceClient.create_from_connection_string(
        job["connection_string"], server_verification_cert=Path(job["ca"]).read_text(encoding="utf-8")
    )
    device.connect()
    until = time.perf_counter() + 20
    while not seen:  # from "latest" on: what is sent before the reader is there is not for it
        device.send_message(Message("warm"))
        arrived.wait(0.5)
        if time.perf_counter() > until:
            raise TimeoutError("no event has come within 20 s")
    time.sleep(1.0)
    late = []
    for number in range(job["count"]):
        arrived.clear()
        text = f"probe {number}"
        began = time.perf_counter()
        device.send_message(Message(text))
        while not any(body == text for body, _ in seen[-3:]):
            if not arrived.wait(10):
                raise TimeoutError(f"{text} has not come within 10 s")
            arrived.clear()
        late.append(next(at for body, at in reversed(seen) if body == text) - began)
        time.sleep(0.037)  # not in step with the client's polling
    device.shutdown()
    consumer.close()
    late.sort()
    return {
        "p50": late[len(late) // 2],
        "p99": late[min(len(late) - 1, len(late) * 99 // 100)],
        "all": [round(one, 4) for one in late],
    }


def main() -> None:
    print(json.dumps(_probe(json.loads(sys.stdin.readline()))), flush=True)


if __name__ == "__main__":
    main()
