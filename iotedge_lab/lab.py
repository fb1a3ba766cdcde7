"""`Lab`: the hub that a notebook or a test works against, local or on Azure.

    lab = Lab.open()              # attaches to the running local hub, or starts it
    lab.activate()                # sets IOTHUB_CONNECTION_STRING, SSL_CERT_FILE, ... in this process

Where `IOTHUB_CONNECTION_STRING` is set, its HostName decides (`is_local`): a loopback name stands for the local hub
of the state folder, anything else is a hub on Azure, and then nothing is started and `reset()` deletes only
devices tagged `iotedgeLab`.
"""

from __future__ import annotations

import os
import time
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from iotedge_lab import launch
from iotedge_lab.edge.runtime.settings import EdgeSettings
from iotedge_lab.edges import Edge, forget_all
from iotedge_lab.errors import ConnectionStringError, HubNotRunning, UsageError
from iotedge_lab.hub.names import EVENTS_NAME, HUB_NAME
from iotedge_lab.hub.state import STATE_VARIABLE, HubFile, StateFolder, default_folder
from iotedge_lab.progress import Progress, read
from iotedge_lab.rest import RestClient, RestError, quote
from iotedge_lab.serve.addresses import is_loopback
from iotedge_lab.serve.claims import release
from iotedge_lab.serve.storage import UPLOADS, StorageFolder
from iotedge_lab.storage_calls import StorageCalls
from iotedge_lab.wire.connection_string import ConnectionString
from iotedge_lab.wire.storage.account import StorageAccount

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from iotedge_lab.simulation import Simulator

TAG = "iotedgeLab"
AZURE_NAME = f"{HUB_NAME}.azure-devices.net"
SERVICE_VARIABLE = "IOTHUB_CONNECTION_STRING"
EVENTS_VARIABLE = "EVENTHUB_CONNECTION_STRING"
STORAGE_VARIABLE = "AZURE_STORAGE_CONNECTION_STRING"
#: How long to wait, time after time, before a call that was throttled is made again; a minute in all.
_WAITS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
#: Set in each session of a BinderHub: by itself, and by Kubernetes for its service of that name.
_BINDER_VARIABLES = ("BINDER_LAUNCH_HOST", "BINDER_SERVICE_HOST")


