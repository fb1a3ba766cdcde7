"""A module that numbers its messages over all its lives, and notes which of them the edge hub has acknowledged."""

import os
import sys
import time
from pathlib import Path

from azure.iot.device import IoTHubModuleClient, Message

NOTES = Path("data/acknowledged")


def last():
    """The last number that was noted; a line that was cut off is none."""
    lines = NOTES.read_text().splitlines(keepends=True) if NOTES.exists() else []
    numbers = [int(line) for line in lines if line.endswith("\n")]
    return numbers[-1] if numbers else -1


def connected():
    while True:
        client = IoTHubModuleClient.create_from_edge_environment()
        try:
            client.connect()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again
            print(f"not connected: {error!r}", flush=True)
            client.shutdown()
            time.sleep(0.2)
        else:
            return client


def main():
    notes = os.open(NOTES, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    number = last() + 1
    client = connected()
    while True:
        message = Message(str(number))
        message.custom_properties["p"] = str(number % 2)
        try:
            client.send_message_to_output(message, "out")
        except Exception as error:  # noqa: BLE001 - the same once more
            print(f"not sent: {error!r}", flush=True)
            continue
        os.write(notes, f"{number}\n".encode())
        number += 1


if __name__ == "__main__":
    sys.exit(main())
