"""A probe of its own process: opens a lab in a fresh folder and sends one message, and says when it was where.

Job: state (a folder that is not there yet). Seconds: of each part, and `total` without importing this program.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import time
from datetime import datetime
from pathlib import Path

from benchmarks.servers import HubServer
from iotedge_lab.wire.mqtt.client import MqttClient
from iotedge_lab.wire.mqtt.packets import ConnAck, PubAcks


def _stamps(log: Path) -> dict[str, float]:
    """When the hub said what in its log, in seconds since 1970 (its own clock, milliseconds)."""
    found = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        for mark in ("trust is in", "serves on"):
            if mark in line:
                found[mark] = datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f").timestamp()  # noqa: DTZ007
    return found


def _first_message(hub: HubServer) -> None:
    login, to = hub.login("first"), hub.to()
    context = ssl.create_default_context(cafile=to["ca"])
    client = MqttClient(login["client_id"], login["username"], login["password"])
    with (
        socket.create_connection((to["host"], to["port"]), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=to["host"]) as link,
    ):
        link.sendall(client.connect())
        wanted: type = ConnAck
        while True:
            for event in client.receive(link.recv(65536)):
                if isinstance(event, PubAcks):
                    return
                if isinstance(event, wanted):
                    link.sendall(client.publish(login["topic"], b"first")[1])


def main() -> None:
    state = Path(json.loads(sys.stdin.readline())["state"])
    wall, began = time.time(), time.perf_counter()
    with HubServer(state) as hub:
        opened = time.perf_counter()
        hub.register("first")
        registered = time.perf_counter()
        _first_message(hub)
        ended = time.perf_counter()
        stamps = _stamps(state / "hub.log")
    told = {
        "total": ended - began,
        "hub process: start, imports, ports, certificates": stamps["trust is in"] - wall,
        "hub process: store, listener, proxy, ready": stamps["serves on"] - stamps["trust is in"],
        "Lab.open in all": opened - began,
        "registering a device over HTTPS": registered - opened,
        "TLS, CONNECT, first PUBACK": ended - registered,
    }
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
