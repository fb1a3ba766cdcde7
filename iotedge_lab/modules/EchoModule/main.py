"""EchoModule: sends on what it gets, and tells the time.

    input-echo   every message goes out again at output-echo, with its properties
    output-echo  besides, every 30 seconds: "Sending event at <time>"

The interval (seconds) is set by the environment variable ECHO_INTERVAL, or later by the module twin's desired
property `interval`; the one in force is reported.
"""

import contextlib
import logging
import math
import os
import signal
import sys
import time
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import Any

from azure.iot.device import IoTHubModuleClient, Message
from azure.iot.device.exceptions import ClientError

INPUT, OUTPUT = "input-echo", "output-echo"
DEFAULT_INTERVAL = 30.0
RETRY_SECONDS = 5.0
RESEND_SECONDS = 1.0
LOOK_SECONDS = 0.5  # a signal that another thread has taken is handled when the main one wakes

log = logging.getLogger("EchoModule")
new_message: Any = Message


class EchoModule:
    """The module: `run` returns after `stop`."""

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self.stopping = False
        # Wakes `run`. Not an Event: a signal handler may meet its lock held by the very thread that it interrupts.
        self.news: SimpleQueue[None] = SimpleQueue()
        self.client: Any = None

    def run(self) -> None:
        """Connect, then send the time until it is told to stop."""
        self.client = self.connected()
        if self.client is None:
            return
        try:
            while not self.stopping:
                sent = time.monotonic()
                self.send(new_message(f"Sending event at {datetime.now(UTC).isoformat()}"))
                while not self.stopping and time.monotonic() < sent + self.interval:
                    self.wait(min(LOOK_SECONDS, sent + self.interval - time.monotonic()))
        finally:
            self.client.shutdown()
            log.info("Stopped")

    def stop(self, *_: object) -> None:
        """Have `run` return."""
        self.stopping = True
        self.news.put(None)

    def wait(self, seconds: float) -> None:
        """Wait so long, or until there is news."""
        with contextlib.suppress(Empty):
            self.news.get(timeout=max(0.0, seconds))

    def connected(self) -> Any:
        """A connected client with its handlers; None if it was told to stop before."""
        while not self.stopping:
            client = None
            try:
                client = IoTHubModuleClient.create_from_edge_environment()
                self.client = client
                # Before connect: what waited comes at once, and is dropped without it.
                client.on_message_received = self.echo
                client.connect()
                client.on_twin_desired_properties_patch_received = self.configure
                self.configure(client.get_twin()["desired"])
            except (ClientError, OSError) as error:
                log.warning("The edge hub cannot be reached yet: %s", error)
                if client is not None:
                    client.shutdown()
                self.wait(RETRY_SECONDS)
            else:
                log.info("Connected; an event every %g s", self.interval)
                return client
        return None

    def echo(self, message: Message) -> None:
        """Send a message on as it came."""
        if message.input_name != INPUT:
            log.warning("A message came to %s, where none is expected", message.input_name)
            return
        copy = new_message(
            message.data,
            message.message_id,
            content_encoding=message.content_encoding,
            content_type=message.content_type,
        )
        copy.correlation_id = message.correlation_id
        copy.custom_properties = dict(message.custom_properties)
        self.send(copy)

    def configure(self, desired: dict[str, Any]) -> None:
        """Take the interval from desired properties, and report the one in force."""
        if "interval" in desired:
            try:
                self.interval = seconds(desired["interval"], "the desired property interval")
            except ValueError as error:
                log.error("%s", error)  # noqa: TRY400 - the text says it all
        self.client.patch_twin_reported_properties({"interval": self.interval})
        self.news.put(None)

    def send(self, message: Message) -> None:
        """Send a message to the output; while the edge hub is away, wait for it."""
        while not self.stopping:
            try:
                self.client.send_message_to_output(message, OUTPUT)
            except ClientError as error:
                log.warning("Not sent, trying again: %s", error)
                time.sleep(RESEND_SECONDS)
            else:
                log.info("Sent: %s", message)
                return


def seconds(value: object, what: str) -> float:
    """A positive number of seconds; None, and nothing else besides, gives the default. Raises ValueError."""
    if value is None:
        return DEFAULT_INTERVAL
    try:
        number = float(value)  # type: ignore[arg-type] # a value that is no number is told of below
    except (TypeError, ValueError):
        number = math.nan
    if not 0.01 <= number <= 86_400:
        raise ValueError(f"{what} is {value!r}; seconds from 0.01 to 86400 belong there")
    return number


def main() -> int:
    """Run until SIGTERM, by which the edge agent stops a module."""
    logging.Formatter.converter = time.gmtime
    # The form in which the edge agent finds levels again: <6> 2026-11-20 10:30:00.123 +00:00 [INF] text
    form = "<%(syslog)d> %(asctime)s.%(msecs)03d +00:00 [%(levelname).3s] %(message)s"
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter(form, "%Y-%m-%d %H:%M:%S"))
    handler.addFilter(add_syslog_level)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    log.setLevel(logging.INFO)
    try:
        module = EchoModule(seconds(os.environ.get("ECHO_INTERVAL"), "ECHO_INTERVAL"))
    except ValueError as error:
        log.error("%s", error)  # noqa: TRY400 - the text says it all
        return 2
    signal.signal(signal.SIGTERM, module.stop)
    signal.signal(signal.SIGINT, module.stop)
    module.run()
    return 0


def add_syslog_level(record: logging.LogRecord) -> bool:
    """Give a log record its level as syslog counts: 2 critical, 3 error, 4 warning, 6 informational, 7 debug."""
    record.syslog = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "INFO": 6}.get(record.levelname, 7)
    return True


if __name__ == "__main__":
    sys.exit(main())
