"""`Lab`: the handle that notebooks and tests hold on a hub."""

import contextlib
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from hub_clients import RawDevice, some_key

from iotedge_lab.errors import ConnectionStringError, HubNotRunning, UsageError
from iotedge_lab.lab import EVENTS_VARIABLE, SERVICE_VARIABLE, STORAGE_VARIABLE, Lab
from iotedge_lab.rest import RestError
from iotedge_lab.wire.connection_string import ConnectionString

VARIABLES = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "IOTEDGE_LAB_STATE",
    SERVICE_VARIABLE,
    EVENTS_VARIABLE,
    STORAGE_VARIABLE,
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A running hub that most of these tests share; none may stop it."""
    with Lab.open(tmp_path_factory.mktemp("lab") / "state", ephemeral=True) as opened:
        yield opened


@pytest.fixture
def own(tmp_path):
    """A hub of the test's own."""
    with Lab.open(tmp_path / "state", ephemeral=True) as opened:
        yield opened


# -- what it tells ------------------------------------------------------------------------------------


def test_the_strings_are_what_the_sdks_take(lab):
    """HostName with the HTTPS port for services, without for devices, and the emulator's form for events."""
    service = ConnectionString.parse(lab.service_connection_string)
    assert service.host_name == f"{lab.hostname}:8443"
    assert service.shared_access_key_name == "iothubowner"
    events = ConnectionString.parse(lab.events_connection_string)
    assert events.endpoint == f"sb://{lab.hostname}:5672/"
    assert events.use_development_emulator
    assert events.entity_path == lab.events_name
    lab.rest().call("PUT", "/devices/d", {})
    lab.rest().call("PUT", "/devices/d/modules/m", {})
    device = ConnectionString.parse(lab.device_connection_string("d"))
    module = ConnectionString.parse(lab.device_connection_string("d", "m"))
    assert (device.host_name, device.device_id, device.module_id) == (lab.hostname, "d", None)
    assert (module.device_id, module.module_id) == ("d", "m")
    assert device.shared_access_key != module.shared_access_key


def test_a_device_that_has_no_string(lab):
    """An unknown device is DeviceNotFound, one with a certificate a UsageError."""
    with pytest.raises(RestError) as caught:
        lab.device_connection_string("nobody")
    assert (caught.value.http_status, caught.value.error) == (404, "DeviceNotFound")
    body = {"authentication": {"type": "selfSigned", "x509Thumbprint": {"primaryThumbprint": "A1" * 20}}}
    lab.rest().call("PUT", "/devices/cert", body)
    with pytest.raises(UsageError, match="certificate"):
        lab.device_connection_string("cert")


def test_status_counts(lab):
    """`status` tells of devices, connections, messages and groups."""
    lab.rest().call("PUT", "/devices/counted", {})
    before = lab.status()
    with RawDevice(lab, "counted") as one:
        one.send(b"1", b"2")
        now = lab.status()
        assert now["connected"] == before["connected"] + 1
        assert now["messages"] == before["messages"] + 2
    lab.create_consumer_group("here")
    lab.create_consumer_group("HERE")
    assert [name for name in lab.status()["consumerGroups"] if name.lower() == "here"] == ["here"]


def test_env(lab):
    """The variables of the SDKs; with `proxy` those that lead 443 to where the hub listens."""
    env = lab.env()
    assert set(env) == set(VARIABLES)
    assert env[SERVICE_VARIABLE] == lab.service_connection_string
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        assert env[name] == str(lab.ca_file)
    assert Path(env["NODE_EXTRA_CA_CERTS"]).read_text().strip() in Path(env["SSL_CERT_FILE"]).read_text()
    proxied = lab.env(proxy=True)
    if lab._told.port_443:
        assert proxied == env
    else:
        assert (
            proxied["mqtt_proxy"]
            == proxied["HTTPS_PROXY"]
            == f"http://{lab._told.host}:{lab._told.proxy_port}"
        )


def test_activate_and_close_restore_the_environment(lab, monkeypatch):
    """`close` takes back exactly what `activate` has set, what was there before comes back."""
    monkeypatch.setenv("SSL_CERT_FILE", "mine.pem")
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    before = dict(os.environ)
    handle = Lab.open(lab.state_dir)
    assert handle.activate() is handle
    assert os.environ[SERVICE_VARIABLE] == lab.service_connection_string
    assert os.environ["SSL_CERT_FILE"] == str(lab.ca_file)
    handle.activate(proxy=True)
    handle.close()
    handle.close()
    assert dict(os.environ) == before
    assert lab.status()["hub"]


