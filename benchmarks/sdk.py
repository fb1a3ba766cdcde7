"""How fast the vendor's device SDK sends: it is the SDK that takes the time, so both servers should come out alike."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from benchmarks.servers import HubServer, MosquittoServer, Server
from benchmarks.setting import Row, Setting, compared, work

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "sdk"
TITLE = "azure-iot-device: send_message, QoS 1, 200 B, TLS"
SIZE = 200
AT_ONCE = 50


def _job(server: Server, count: int) -> dict[str, Any]:
    return {
        "connection_string": server.connection_string("sdk-1"),
        "ca": server.to()["ca"],
        "size": SIZE,
        "count": count,
        "at_once": AT_ONCE,
    }


def run(setting: Setting, say: Callable[[str], None]) -> list[Row]:
    """Rounds of both, in turn."""
    count, rounds = setting.count(800, 30), setting.count(5, 1)
    rates: dict[str, dict[str, list[float]]] = {}
    with ExitStack() as stack:
        servers: list[Server] = [stack.enter_context(HubServer(setting.folder / "sdk-hub"))]
        if MosquittoServer.installed_version():
            servers.append(stack.enter_context(MosquittoServer(setting.folder / "sdk-mosquitto")))
        for _ in range(rounds):
            for server in servers:
                told = work("sdk_sender", _job(server, count))
                say(f"{server.name}: {told['sequential']:,.0f} and {told['concurrent']:,.0f} messages/s")
                for way, rate in told.items():
                    rates.setdefault(way, {}).setdefault(server.name, []).append(rate)
    return [
        compared(
            what,
            rates[way]["hub"],
            rates[way].get("mosquitto", []),
            "messages/s",
            least=0.95,
            note=note,
        )
        for way, what, note in (
            ("sequential", "SDK, one after another", f"{rounds} rounds of {count:,} each"),
            ("concurrent", f"SDK, {AT_ONCE} at once", "the asyncio client; rounds as above"),
        )
    ]
