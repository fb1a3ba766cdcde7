"""Clients of a running hub: a raw MQTT one for what the SDKs would not do, and the vendor's consumer on a thread."""

import base64
import contextlib
import socket
import ssl
import threading
import time
import zlib

from azure.eventhub import EventHubConsumerClient

from iotedge_lab.wire import sas
from iotedge_lab.wire.connection_string import ConnectionString
from iotedge_lab.wire.mqtt.client import MqttClient
from iotedge_lab.wire.mqtt.packets import ConnAck, ConnackCode


def some_key(byte=b"k"):
    """A key of 32 bytes that is no one's."""
    return base64.b64encode(byte * 32).decode()


def partition_of(lab, device):
    """The partition of a device, from the rule that the hub documents."""
    return str(zlib.crc32(device.encode()) % len(lab.status()["partitions"]))


class RawDevice:
    """A raw MQTT client over a socket: the plain port, unless `tls`."""

    def __init__(self, lab, device, module=None, *, tls=False, clean=False, client=None):
        self.lab = lab
        self.tls = tls
        if client is None:
            parsed = ConnectionString.parse(lab.device_connection_string(device, module))
            name = f"{device}/{module}" if module else device
            resource = f"{lab.hostname}/devices/{device}" + (f"/modules/{module}" if module else "")
            token = sas.build(resource, parsed.shared_access_key, int(time.time()) + 3600)
            client = MqttClient(
                name, f"{lab.hostname}/{name}/?api-version=2021-04-12", token, clean_session=clean
            )
        self.client = client
        base = f"devices/{device}" + (f"/modules/{module}" if module else "")
        self.topic = f"{base}/messages/events/"
        self.sock = None

    def connect(self, *, timeout=30.0):
        """Open a connection; the CONNACK."""
        self.sock = dial(
            self.lab,
            self.lab._told.mqtt_port if self.tls else self.lab._told.plain_amqp_port,
            tls=self.tls,
            timeout=timeout,
        )
        self.sock.sendall(self.client.connect())
        while True:
            for event in self.events():
                assert isinstance(event, ConnAck)
                return event

    def events(self):
        """What the next read brings; raises ConnectionError at the end of the connection."""
        data = self.sock.recv(65_536)
        if not data:
            raise ConnectionError("the hub closed the connection")
        return self.client.receive(data)

    def until(self, kind):
        """Read until an event of `kind` comes."""
        while True:
            for event in self.events():
                if isinstance(event, kind):
                    return event

    def send(self, *payloads, topic=None):
        """Publish, and wait until all is acknowledged."""
        _, data = self.client.publish_many(topic or self.topic, payloads)
        self.sock.sendall(data)
        self.drain()

    def drain(self):
        while self.client.in_flight:
            self.events()

    def closed_by_hub(self):
        """Read to the end of the connection."""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while self.sock.recv(65_536):
                pass
        return True

    def close(self):
        if self.sock is not None:
            self.sock.close()

    def __enter__(self):
        assert self.connect().code is ConnackCode.ACCEPTED
        return self

    def __exit__(self, *_):
        self.close()


def dial(lab, port, *, tls, timeout=30.0):
    """A socket to the hub."""
    sock = socket.create_connection((lab._told.host, port), timeout=timeout)
    if not tls:
        return sock
    try:
        return ssl.create_default_context(cafile=str(lab.ca_file)).wrap_socket(
            sock, server_hostname=lab._told.host
        )
    except BaseException:
        sock.close()
        raise


class Consumer:
    """The vendor's consumer on a thread, keeping what it received."""

    def __init__(self, lab, *, group="$Default", connection_string=None, client_options=None, **options):
        self.events = []
        self.errors = []
        self.news = threading.Condition()
        self.client = EventHubConsumerClient.from_connection_string(
            connection_string or lab.events_connection_string,
            consumer_group=group,
            retry_total=0,
            **(client_options or {}),
        )
        options.setdefault("starting_position", "-1")
        self.thread = threading.Thread(target=self._run, kwargs=options)
        self.thread.start()

    def _run(self, **options):
        try:
            self.client.receive(
                on_event=self._on_event,
                on_error=self._on_error,
                **options,
            )
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self._on_error(None, error)

    def _on_event(self, _, event):
        with self.news:
            self.events.append(event)
            self.news.notify_all()

    def _on_error(self, _, error):
        with self.news:
            self.errors.append(error)
            self.news.notify_all()

    def wait(self, count, seconds=30.0):
        """The events, once there are `count`."""
        with self.news:
            assert self.news.wait_for(lambda: len(self.events) >= count or self.errors, seconds), (
                f"{len(self.events)} of {count} events came"
            )
            assert len(self.events) >= count, self.errors
            return list(self.events)

    def wait_error(self, seconds=30.0):
        """The first error."""
        with self.news:
            assert self.news.wait_for(lambda: self.errors, seconds), "no error came"
            return self.errors[0]

    def close(self):
        self.client.close()
        self.thread.join(60)
        assert not self.thread.is_alive()
