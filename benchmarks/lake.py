"""What the capture makes of the built-in endpoint: rows a second from a full log, and how late rows of a stream are.

A row is late from its arrival at the hub until the commit that it is in is complete, by the capture's own account. The
rate is that of the tables: rows and times of the commits, the first one not counted, as its beginning is not known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.servers import HubServer, usage_of
from benchmarks.setting import Row, Setting, work
from iotedge_lab.capture import Capture
from iotedge_lab.lake.reading import Lake

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "lake"
TITLE = "Capture of the built-in endpoint into Delta tables"
DEVICES = 20
LEAST = 5_000
LATEST = 2.0
_MB = 1024 * 1024


def run(setting: Setting, say: Callable[[str], None]) -> list[Row]:
    """A stream of 1,000/s, one of 5,000/s, and a log that was filled while no capture ran."""
    rows = []
    with (
        HubServer(setting.folder / "lake-hub") as hub,
        Capture(setting.folder / "lake-hub", ephemeral=True) as capture,
    ):
        clients = [hub.login(f"raw-{index}") for index in range(DEVICES)]
        job = {**hub.to(), "clients": clients, "in_flight": 500, "rate": 0}
        expected = 0
        for rate, seconds in ((1_000, setting.count(40, 2)), (5_000, setting.count(20, 1))):
            capture.open(hub.lab.events_connection_string).wait()
            idle = _resident(capture)
            before = _spent(capture)
            count = rate * seconds // DEVICES * DEVICES
            work("lake_sender", {**job, "each": count // DEVICES, "rate": rate})
            expected += count
            capture.wait()
            spent = (_spent(capture) - before) / count * 1e6
            lag = _lag(capture)
            say(f"{rate:,}/s: p50 {lag.p50:.2f} s, p99 {lag.p99:.2f} s; {spent:.0f} us of CPU each")
            rows += [
                Row(f"Lag at {rate:,}/s, p50", lag.p50, "s", note=f"{DEVICES} devices, for {seconds} s"),
                Row(
                    f"Lag at {rate:,}/s, p99",
                    lag.p99,
                    "s",
                    target=f"<= {LATEST:g}" if rate == 1_000 else "",
                    met=lag.p99 <= LATEST if rate == 1_000 else None,
                    note=f"{spent:.0f} us of CPU an event; resident {_resident(capture):.0f} MB, idle {idle:.0f} MB",
                ),
            ]
            capture.stop()
        count = setting.count(300_000, 4_000) // DEVICES * DEVICES
        work("lake_sender", {**job, "each": count // DEVICES})
        expected += count
        lake = Lake(capture.folder.lake)
        first = lake.version()
        # A quick round needs several batches too.
        capture.open(hub.lab.events_connection_string, seconds=setting.count(1, 0.05)).wait(300.0)
        rate = _rate(lake, first)
        there = lake.count()
        if there != expected:
            raise RuntimeError(f"{there:,} of {expected:,} rows are in the table")
        peak, own = _resident(capture), usage_of(capture.status().pid).memory / _MB
        say(f"from a full log: {rate:,.0f} events/s; resident {peak:.0f} MB, its own {own:.0f} MB")
        rows += [
            Row(
                "Captured from a full log",
                rate,
                "events/s",
                target=f">= {LEAST:,}",
                met=rate >= LEAST,
                note=f"{count:,} rows of {DEVICES} devices",
            ),
            Row(
                "Memory of the capture's process (USS)", own, "MB", note=f"after that; resident {peak:.0f} MB"
            ),
        ]
    return rows


def _rate(lake: Lake, first: int) -> float:
    commits = lake.history(limit=1000)
    writes = commits[(commits["version"] > first) & (commits["operation"] == "WRITE")].sort_values("version")
    seconds = (writes["time"].iloc[-1] - writes["time"].iloc[0]).total_seconds()
    return float(writes["rows"].iloc[1:].sum() / seconds) if seconds else 0.0


def _lag(capture: Capture) -> Any:
    lag = capture.status().lag
    assert lag is not None
    return lag


def _process(capture: Capture) -> psutil.Process:
    return psutil.Process(capture.status().pid)


def _resident(capture: Capture) -> float:
    return float(_process(capture).memory_info().rss / _MB)


def _spent(capture: Capture) -> float:
    times = _process(capture).cpu_times()
    return float(times.user + times.system)
