"""How fast the vendor's device SDK sends: it is the SDK that takes the time, so both servers should come out alike."""

from __future__ import annotations

from contextlib import ExitStack
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.servers import HubServer, MosquittoServer, Server
from benchmarks.setting import Row, Setting, compared, work

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "sdk"
TITLE = "azure-iot-device: send_message, QoS 1, 200 B, TLS"
SIZE = 200
AT_ONCE = 50
BLOCK = 50


def run(setting: Setting, say: Callable[[str], None]) -> list[Row]:
    """One SDK process, a client for each server, which take turns."""
    blocks = setting.count(80, 4)
    with ExitStack() as stack:
        servers: list[Server] = [stack.enter_context(HubServer(setting.folder / "sdk-hub"))]
        if MosquittoServer.installed_version():
            servers.append(stack.enter_context(MosquittoServer(setting.folder / "sdk-mosquitto")))
        clients = [
            {"name": one.name, "connection_string": one.connection_string("sdk-1"), "ca": one.to()["ca"]}
            for one in servers
        ]
        job = {"servers": clients, "size": SIZE, "block": BLOCK, "blocks": blocks, "at_once": AT_ONCE}
        told = work("sdk_sender", job)
    for way, rates in told.items():
        for name, blocks_of in rates.items():
            say(f"{name}, {way}: {median(blocks_of):,.0f} messages/s")
    return [
        compared(
            what,
            told[way]["hub"],
            told[way].get("mosquitto", []),
            "messages/s",
            least=0.95,
            note=note,
        )
        for way, what, note in (
            ("sequential", "SDK, one after another", f"{blocks} blocks of {BLOCK}, by turns"),
            ("concurrent", f"SDK, {AT_ONCE} at once", f"asyncio client; {blocks // 4} blocks of {4 * BLOCK}"),
        )
    ]