def test_a_handle_shows_no_key(lab):
    """Neither repr nor the notebook's table holds a key."""
    shown = repr(lab) + lab._repr_html_() + repr(lab._told) + repr(lab._settings)
    assert lab.hostname in lab._repr_html_()
    assert not [name for name, key in lab._told.keys.items() if key in shown]


def test_client_options_are_for_binder_on_azure(lab, monkeypatch):
    """Locally nothing is needed, on Binder neither."""
    monkeypatch.setenv("BINDER_SERVICE_HOST", "x")
    assert lab.client_options == {}


# -- attaching ----------------------------------------------------------------------------------------


def test_open_attaches_to_the_hub_that_runs(lab):
    """A second handle on the folder is on the same hub; closing it stops nothing."""
    with Lab.open(lab.state_dir) as second, Lab.open(lab.state_dir, ephemeral=True) as third:
        assert second.status()["hub"] == third.status()["hub"] == lab.status()["hub"]
        assert second.service_connection_string == lab.service_connection_string
    assert lab.status()["hub"]


def test_many_open_at_once_and_get_one_hub(tmp_path):
    """Handles opened at the same moment on a fresh folder share one hub, and none fails."""
    opened, failed = [], []

    def attach():
        try:
            opened.append(Lab.open(tmp_path / "state"))
        except Exception as error:  # noqa: BLE001 - told below
            failed.append(error)

    threads = [threading.Thread(target=attach) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    try:
        assert failed == []
        assert len({lab._told.pid for lab in opened}) == 1
    finally:
        for lab in opened[:1]:
            lab.stop()


def test_open_leaves_the_hub_running_and_stop_ends_it(tmp_path):
    """A hub that is not ephemeral outlives its handle; another handle finds and stops it."""
    with Lab.open(tmp_path / "state") as first:
        pid = first._told.pid
    assert psutil.pid_exists(pid)
    with Lab.open(tmp_path / "state") as second:
        assert second._told.pid == pid
        second.stop()
        second.stop()
        with pytest.raises(HubNotRunning):
            second.status()
        with pytest.raises(HubNotRunning):
            second.crash()
    _gone(pid)


def test_an_ephemeral_hub_ends_with_its_handle(tmp_path):
    """`close`, or the end of the `with` block, stops it."""
    with Lab.open(tmp_path / "state", ephemeral=True) as lab:
        pid = lab._told.pid
        assert psutil.pid_exists(pid)
    _gone(pid)


@pytest.mark.parametrize("ending", ["kill", "exit", "raise"])
def test_an_ephemeral_hub_does_not_outlive_its_process(tmp_path, ending):
    """However the process ends that opened it, killed as well, its hub ends too."""
    program = (
        "import sys; from iotedge_lab.lab import Lab\n"
        "lab = Lab.open(sys.argv[1], ephemeral=True)\n"
        "print(lab._told.pid, flush=True)\n"
        "if sys.argv[2] == 'kill': sys.stdin.read()\n"
        "if sys.argv[2] == 'raise': raise SystemExit(3)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program, str(tmp_path / "state"), ending],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as parent:  # fmt: skip
        pid = int(parent.stdout.readline())
        if ending == "kill":
            parent.kill()
    _gone(pid)


def _gone(pid):
    """The process ends within seconds."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        process.wait(60)
        assert not process.is_running()  # by its start too: the number may be another's by now


def test_two_labs_have_two_addresses(lab, own):
    """Each hub has an address of its own, with the same ports, and knows nothing of the other."""
    assert lab.hostname != own.hostname
    ports = [(one._told.mqtt_port, one._told.amqp_port, one._told.https_port) for one in (lab, own)]
    assert ports == [(8883, 5671, 8443)] * 2
    assert lab.status()["hub"] != own.status()["hub"]
    own.rest().call("PUT", "/devices/only-here", {})
    with pytest.raises(RestError):
        lab.rest().call("GET", "/devices/only-here")
    assert not set(lab._told.keys.values()) & set(own._told.keys.values())


@pytest.mark.parametrize("way", ["crash", "stop"])
def test_a_restart_keeps_everything(own, way):
    """Address, id, keys and connection strings are the same after a crash and after a stop."""
    own.rest().call("PUT", "/devices/d", {})
    told = own._told
    before = (told.host, told.hub_id, told.keys, told.proxy_port, own.device_connection_string("d"))
    getattr(own, way)()
    _gone(told.pid)
    with pytest.raises(HubNotRunning):
        own.status()
    assert own.start() is own
    own.start()
    told = own._told
    assert (told.host, told.hub_id, told.keys, told.proxy_port, own.device_connection_string("d")) == before
    assert told.pid == own.start()._told.pid


def test_a_restarted_ephemeral_hub_still_ends_with_its_handle(tmp_path):
    """After crash and start the hub belongs to the handle as the first one did."""
    with Lab.open(tmp_path / "state", ephemeral=True) as lab:
        lab.crash()
        lab.start()
        pid = lab._told.pid
    _gone(pid)


def test_start_after_activate_proxy(tmp_path, monkeypatch):
    """A hub that is started where the proxy's variables are set is not led to itself by them."""
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    with Lab.open(tmp_path / "state", ephemeral=True) as lab:
        lab.activate(proxy=True)
        lab.crash()
        lab.start()
        environment = psutil.Process(lab._told.pid).environ()
        own = f"http://{lab._told.host}:{lab._told.proxy_port}"
        assert not [name for name, value in environment.items() if value == own]
        assert lab.status()["hub"]


def test_reset(own):
    """Local reset deletes devices, messages, sessions and groups, says how many, and keeps keys and numbers."""
    for name in ("a", "b"):
        own.rest().call("PUT", f"/devices/{name}", {})
    own.create_consumer_group("mine")
    with RawDevice(own, "a") as one:
        one.send(b"1", b"2", b"3")
        before = own.service_connection_string
        assert own.reset() == 2
        assert one.closed_by_hub()
    status = own.status()
    assert (status["devices"], status["messages"], status["consumerGroups"]) == (0, 0, ["$Default"])
    assert own.service_connection_string == before
    assert own.reset() == 0
    own.rest().call("PUT", "/devices/a", {})
    with RawDevice(own, "a") as again:
        again.send(b"4")
    assert max(part["last"] for part in own.status()["partitions"]) == 3


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_reset_forgets_the_edge_devices(own, running):
    """An edge device of a hub that was reset is gone with all that it kept, and its namesake begins afresh."""
    for _ in range(2):
        own.rest().call("PUT", "/devices/edge-1", {"deviceId": "edge-1", "capabilities": {"iotEdge": True}})
        edge = own.edge("edge-1")
        assert edge.wait_until_connected().raw["desiredStatus"]["code"] in (
            406,
            417,
        )  # nothing was deployed yet
        kept = own.state_dir / "edges" / "edge-1" / "left-behind"
        assert not kept.exists()
        kept.touch()
        if not running:
            edge.runtime.stop()
        own.reset()
        assert not kept.parent.exists()
        edge.close()
    own.reset()  # without an edge runtime too


# -- which hub ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost:8443", "127.0.0.99:8443", "127.0.0.1"])
def test_a_loopback_string_of_another_lab_is_ignored(lab, monkeypatch, host):
    """A variable that is left from another lab leads nowhere: the state folder decides."""
    monkeypatch.setenv(
        SERVICE_VARIABLE, f"HostName={host};SharedAccessKeyName=iothubowner;SharedAccessKey={some_key()}"
    )
    with Lab.open(lab.state_dir) as handle:
        assert handle.is_local
        assert handle.hostname == lab.hostname
        assert handle.status()["hub"] == lab.status()["hub"]


def test_the_name_behind_the_proxy_is_local_by_its_key(lab, monkeypatch, tmp_path):
    """lab.azure-devices.net with this hub's key is this hub; with another key it is one on Azure of that name."""
    text = "HostName=lab.azure-devices.net;SharedAccessKeyName=iothubowner;SharedAccessKey="
    monkeypatch.setenv(SERVICE_VARIABLE, text + lab._told.keys["iothubowner"])
    with Lab.open(lab.state_dir) as handle:
        assert handle.is_local
        assert handle.service_connection_string == lab.service_connection_string
    with Lab.open(tmp_path / "another") as handle:
        assert not handle.is_local
    monkeypatch.setenv(SERVICE_VARIABLE, text + some_key())
    with Lab.open(lab.state_dir) as handle:
        assert not handle.is_local
    assert not (tmp_path / "another").exists()


def _azure(monkeypatch, host="contoso.azure-devices.net", **events):
    monkeypatch.setenv(
        SERVICE_VARIABLE, f"HostName={host};SharedAccessKeyName=iothubowner;SharedAccessKey={some_key()}"
    )
    for text in events.values():
        monkeypatch.setenv(EVENTS_VARIABLE, text)


def test_azure_starts_nothing(tmp_path, monkeypatch):
    """With the string of a hub on Azure no process is started and no folder made."""
    _azure(monkeypatch)
    monkeypatch.setattr(
        "iotedge_lab.launch.subprocess.Popen", lambda *_, **__: pytest.fail("a process was started")
    )
    with Lab.open(tmp_path / "state") as lab:
        assert not lab.is_local
        assert lab.hostname == "contoso.azure-devices.net"
        assert lab.env() == {SERVICE_VARIABLE: os.environ[SERVICE_VARIABLE]}
        assert some_key() not in repr(lab) + lab._repr_html_()
        for call in (lab.status, lab.crash, lab.stop, lab.start, lambda: lab.create_consumer_group("x")):
            with pytest.raises(HubNotRunning, match="contoso"):
                call()
        with pytest.raises(ConnectionStringError, match=EVENTS_VARIABLE):
            lab.events_connection_string  # noqa: B018 - reading it raises
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("variable", ["BINDER_LAUNCH_HOST", "BINDER_SERVICE_HOST"])
def test_azure_with_its_endpoint_and_on_binder(tmp_path, monkeypatch, variable):
    """The endpoint's name comes from its EntityPath, and on Binder clients use WebSocket."""
    text = f"Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=service;SharedAccessKey={some_key()};EntityPath=the-hub"
    _azure(monkeypatch, events=text)
    with Lab.open(tmp_path) as lab:
        assert lab.events_connection_string == text
        assert lab.events_name == "the-hub"
        assert lab.client_options == {}
        monkeypatch.setenv(variable, "x")
        assert lab.client_options == {"websockets": True}


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "HostName=contoso.azure-devices.net",
        "HostName=contoso.azure-devices.net;DeviceId=d;SharedAccessKey=aaaa",
    ],
)
def test_a_string_that_is_no_services(tmp_path, monkeypatch, text):
    """A malformed string, or a device's, is refused with a word on where to find the right one."""
    monkeypatch.setenv(SERVICE_VARIABLE, text)
    with pytest.raises(ConnectionStringError):
        Lab.open(tmp_path / "state")
    assert not (tmp_path / "state").exists()