class Lab:
    """A handle on a hub. Made by `Lab.open`; closing it stops nothing, unless it is `ephemeral`."""

    def __init__(self, state: StateFolder, told: HubFile | None, service: str, events: str) -> None:
        self._state = state
        self._told = told
        self._service = service
        self._events = events
        self._child: launch.Child | None = None
        self._settings = launch.Settings()
        self._before: dict[str, str | None] = {}
        self._edges: dict[str, Edge] = {}
        self._simulators: list[Simulator] = []

    @classmethod
    def open(
        cls,
        state_dir: str | Path | None = None,
        *,
        ephemeral: bool = False,
        settings: launch.Settings | None = None,
    ) -> Self:
        """Attach to the running local hub or start it, and wait until it answers; or attach to Azure.

        `state_dir`: where the hub keeps its state (default `$IOTEDGE_LAB_STATE`, else the user's state
        folder). `ephemeral`: the hub ends with this handle, or with this process. Raises `HubFailed` with
        the hub's own words, `PortTaken`, `StateLocked`, or `ConnectionStringError`.
        """
        state = StateFolder(state_dir)
        asked = os.environ.get(SERVICE_VARIABLE)
        if asked and not is_local(asked, state.read()):
            return cls._on_azure(state, asked)
        settings = settings or launch.Settings()
        told, child = launch.attach_or_start(state, settings, until_eof=ephemeral)
        lab = cls(state, told, _service_string(told), _events_string(told))
        lab._child = child if ephemeral else None
        lab._settings = settings
        return lab

    @classmethod
    def _on_azure(cls, state: StateFolder, service: str) -> Self:
        parsed = ConnectionString.parse(service)
        if not (parsed.host_name and parsed.shared_access_key_name and parsed.shared_access_key):
            raise ConnectionStringError(
                f"{SERVICE_VARIABLE} needs HostName, SharedAccessKeyName and SharedAccessKey; copy it from the "
                "portal (IoT Hub, Shared access policies, iothubowner), or unset it to use the local hub."
            )
        return cls(state, None, service, os.environ.get(EVENTS_VARIABLE, ""))

    # -- what cells use --------------------------------------------------------------------------------

    @property
    def is_local(self) -> bool:
        """Whether this is the lab's own hub (and not one on Azure)."""
        return self._told is not None

    @property
    def hostname(self) -> str:
        """The HostName of device connection strings: `localhost`, a loopback address, or Azure's."""
        if self._told is not None:
            return self._told.hostname
        return (ConnectionString.parse(self._service).host_name or "").partition(":")[0]

    @property
    def service_connection_string(self) -> str:
        """For azure.iot.hub: HostName with the HTTPS port, and the policy iothubowner."""
        return self._service

    @property
    def events_connection_string(self) -> str:
        """For azure.eventhub, the built-in endpoint; locally in the emulator's form, over plain TCP."""
        if not self._events:
            raise ConnectionStringError(
                f"set {EVENTS_VARIABLE} to the hub's Event Hub-compatible endpoint (portal: IoT Hub, Built-in "
                "endpoints), with its EntityPath."
            )
        return self._events

    @property
    def events_name(self) -> str:
        """The name of the built-in endpoint: `eventhub_name=` of azure.eventhub."""
        return ConnectionString.parse(self.events_connection_string).entity_path or EVENTS_NAME

    @property
    def storage_connection_string(self) -> str:
        """For azure.storage.blob: the lab's own storage account, or on Azure the one of the environment.

        The containers `uploads` (devices' files) and `models` are there. The server starts when it is first used.
        """
        if self._told is not None:
            if not self._told.storage:
                raise HubNotRunning(
                    "the hub has no port for storage: it runs since before the lab had one, or none was free. "
                    "Restart it: 'iotedge-lab down', 'iotedge-lab up'."
                )
            return self._told.storage
        found = os.environ.get(STORAGE_VARIABLE)
        if not found:
            raise ConnectionStringError(
                f"set {STORAGE_VARIABLE} to a connection string of the storage account that belongs to the hub "
                "(portal: storage account, Access keys)."
            )
        return StorageAccount.parse(found).format()

    @property
    def client_options(self) -> dict[str, Any]:
        """What `create_from_connection_string` of azure.iot.device needs here besides the string.

        Empty locally. On Binder only 443 leaves the network, so a hub on Azure is reached by WebSocket.
        """
        if self._told is None and any(os.environ.get(name) for name in _BINDER_VARIABLES):
            return {"websockets": True}
        return {}

    @property
    def state_dir(self) -> Path:
        """The state folder."""
        return self._state.path

    @property
    def ca_file(self) -> Path:
        """Certifi's roots and the lab's in one file."""
        return self._state.certificates / "ca-bundle.pem"

    def device_connection_string(self, device_id: str, module_id: str | None = None) -> str:
        """The connection string of a registered device or module, with its primary key.

        Raises `RestError` (404 DeviceNotFound, ModuleNotFound) if it is not registered.
        """
        path = f"/devices/{quote(device_id)}" + (f"/modules/{quote(module_id)}" if module_id else "")
        identity = self.rest().call("GET", path)
        key = ((identity.get("authentication") or {}).get("symmetricKey") or {}).get("primaryKey")
        if not key:
            raise UsageError(f"{device_id!r} authenticates by certificate and has no key to connect with.")
        made = ConnectionString(
            host_name=self.hostname, device_id=device_id, module_id=module_id, shared_access_key=key
        )
        return made.format()

    def edge(
        self,
        device_id: str,
        *,
        gateway: str | None = None,
        module_folders: Sequence[str | Path] = (),
        images: Mapping[str, str | Path] | None = None,
    ) -> Edge:
        """The IoT Edge runtime of a registered edge device, started here if it does not run.

        `gateway`: the address (or name) at which modules and leaf devices find it; by default a loopback address of
        its own. `module_folders` hold module folders beside those of the lab, `images` name folders by image
        pattern. Raises `RestError` (404) if the device is not registered, `UsageError` if it is no edge device.
        """
        identity = self.rest().call("GET", f"/devices/{quote(device_id)}")
        if not (identity.get("capabilities") or {}).get("iotEdge"):
            raise UsageError(
                f"{device_id!r} is no edge device: create it with iot_edge=True "
                "(registry.create_device_with_sas(..., iot_edge=True)); an existing device cannot be made one here."
            )
        settings = EdgeSettings(
            self.device_connection_string(device_id),
            gateway=gateway,
            module_folders=tuple(Path(folder).absolute() for folder in module_folders),
            images={pattern: Path(folder).absolute() for pattern, folder in (images or {}).items()},
            ca_file=self._state.certificates / "lab-ca.pem" if self.is_local else None,
            https_port=self._told.https_port if self._told is not None else None,
        )
        made = Edge(self._state.path, device_id, settings, ephemeral=self._child is not None)
        self._edges[device_id] = made.succeed(self._edges.get(device_id))
        return made.start()

    def simulator(self, *inputs: str, port: int = 53000, device_id: str | None = None) -> Simulator:
        """The simulator for one module, started here: messages can be posted to these inputs of the module.

        One that runs as is asked for goes on; else it is started anew. `device_id`: the edge device that it acts as,
        by default one that the lab makes at its own hub. Raises `PortTaken`, and `UsageError` for a hub on Azure
        without a `device_id`.
        """
        from iotedge_lab.simulation import DEVICE, Simulator, local_setup

        if not self.is_local and device_id is None:
            raise UsageError("On Azure no device is made for the simulator: name one of your edge devices.")
        made = Simulator(self._state.path, ephemeral=self._child is not None)
        made.open(local_setup(self, self._state, device_id or DEVICE), *inputs, port=port)
        self._simulators.append(made)
        return made

    def env(self, *, proxy: bool = False) -> dict[str, str]:
        """The environment variables by which the SDKs find and trust this hub.

        `proxy`: also those that lead port 443 (MQTT over WebSocket, file upload) to where the hub listens;
        they are needed only where 443 could not be bound.
        """
        named = {SERVICE_VARIABLE: self._service}
        if self._events:
            named[EVENTS_VARIABLE] = self._events
        if self._told is None:
            if os.environ.get(STORAGE_VARIABLE):
                named[STORAGE_VARIABLE] = os.environ[STORAGE_VARIABLE]
            return named
        if self._told.storage:
            named[STORAGE_VARIABLE] = self._told.storage
        bundle = str(self.ca_file)
        named |= {
            "SSL_CERT_FILE": bundle,
            "REQUESTS_CA_BUNDLE": bundle,
            "NODE_EXTRA_CA_CERTS": str(self._state.certificates / "lab-ca.pem"),
        }
        if self._state.path != default_folder().absolute():
            named[STATE_VARIABLE] = str(self._state.path)
        if any(name.lower() in ("https_proxy", "all_proxy") for name in os.environ) and not proxy:
            # A proxy that leads out of this machine's network must not be asked for this machine.
            beside = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
            hosts = [*filter(None, beside.split(",")), "localhost", "127.0.0.1", self._told.host]
            named["NO_PROXY"] = named["no_proxy"] = ",".join(dict.fromkeys(hosts))
        if proxy and not self._told.port_443:
            address = f"http://{self._told.host}:{self._told.proxy_port}"
            named |= {"HTTPS_PROXY": address, "https_proxy": address, "mqtt_proxy": address}
        return named

    def activate(self, *, proxy: bool = False) -> Self:
        """Put `env()` into this process's environment; `close` takes it out again. Returns the lab."""
        for name, value in self.env(proxy=proxy).items():
            self._before.setdefault(name, os.environ.get(name))
            os.environ[name] = value
        return self

    def rest(self) -> RestClient:
        """A client for the hub's REST API, with this lab's policy."""
        # The lab's own authority alone: to read certifi's too takes 50 ms.
        return RestClient(self._service, self._state.certificates / "lab-ca.pem" if self.is_local else None)

    def status(self) -> dict[str, Any]:
        """What the local hub says of itself: devices, connections, messages, partitions."""
        self._local("status()")
        found: dict[str, Any] = self.rest().call("GET", "/lab/status")
        return found

    def progress(self) -> Progress:
        """Which exercises of the workbooks are solved, as a table; `reset` leaves that alone."""
        return read(self._state.path)

    def create_consumer_group(self, name: str) -> None:
        """Make a consumer group at the built-in endpoint; making it again changes nothing."""
        self._local("create_consumer_group()")
        self.rest().call("PUT", f"/lab/consumer-groups/{quote(name)}")

    def add_ca_certificate(self, name: str, pem: str) -> None:
        """Have the local hub trust the certificates that this authority signs for devices.

        `pem`: its own certificate, a root or an intermediate; one of the same name is replaced. Raises
        `RestError` (400) if it is none, or the 26th (403).
        """
        self._local("add_ca_certificate()")
        self.rest().call("PUT", f"/lab/certificates/{quote(name)}", {"certificate": pem})

    def configure_file_upload(
        self,
        connection_string: str = "",
        *,
        container: str = UPLOADS,
        sas_minutes: float = 60,
        notifications: bool = True,
    ) -> None:
        """Where the local hub has devices upload their files; kept with the hub.

        `connection_string`: of a storage account on Azure (or of Azurite), '' for the lab's own. `container` must be
        there. `sas_minutes`: how long a URL holds, 1 to 1440. Raises `RestError` (400).
        """
        self._local("configure_file_upload()")
        asked = {
            "connectionString": connection_string,
            "containerName": container,
            "sasTtlAsIso8601": f"PT{sas_minutes * 60:g}S",
            "enableFileUploadNotifications": notifications,
        }
        self.rest().call("PUT", "/lab/file-upload", asked)

    def reset(self) -> int:
        """Start afresh; how many devices were deleted.

        Local: all identities, sessions, messages and consumer groups, the files in the container `uploads`, and the
        edge devices that run here. Azure: only devices whose twin has the tag `iotedgeLab`.
        """
        client = self.rest()
        if self.is_local:
            forget_all(self._state.path)
            count = int(client.call("GET", "/lab/status")["devices"])
            client.call("POST", "/lab/reset")
            if (StorageFolder(self._state.path).path / "blobs.db").exists():  # else nothing was ever stored
                StorageCalls(self.storage_connection_string, self._state.certificates / "lab-ca.pem").empty(
                    UPLOADS
                )
            return count
        # All pages before the first deletion: the service's index is behind by seconds, and pages shift.
        rows = client.query(f"SELECT deviceId FROM devices WHERE is_defined(tags.{TAG})")
        return sum(_delete(client, device) for device in sorted({str(row["deviceId"]) for row in rows}))

    # -- life and death --------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start the local hub again after `crash` or `iotedge-lab down`; nothing if it runs."""
        self._local("start()")
        ephemeral = self._child is not None
        self._told, child = launch.attach_or_start(self._state, self._settings, until_eof=ephemeral)
        self._service, self._events = _service_string(self._told), _events_string(self._told)
        if ephemeral and child is not None:
            self._child = child
        return self

    def crash(self) -> None:
        """Kill the local hub with SIGKILL, as a power cut would; nothing that it acknowledged is lost."""
        told = self._local("crash()")
        launch.kill(self._state, told)
        if self._child is not None:
            self._child.wait()

    def stop(self) -> None:
        """Stop the local hub in order; what arrived is stored and acknowledged first."""
        told = self._local("stop()")
        launch.stop(self._state, told)
        if self._child is not None:
            self._child.wait()

    def close(self) -> None:
        """Drop the handle, and take back what `activate` set. Only an ephemeral hub is stopped."""
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._before.clear()
        for edge in self._edges.values():
            edge.close()
        self._edges.clear()
        for simulator in self._simulators:
            simulator.close()
        self._simulators.clear()
        if self._child is not None:
            self._child.close()
            self._child = None
            if self._told is not None:
                release(self._told.host, self._state.hub_file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _local(self, what: str) -> HubFile:
        if self._told is None:
            raise HubNotRunning(f"{what} is for the local hub, and this lab is {self.hostname} on Azure.")
        return self._told

    def __repr__(self) -> str:
        return f"Lab({'local' if self.is_local else 'Azure'}, {self.hostname})"

    def _repr_html_(self) -> str:
        rows = {"hub": f"{self.hostname} ({'local' if self.is_local else 'on Azure'})"}
        if self._told is not None:
            told = self._told
            rows["devices connect to"] = f"MQTT {told.mqtt_port}, TLS"
            rows["services connect to"] = f"HTTPS {told.https_port}, AMQP {told.amqp_port}"
            rows["built-in endpoint"] = f"{EVENTS_NAME}, AMQP {told.plain_amqp_port} (plain, loopback only)"
            if told.storage:
                rows["storage"] = StorageAccount.parse(told.storage).endpoint
        cells = "".join(
            f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{escape(text)}</td></tr>'
            for name, text in rows.items()
        )
        return f"<table><caption>IoT Edge Lab</caption>{cells}</table>"


def _delete(client: RestClient, device: str) -> bool:
    """Delete a device; False if it was gone. Waits where the hub is throttled (an S1 unit: 100 a minute)."""
    waits = iter(_WAITS)
    while True:
        try:
            client.call("DELETE", f"/devices/{quote(device)}", headers={"If-Match": "*"})
            return True
        except RestError as error:
            if error.http_status == 404:
                return False
            wait = next(waits, None) if error.http_status == 429 else None
            if wait is None:
                raise
            time.sleep(error.retry_after or wait)


def is_local(service: str, told: HubFile | None) -> bool:
    """Whether a service connection string stands for the local hub (`told`), and not for one on Azure.

    A loopback name is a lab's: perhaps another state folder's, or a hub's that is long gone; `open` goes by the
    state folder then. The name by which the hub is reached through its proxy could be one on Azure too, so there
    the key decides.
    """
    parsed = ConnectionString.parse(service)
    if is_loopback(parsed.host):
        return True
    by_its_key = told is not None and parsed.shared_access_key in told.keys.values()
    return by_its_key and parsed.host.lower() == AZURE_NAME


def _service_string(told: HubFile) -> str:
    return ConnectionString(
        host_name=f"{told.hostname}:{told.https_port}",
        shared_access_key_name="iothubowner",
        shared_access_key=told.keys["iothubowner"],
    ).format()


def _events_string(told: HubFile) -> str:
    return ConnectionString(
        endpoint=f"sb://{told.hostname}:{told.plain_amqp_port}/",
        shared_access_key_name="iothubowner",
        shared_access_key=told.keys["iothubowner"],
        use_development_emulator=True,
        entity_path=EVENTS_NAME,
    ).format()
