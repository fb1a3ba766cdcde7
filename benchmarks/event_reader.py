"""A reader of its own process: azure-eventhub reads the built-in endpoint and checks every message.

Job: events (connection string), name, size, expected (list of [tag, connection, count]), prefetch, and `partitions`:
the partitions to read, each by a client and a thread of its own; without it one client reads all of them, in turn,
as an application does. It reads from the beginning until everything expected is there, or nothing has come for ten
seconds.

The client (5.15) asks one partition after the other and waits 0.2 s where there is nothing: so what it drains from a
hub with an empty partition is at most `prefetch` events each 0.2 s, whatever the hub does.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any

from azure.eventhub import EventData, EventHubConsumerClient, PartitionContext

SILENCE = 10.0


class Checked:
    """Which messages have come, how often, and whether they are what was sent."""

    def __init__(self, expected: list[list[Any]], size: int) -> None:
        self._marks = {f"{tag}.{connection:03d}": bytearray(count) for tag, connection, count in expected}
        self.total = sum(count for *_, count in expected)
        self._size = size
        self.intact = self.twice = self.damaged = self.foreign = self.disordered = 0
        self._last: dict[str, int] = {}

    def take(self, body: bytes) -> None:
        """One message."""
        try:
            tag, connection, number, filler = body.split(b".")
            key, at = f"{tag.decode()}.{connection.decode()}", int(number)
        except ValueError:
            self.damaged += 1
            return
        marks = self._marks.get(key)
        if marks is None or not 0 <= at < len(marks):
            self.foreign += 1
        elif len(body) != self._size or filler.strip(b"x"):
            self.damaged += 1
        elif marks[at]:
            self.twice += 1
        else:
            marks[at] = 1
            self.intact += 1
            self.disordered += at != self._last.get(key, -1) + 1
            self._last[key] = at


def _read(job: dict[str, Any]) -> dict[str, Any]:
    checked = Checked(job["expected"], job["size"])
    lock = threading.Lock()
    done = threading.Event()
    times: list[tuple[float, int]] = []

    def on_batch(_: PartitionContext, events: list[EventData]) -> None:
        with lock:
            for event in events:
                checked.take(b"".join(event.body))
            times.append((time.perf_counter(), len(events)))
            if checked.intact >= checked.total:
                done.set()

    def reader(partition: str | None) -> EventHubConsumerClient:
        client = EventHubConsumerClient.from_connection_string(
            job["events"], consumer_group="$Default", eventhub_name=job["name"]
        )
        threading.Thread(
            target=lambda: client.receive_batch(
                on_event_batch=on_batch,
                partition_id=partition,
                max_batch_size=job["prefetch"],
                prefetch=job["prefetch"],
                starting_position="-1",
            ),
            daemon=True,
        ).start()
        return client

    began = time.perf_counter()
    clients = [reader(partition) for partition in job.get("partitions") or [None]]
    while not done.wait(0.05):
        last = times[-1][0] if times else began
        if time.perf_counter() - last > SILENCE:
            break
    for client in clients:
        client.close()
    # The first batch has no beginning that we know of: the rate is over what came after it.
    seconds = times[-1][0] - times[0][0] if len(times) > 1 else 0.0
    return {
        "expected": checked.total,
        "intact": checked.intact,
        "twice": checked.twice,
        "damaged": checked.damaged,
        "foreign": checked.foreign,
        "disordered": checked.disordered,
        "seconds": seconds,
        "whole_seconds": (times[-1][0] if times else time.perf_counter()) - began,
        "rate": sum(count for _, count in times[1:]) / seconds if seconds else 0.0,
        "cpu": time.process_time(),
    }


def main() -> None:
    print(json.dumps(_read(json.loads(sys.stdin.readline()))), flush=True)


if __name__ == "__main__":
    main()
