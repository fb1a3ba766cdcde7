"""What azure-eventhub makes of the built-in endpoint: events a second from a full log, and how late a fresh one is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.servers import HubServer
from benchmarks.setting import Row, Setting, work

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "drain"
TITLE = "azure-eventhub on the built-in endpoint"
DEVICES = 20
SIZE = 200
LEAST = 10_000


def run(setting: Setting, say: Callable[[str], None]) -> list[Row]:
    """Drain with one client a partition and with one for all; then the latency of single messages."""
    count = setting.count(60_000, 2_000)
    rows = []
    with HubServer(setting.folder / "drain-hub") as hub:
        clients = [hub.login(f"raw-{index}") for index in range(DEVICES)]
        each = count // DEVICES
        job = {**hub.to(), "tag": "d", "size": SIZE, "each": each, "in_flight": 500, "clients": clients}
        work("raw_sender", job)
        ways: list[tuple[str, list[str] | None, int]] = [
            ("a client for each of 2 partitions, prefetch 1,000", ["0", "1"], 1000),
            ("one client for both, prefetch 3,000", None, 3000),
            ("one client for both, its default prefetch of 300", None, 300),
        ]
        for what, partitions, prefetch in ways[: setting.count(3, 1)]:
            before = hub.usage().cpu
            told = work(
                "event_reader",
                {
                    "events": hub.lab.events_connection_string,
                    "name": hub.lab.events_name,
                    "size": SIZE,
                    "expected": [["d", index, each] for index in range(DEVICES)],
                    "prefetch": prefetch,
                    "partitions": partitions,
                },
            )
            if told["intact"] != told["expected"]:
                raise RuntimeError(f"{told['intact']:,} of {told['expected']:,} events came")
            spent = (hub.usage().cpu - before) / told["intact"] * 1e6
            say(f"{what}: {told['rate']:,.0f} events/s; hub {spent:.1f} us of CPU each")
            first = not rows
            rows.append(
                Row(
                    f"Drained, {what}",
                    told["rate"],
                    "events/s",
                    target=f">= {LEAST:,}" if first else "",
                    met=told["rate"] >= LEAST if first else None,
                    note=f"CPU an event: hub {spent:.1f} us, client {told['cpu'] / told['intact'] * 1e6:.0f} us",
                )
            )
        late = work(
            "latency_probe",
            {
                "connection_string": hub.connection_string("sdk-1"),
                "ca": hub.to()["ca"],
                "events": hub.lab.events_connection_string,
                "name": hub.lab.events_name,
                "count": setting.count(60, 5),
            },
        )
    say(f"send to receive: p50 {late['p50'] * 1000:.0f} ms, p99 {late['p99'] * 1000:.0f} ms")
    note = "send_message called to on_event called; the client asks its 2 partitions in turn, 0.2 s each"
    rows.append(Row("Latency, p50", late["p50"] * 1000, "ms", note=note))
    rows.append(Row("Latency, p99", late["p99"] * 1000, "ms"))
    return rows