# -- the folder ---------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps rights in another way")
@pytest.mark.parametrize("umask", [0o022, 0o000])
def test_everything_in_the_folder_is_private(tmp_path, umask):
    """0700 for folders and 0600 for files, whatever the umask: store, logs, keys and what is told."""
    before = os.umask(umask)
    try:
        with Lab.open(tmp_path / "state", ephemeral=True) as lab:
            lab.rest().call("PUT", "/devices/d", {})
            with RawDevice(lab, "d") as one:
                one.send(b"x")
            found = {
                path: stat.S_IMODE(path.stat().st_mode) for path in [lab.state_dir, *lab.state_dir.rglob("*")]
            }
    finally:
        os.umask(before)
    names = {path.name for path in found}
    assert {"hub.db", "hub.db-wal", "hub.json", "hub.log", "hub.lock", "certificates"} <= names
    assert any(path.suffix in (".key", ".pem") for path in found)
    wrong = {str(path): oct(mode) for path, mode in found.items() if mode & 0o077}
    assert wrong == {}


def test_a_folder_that_was_open_is_closed(tmp_path):
    """A state folder that others could read is made private when a hub starts in it."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    with Lab.open(folder, ephemeral=True):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_hub_json_is_told_whole(own):
    """What the hub tells of itself is complete JSON with the keys that the strings hold."""
    told = json.loads((own.state_dir / "hub.json").read_text())
    assert told["pid"] == own._told.pid
    assert told["keys"]["iothubowner"] in own.service_connection_string
    assert [path.name for path in own.state_dir.glob("hub.json*")] == ["hub.json"]


def test_no_key_in_the_hubs_log(own):
    """After devices, refusals and a restart, no key and no token stands in the log."""
    own.rest().call("PUT", "/devices/d", {})
    with RawDevice(own, "d") as one:
        one.send(b"x")
    with pytest.raises(RestError):
        own.rest().call("GET", "/devices/nobody")
    own.crash()
    own.start()
    log = (own.state_dir / "hub.log").read_text()
    secrets = [
        *own._told.keys.values(),
        ConnectionString.parse(own.device_connection_string("d")).shared_access_key,
    ]
    assert len(secrets) == 6
    assert not [secret for secret in secrets if secret in log]
    assert "SharedAccessSignature" not in log


def test_a_vanished_folder_ends_the_hub(tmp_path):
    """When somebody deletes the state folder, its hub does not stay behind for ever."""
    with Lab.open(tmp_path / "state", ephemeral=True) as lab:
        shutil.rmtree(tmp_path / "state", ignore_errors=True)  # the hub may be writing at that moment
        (tmp_path / "state" / "hub.json").unlink(missing_ok=True)
        end = time.monotonic() + 60
        while psutil.pid_exists(lab._told.pid) and time.monotonic() < end:
            if lab._child._process.poll() is not None:
                break
            time.sleep(0.05)
        assert lab._child._process.poll() is not None
