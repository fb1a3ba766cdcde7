"""An IoT Edge module: sends what comes to `input1` on to `output1`, and every INTERVAL seconds tells the time there."""

import logging
import os
import signal
import sys
import threading
from datetime import UTC, datetime
from typing import Any

from azure.iot.device import IoTHubModuleClient, Message

INTERVAL = float(os.environ.get("INTERVAL", "30"))

log = logging.getLogger("module")
stopping = threading.Event()


def connected() -> Any:
    """A client that is connected to this device's edge hub, and what it does with a message."""
    client = IoTHubModuleClient.create_from_edge_environment()

    def receive(message: Any) -> None:
        if message.input_name == "input1":
            log.info("Received: %s", message.data)
            copy: Any = Message(message.data)
            copy.custom_properties = dict(message.custom_properties)
            client.send_message_to_output(copy, "output1")

    client.on_message_received = receive
    client.connect()
    return client


def main() -> None:
    """Run until SIGTERM, by which a module is stopped."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stdout, format="%(asctime)s %(message)s")
    log.setLevel(logging.INFO)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    client = connected()
    log.info("Connected; an event every %g s", INTERVAL)
    try:
        while not stopping.is_set():
            event = f"Sending event at {datetime.now(UTC).isoformat()}"
            client.send_message_to_output(Message(event), "output1")
            log.info(event)
            stopping.wait(INTERVAL)
    finally:
        client.shutdown()


if __name__ == "__main__":
    main()
