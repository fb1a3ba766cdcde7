"""What the hub's process holds: idle, after many messages, and for each idle TLS connection."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

from benchmarks.servers import HubServer
from benchmarks.setting import Row, Setting, Worker, work

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "memory"
TITLE = "Memory of the hub's process (USS)"
SIZE = 200
_MB = 1024 * 1024


def _job(hub: HubServer, devices: int, each: int, *, hold: bool) -> dict[str, Any]:
    clients = [hub.login(f"raw-{index}") for index in range(devices)]
    job = {"tag": "m", "size": SIZE, "each": each, "in_flight": 1000, "clients": clients, "hold": hold}
    return {**hub.to(), **job}


def run(setting: Setting, say: Callable[[str], None]) -> list[Row]:
    """Idle; connections that do nothing; then the messages."""
    connections = setting.count(200, 10)
    messages = setting.count(1_000_000, 5_000)
    with HubServer(setting.folder / "memory-hub") as hub:
        idle = hub.usage().memory
        job = _job(hub, connections, 0, hold=True)
        before = hub.usage().memory
        worker = Worker("raw_sender", job)
        try:
            worker.line()
            each = (hub.usage().memory - before) / connections
            worker.tell()
        finally:
            worker.end()
        gc.collect()
        told = work("raw_sender", _job(hub, 1, messages, hold=False))
        after = hub.usage().memory
        rate = told["acked"] / told["seconds"]
        size = sum(file.stat().st_size for file in hub.lab.state_dir.glob("hub.db*"))
    say(f"idle {idle / _MB:.0f} MB, connection {each / 1024:.0f} KB, later {after / _MB:.0f} MB")
    return [
        Row("Idle", idle / _MB, "MB"),
        Row("Each idle TLS connection", each / 1024, "KB", note=f"{connections} of them"),
        Row(
            f"After {messages:,} messages",
            after / _MB,
            "MB",
            note=f"sent at {rate:,.0f}/s on one connection; the store on disk has {size / messages:.0f} B a message",
        ),
    ]
