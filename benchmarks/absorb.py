"""How many messages a second a server acknowledges: QoS 1, 200 B, TLS, 1,000 in flight a connection.

Of the hub only what azure-eventhub then reads back counts, each message whole and once. Mosquitto gets the same
messages on topics that nobody is subscribed to, the least that a broker can do with them.
"""

from __future__ import annotations

from contextlib import ExitStack
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.servers import HubServer, MosquittoServer, Server
from benchmarks.setting import Row, Setting, compared, work

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "absorb"
TITLE = "Acknowledged messages: QoS 1, 200 B, TLS, 1,000 in flight a connection"
SIZE = 200
IN_FLIGHT = 1000
CONNECTIONS = (1, 20)
PREFETCH = 1000


def _load(server: Server, tag: str, connections: int, each: int) -> dict[str, Any]:
    """One round; adds what the server spent (CPU microseconds a message) to what the sender says."""
    clients = [server.login(f"raw-{index}") for index in range(connections)]
    job = {**server.to(), "tag": tag, "size": SIZE, "each": each, "in_flight": IN_FLIGHT, "clients": clients}
    before = server.usage().cpu
    told = work("raw_sender", job)
    told["rate"] = told["acked"] / told["seconds"]
    told["server_us"] = (server.usage().cpu - before) / told["acked"] * 1e6
    return told


def _read_back(hub: HubServer, sent: list[list[Any]]) -> dict[str, Any]:
    """All of it, by azure-eventhub, a client for each partition; RuntimeError unless each came whole and once."""
    told = work(
        "event_reader",
        {
            "events": hub.lab.events_connection_string,
            "name": hub.lab.events_name,
            "size": SIZE,
            "expected": sent,
            "prefetch": PREFETCH,
            "partitions": ["0", "1"],
        },
    )
    faults = {name: told[name] for name in ("twice", "damaged", "foreign", "disordered") if told[name]}
    if told["intact"] != told["expected"] or faults:
        raise RuntimeError(
            f"{told['expected']:,} messages were acknowledged and {told['intact']:,} read back {faults}"
        )
    return told


def run(setting: Setting, say: Callable[[str], None]) -> list[Row]:
    """For one connection and for twenty: rounds of both servers in turn, then the reading back."""
    rows: list[Row] = []
    count, rounds = setting.count(60_000, 2_000), setting.count(4, 1)
    for connections in CONNECTIONS:
        each = count // connections
        rates: dict[str, list[float]] = {}
        spent: dict[str, list[float]] = {}
        with ExitStack() as stack:
            hub = stack.enter_context(HubServer(setting.folder / f"absorb-{connections}-hub"))
            servers: list[Server] = [hub]
            if MosquittoServer.installed_version():
                folder = setting.folder / f"absorb-{connections}-mosquitto"
                servers.append(stack.enter_context(MosquittoServer(folder)))
            sent = []
            for turn in range(-1, rounds):  # the first is to warm up; it is read back like the others
                for server in servers:
                    told = _load(server, f"r{turn + 1}", connections, each)
                    if turn >= 0:
                        rates.setdefault(server.name, []).append(told["rate"])
                        spent.setdefault(server.name, []).append(told["server_us"])
                        say(
                            f"{server.name}, {connections} connection(s): {told['rate']:,.0f} messages/s, "
                            f"{told['server_us']:.1f} us of CPU each"
                        )
                sent += [[f"r{turn + 1}", index, each] for index in range(connections)]
            read = _read_back(hub, sent)
            say(f"azure-eventhub read {read['intact']:,} back in {read['whole_seconds']:.1f} s")
        name = f"{connections} connection{'s' if connections > 1 else ''}"
        rows.append(
            compared(
                f"Absorbed, {name}",
                rates["hub"],
                rates.get("mosquitto", []),
                "messages/s",
                least=0.8,
                note=f"{rounds} rounds of {count:,}; all {read['intact']:,} read back, each once, in order",
            )
        )
        other = spent.get("mosquitto")
        rows.append(
            Row(
                f"CPU of the server, {name}",
                median(spent["hub"]),
                "us a message",
                median(other) if other else None,
            )
        )
        rows.append(
            Row(
                f"Drained by azure-eventhub, {name}",
                read["rate"],
                "events/s",
                note=f"all {read['intact']:,} of them in {read['whole_seconds']:.1f} s",
            )
        )
    return rows
