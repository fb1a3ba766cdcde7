"""A fleet of cars against the hub: `python -m benchmarks.fleet [--quick]`.

Each car is a device of its own with its own TLS connection; a message is a row of a drive as JSON (about 230 bytes)
with its properties, QoS 1. Latency is from the first write of a message to its acknowledgement, so it includes the
time in the fleet's own loop, which shares the machine with the hub.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import machine
from benchmarks.report import markdown
from benchmarks.servers import HubServer
from benchmarks.setting import Row, Setting
from iotedge_lab.fleet import Fleet

if TYPE_CHECKING:
    from collections.abc import Callable

    from iotedge_lab.fleet import FleetSummary

NAME = "fleet"
TITLE = "A fleet: cars with a TLS connection each, rows as JSON, QoS 1"
P99_MS = 100.0


@dataclass(frozen=True, slots=True)
class Round:
    """One fleet. `share`: of the wanted rate, what it must reach to have met its target; None: no target."""

    cars: int
    rate: float
    processes: int = 1
    share: float | None = None


ROUNDS = (Round(200, 10.0, share=0.98), Round(200, 10.0, 2, share=0.98), Round(200, 40.0), Round(1000, 2.0))
QUICK = (Round(10, 10.0),)


def _drive(hub: HubServer, one: Round, seconds: float) -> tuple[FleetSummary, float, float]:
    """The summary, the seconds until the cars had set off, and the hub's CPU microseconds a message."""
    fleet = Fleet(hub.lab, cars=one.cars, rate=one.rate, processes=one.processes)
    fleet.register()
    began = time.monotonic()
    fleet.start()
    try:
        while not fleet.status().seconds:
            time.sleep(0.01)
        ready = time.monotonic() - began
        before = hub.usage().cpu
        while fleet.status().seconds < seconds:
            time.sleep(0.05)
    finally:
        summary = fleet.stop()
    spent = (hub.usage().cpu - before) / summary.acknowledged * 1e6
    return summary, ready, spent


def run(setting: Setting, say: Callable[[str], None]) -> list[Row]:
    """Each round on a hub of its own; RuntimeError unless all that was sent was acknowledged and is counted there."""
    rows = []
    for number, one in enumerate(QUICK if setting.quick else ROUNDS):
        with HubServer(setting.folder / f"fleet-{number}") as hub:
            summary, ready, spent = _drive(hub, one, float(setting.count(15, 1)))
            stored = int(hub.lab.status()["messages"])
        if summary.unacknowledged or summary.refused or stored != summary.acknowledged:
            raise RuntimeError(
                f"{summary.sent:,} sent, {summary.acknowledged:,} acknowledged, {stored:,} stored"
            )
        assert summary.p50_ms is not None
        assert summary.p99_ms is not None
        assert summary.longest_ms is not None
        name = (
            f"{one.cars:,} cars at {one.rate:g}/s, {one.processes} process{'es' if one.processes > 1 else ''}"
        )
        wanted = one.cars * one.rate
        say(f"{name}: {summary.rate:,.0f} messages/s, p99 {summary.p99_ms:.1f} ms, load {machine.load()}")
        least = None if one.share is None else one.share * wanted
        note = f"{summary.acknowledged:,} messages, all stored once; {spent:.0f} us of the hub's CPU each"
        if summary.held:
            note += f"; {summary.held:,} rows had to wait"
        rows += [
            Row(
                f"Acknowledged, {name}",
                summary.rate,
                "messages/s",
                target="" if least is None else f">= {least:,.0f} of {wanted:,.0f}",
                met=None if least is None else summary.rate >= least,
                note=note,
            ),
            Row(f"Latency p50, {name}", summary.p50_ms, "ms"),
            Row(
                f"Latency p99, {name}",
                summary.p99_ms,
                "ms",
                target="" if one.share is None else f"< {P99_MS:g}",
                met=None if one.share is None else summary.p99_ms < P99_MS,
                note=f"longest {summary.longest_ms:.0f} ms; load of the machine {machine.load()}",
            ),
            Row(f"Set off, {name}", ready, "s", note="drives read, all connected"),
        ]
    return rows


def main() -> int:
    """Only this one, its rows as Markdown; the exit status is 0 whatever the figures are."""
    quick = "--quick" in sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="iotedge-lab-bench-") as folder:
        rows = run(Setting(quick, Path(folder)), lambda text: print(f"  {text}", flush=True))
    print(markdown(machine.describe(), "python -m benchmarks.fleet", [(TITLE, rows)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
