"""How fast the vendor's device SDK sends, beside Mosquitto and beside a bare server as a yardstick.

One after another, each message waits for the server alone, so that any server in Python pays for its interpreter
here: `bare_server`, which only acknowledges, says how much of it.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.servers import PORT, HubServer, MosquittoServer, Server
from benchmarks.setting import Row, Setting, Worker, compared, work
from iotedge_lab.serve.addresses import free_address

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
        host = free_address([PORT], 120)
        certificate = str(setting.folder / "sdk-hub" / "certificates" / "server.pem")
        bare = Worker("bare_server", {"host": host, "port": PORT, "certificate": certificate})
        stack.callback(bare.end)
        bare.line()
        string = f"HostName={host};DeviceId=sdk-1;SharedAccessKey=bm90IGEgc2VjcmV0"
        clients.append({"name": "bare", "connection_string": string, "ca": clients[0]["ca"]})
        job = {"servers": clients, "size": SIZE, "block": BLOCK, "blocks": blocks, "at_once": AT_ONCE}
        told = work("sdk_sender", job)
    for way, rates in told.items():
        for name, blocks_of in rates.items():
            say(f"{name}, {way}: {median(blocks_of):,.0f} messages/s")
    rows = []
    for way, what, note in (
        ("sequential", "one after another", f"{blocks} blocks of {BLOCK}, by turns"),
        ("concurrent", f"{AT_ONCE} at once", f"asyncio client; {blocks // 4} blocks of {4 * BLOCK}"),
    ):
        rates = told[way]
        other = rates.get("mosquitto", [])
        rows.append(compared(f"SDK, {what}", rates["hub"], other, "messages/s", least=0.95, note=note))
        yardstick = compared(
            f"- a bare server in Python, {what}", rates["bare"], other, "messages/s", least=0
        )
        rows.append(
            replace(yardstick, target="", met=None, note="acknowledges and keeps nothing (not the hub)")
        )
    return rows
