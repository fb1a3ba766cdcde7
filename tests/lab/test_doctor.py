"""The doctor: each trouble that it knows, made on purpose."""

import contextlib
import os
import socket
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from iotedge_lab import __version__
from iotedge_lab.clock import FakeClock
from iotedge_lab.doctor import CHECKS, Level, diagnose, examine
from iotedge_lab.doctor.probe import probe
from iotedge_lab.doctor.situation import Machine, Situation
from iotedge_lab.hub.state import HubFile, StateFolder
from iotedge_lab.lab import STORAGE_VARIABLE, Lab
from iotedge_lab.serve import claims
from iotedge_lab.serve.addresses import can_bind
from iotedge_lab.serve.certificates import Authority

DAY = 86_400
KEY = "bGFiIGtleSBmb3IgdGhlIHRlc3Rz"
PORT_443 = "port 443"
SERVICE = "IOTHUB_CONNECTION_STRING"
EVENTS = "EVENTHUB_CONNECTION_STRING"
STORAGE = f"AccountName=lab;AccountKey={KEY};BlobEndpoint=https://127.0.0.1:20001/lab"
LIFE = "INFO iotedge_lab.hub.process: hub h"


def string(host="127.0.0.77:8443", key=KEY):
    return f"HostName={host};SharedAccessKeyName=iothubowner;SharedAccessKey={key}"


def events(endpoint="127.0.0.77:5672", key=KEY):
    return (
        f"Endpoint=sb://{endpoint}/;SharedAccessKeyName=iothubowner;SharedAccessKey={key};EntityPath=e;"
        "UseDevelopmentEmulator=true"
    )


@pytest.fixture
def well(tmp_path):
    """A lab in perfect health, whose hub is said to run; nothing listens."""
    state = StateFolder(tmp_path / "state")
    state.prepare()
    clock = FakeClock(1_800_000_000.0)
    bundle = Authority.open(state.certificates, clock).bundle_file
    told = HubFile(
        hub_id="h", pid=4711, host="127.0.0.77", hostname="127.0.0.77", mqtt_port=8883, amqp_port=5671,
        plain_amqp_port=5672, https_port=8443, proxy_port=40443, port_443=True, started=clock.now() - 60,
        version=__version__, keys={"iothubowner": KEY}, storage=STORAGE,
    )  # fmt: skip
    state.write(told)
    environ = {
        SERVICE: string(),
        EVENTS: events(),
        STORAGE_VARIABLE: STORAGE,
        "SSL_CERT_FILE": str(bundle),
        "REQUESTS_CA_BUNDLE": str(bundle),
    }
    return Situation(
        state=state, environ=environ, machine=Machine((3, 11, 7), "Linux", "x86_64"), clock=clock, told=told,
        running=True, trouble="", ports=(8883, 5671, 5672, 8443), importing=lambda _name: object(),
        free_bytes=lambda _path: 10**10, kind_of_file_system=lambda _path: "ext4",
    )  # fmt: skip


def only(situation, name):
    """The one finding of that name."""
    (found,) = [each for each in diagnose(situation) if each.name == name]
    return found


def check(situation, name, level, *said):
    """That finding has this level, says these things, and has a fix unless it is OK."""
    found = only(situation, name)
    assert found.level is level, found
    for each in said:
        assert each in f"{found.said}\n{found.fix}"
    assert bool(found.fix) == (level is not Level.OK), found
    return found


def without(mapping, *names, **more):
    return {name: value for name, value in (mapping | more).items() if name not in names}


def test_a_healthy_lab_has_only_ok(well):
    """Every check speaks, and none complains."""
    findings = diagnose(well)
    assert len(findings) >= len(CHECKS)
    assert [each for each in findings if each.level is not Level.OK] == []
    assert len({each.name for each in findings}) == len(findings)
    assert all(set(each.to_json()) == {"name", "level", "said", "fix"} for each in findings)


# -- Python --------------------------------------------------------------------------------------------


def failing(*names, error=ModuleNotFoundError):
    def importing(name):
        if name in names:
            raise error(f"No module named {name!r}")
        return object()

    return importing


@pytest.mark.parametrize(
    ("version", "level", "said"),
    [
        ((3, 10, 2), Level.FAIL, "needs Python 3.11"),
        ((3, 11, 0), Level.OK, "Python 3.11.0 on Linux x86_64"),
        ((3, 13, 9), Level.OK, "Python 3.13.9"),
        ((3, 14, 0), Level.WARN, "no wheels of uamqp beyond Python 3.13"),
    ],
)
def test_python_versions(version, level, said, well):
    """3.11 to 3.13 are supported; beyond, the service SDK is missing."""
    check(replace(well, machine=Machine(version, "Linux", "x86_64")), "python", level, said)


@pytest.mark.parametrize(
    ("machine", "broken", "level", "said"),
    [
        (Machine((3, 11, 0), "Darwin", "arm64"), ("azure.iot.hub", "uamqp"), Level.WARN, "on Darwin arm64"),
        (Machine((3, 11, 0), "Linux", "aarch64"), ("azure.iot.hub", "uamqp"), Level.WARN, "devcontainer"),
        (Machine((3, 14, 0), "Linux", "x86_64"), ("azure.iot.hub", "uamqp"), Level.WARN, "python3.11 -m venv"),
        (Machine((3, 11, 0), "Linux", "x86_64"), ("azure.iot.hub", "six"), Level.FAIL, "pip install six"),
        (Machine((3, 11, 0), "Linux", "x86_64"), ("azure.iot.hub", "uamqp"), Level.WARN, "uamqp cannot be imported"),
        (Machine((3, 11, 0), "Linux", "x86_64"), ("azure.iot.hub",), Level.WARN, "pip install 'iotedge-lab[service]'"),
        (Machine((3, 11, 0), "Windows", "AMD64"), (), Level.OK, ""),
    ],
)  # fmt: skip
def test_the_service_sdk_and_its_wheels(machine, broken, level, said, well):
    """Where uamqp has no wheel, it says what does not work and what still does."""
    found = check(replace(well, machine=machine, importing=failing(*broken)), "azure-iot-hub", level, said)
    assert level is not Level.WARN or "'iotedge-lab device'" in found.said


@pytest.mark.parametrize(
    ("module", "name"), [("azure.iot.device", "azure-iot-device"), ("azure.eventhub", "azure-eventhub")]
)
@pytest.mark.parametrize("error", [ModuleNotFoundError, OSError, AttributeError])
def test_the_sdks_that_are_needed(module, name, error, well):
    """Whatever breaks while they load."""
    check(
        replace(well, importing=failing(module, error=error)),
        name,
        Level.FAIL,
        f"pip install {name}",
        error.__name__,
    )


# -- the state folder ----------------------------------------------------------------------------------


def test_a_folder_open_to_others(well):
    """And a file in it that is."""
    well.state.path.chmod(0o755)
    check(well, "privacy", Level.WARN, "mode 0755", f"chmod 700 {well.state.path}")
    well.state.path.chmod(0o700)
    (well.state.path / "hub.json").chmod(0o644)
    check(well, "privacy", Level.WARN, f"chmod 600 {well.state.path}/hub.json")


def test_a_folder_that_is_a_file(well, tmp_path):
    """With --state as the way out."""
    (tmp_path / "file").write_text("")
    check(
        replace(well, state=StateFolder(tmp_path / "file")),
        "state folder",
        Level.FAIL,
        "is a file",
        "--state",
    )


@pytest.mark.parametrize(("what", "fix"), [("", "chmod u+rwx"), ("hub.json", "sudo chown -R")])
def test_a_folder_that_cannot_be_written(what, fix, well, monkeypatch):
    """The folder, or what sudo left in it. (The tests may run as root, whom no mode stops.)"""
    wanted = well.state.path / what
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != wanted and real(path, mode))
    check(well, "state folder", Level.FAIL, "by this user", fix)


def test_a_folder_on_a_file_system_that_can_only_be_read(well, monkeypatch):
    """No right would help there."""
    monkeypatch.setattr(os, "access", lambda path, _mode: path != well.state.path)
    monkeypatch.setattr(os, "statvfs", lambda _path: SimpleNamespace(f_flag=os.ST_RDONLY))
    found = check(well, "state folder", Level.FAIL, "only be read", "--state")
    assert "chmod" not in found.fix
    assert "sudo" not in found.fix


def test_a_folder_to_be_made(well, tmp_path):
    """Is no trouble."""
    fresh = replace(well, state=StateFolder(tmp_path / "a" / "b"), told=None, running=False, ports=())
    check(fresh, "state folder", Level.OK, "made when the hub first starts")
    check(fresh, "hub", Level.OK, "iotedge-lab up")
    check(fresh, "certificates", Level.OK, "made when")


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "9p", "fuse.sshfs"])
def test_a_network_file_system(kind, well):
    """The store would not work there."""
    check(
        replace(well, kind_of_file_system=lambda _path: kind),
        "file system",
        Level.FAIL,
        kind,
        "IOTEDGE_LAB_STATE",
    )


@pytest.mark.parametrize(
    ("free", "level"), [(199 * 2**20, Level.WARN), (5 * 2**20, Level.FAIL), (201 * 2**20, Level.OK)]
)
def test_a_full_disk(free, level, well):
    """Little is a warning, none a failure."""
    check(replace(well, free_bytes=lambda _path: free), "disk", level, "MB free")


def test_what_cannot_be_examined_is_a_finding(well):
    """And no traceback; the other checks go on."""

    def broken(_path):
        raise PermissionError(13, "Permission denied", "/x")

    check(replace(well, free_bytes=broken), "disk", Level.FAIL, "could not be examined", "/x")


# -- the hub -------------------------------------------------------------------------------------------


def test_a_hub_that_does_not_answer(well):
    """With the reason, and where its log is."""
    trouble = "nothing listens on 127.0.0.77:8443"
    check(replace(well, trouble=trouble), "hub", Level.FAIL, trouble, "down", "hub.log")


def test_a_hub_of_another_version(well):
    """It was running when the package was upgraded."""
    check(replace(well, told=replace(well.told, version="0.0.1")), "hub", Level.WARN, "version 0.0.1", "down")


@pytest.mark.parametrize(
    ("log", "level", "said"),
    [
        (None, Level.WARN, "it died (was process 4711)"),
        (f"{LIFE} serves on x (process 4711)\n", Level.WARN, "harmless"),
        (f"{LIFE} serves on x\n{LIFE} stops\n", Level.OK, "stopped"),
        (f"{LIFE} stops\n{LIFE} serves on x\nINFO other: stops\n", Level.WARN, "iotedge-lab up"),
    ],
)  # fmt: skip
def test_a_hub_that_ended(log, level, said, well):
    """Stopped in order, or died: then what it left is harmless and up mends it."""
    if log is not None:
        well.state.log_file.write_text(log)
    check(replace(well, running=False), "hub", level, said)


@pytest.mark.parametrize(("running", "level"), [(False, Level.WARN), (True, Level.FAIL)])
def test_a_damaged_hub_file(running, level, well):
    """Half a file of a hub that is gone is harmless; a hub that has said nothing is not."""
    (well.state.path / "hub.json").write_text('{"hub_id": "h"')
    assert well.state.read() is None
    check(replace(well, told=None, running=running), "hub", level, "hub.json")


@contextlib.contextmanager
def listening(host, port=0):
    with socket.socket() as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen()
        yield made.getsockname()[1]


def test_a_taken_port(well):
    """Who has it, where the hub would move, and how to stop the other."""
    with listening("127.0.0.77") as port:
        stopped = replace(well, running=False, ports=(port,))
        found = check(
            stopped,
            "ports",
            Level.WARN,
            f"port {port} of 127.0.0.77",
            f"pid {os.getpid()}",
            "would move to 127.0.0.",
        )
        assert found.fix == f"kill {os.getpid()}"
    check(replace(well, running=False, ports=(port,)), "ports", Level.OK, "free")


def test_where_a_hub_would_move_is_nobodys(well, monkeypatch, tmp_path):
    """An address at which another lab's hub lives is passed over, though that hub is down."""
    monkeypatch.setattr(claims, "folder", lambda: tmp_path)
    other = tmp_path / "hub.json"
    with listening("127.0.0.77") as port:
        stopped = replace(well, running=False, ports=(port,))
        free = claims.would_bind([port], well.state.hub_file)
        assert f"would move to {free}" in only(stopped, "ports").said
        other.write_text(f'{{"host": "{free}"}}')
        claims.claim(free, other)
        assert f"would move to {free}" not in only(stopped, "ports").said


def test_a_listener_on_all_addresses(well):
    """It takes the port on every loopback address, so there is nowhere to move to."""
    with listening("0.0.0.0") as port:
        check(
            replace(well, running=False, ports=(port,)),
            "ports",
            Level.FAIL,
            "every loopback address",
            f"kill {os.getpid()}",
        )


def test_a_port_held_by_another_labs_hub(well, tmp_path):
    """Is given back by that lab's own command."""
    code = (
        "import socket, sys\ns = socket.create_server(('127.0.0.77', 0))\nprint(s.getsockname()[1], flush=True)\n"
        "sys.stdin.read()"
    )
    other = tmp_path / "other lab"
    command = [sys.executable, "-c", code, "iotedge_lab.hub", "--state", str(other)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        port = int(process.stdout.readline())
        found = only(replace(well, running=False, ports=(port,)), "ports")
        process.stdin.close()
    assert found.fix == f"iotedge-lab down --state '{other}'"


@pytest.mark.parametrize("running", [True, False])
def test_443_that_cannot_be_bound(running, well, monkeypatch):
    """What does not work then, and the proxy as the way; with its variables set, nothing is wrong."""
    denied = type(can_bind("127.0.0.1", 0))(
        ok=False, reason="Port 443 is privileged, and this user may not listen on it."
    )
    monkeypatch.setattr(
        "iotedge_lab.doctor.hub.can_bind", lambda _host, port: denied if port == 443 else True
    )
    lacking = replace(well, running=running, told=replace(well.told, port_443=False))
    check(lacking, PORT_443, Level.WARN, "MQTT over WebSocket", "file upload", "iotedge-lab env --proxy")
    proxy = "http://127.0.0.77:40443"
    check(
        replace(lacking, environ=well.environ | {"HTTPS_PROXY": proxy, "mqtt_proxy": proxy}),
        PORT_443,
        Level.OK,
        "around it",
    )


@pytest.mark.parametrize(
    ("days", "running", "level", "said"),
    [
        (0, True, Level.OK, "valid until"),
        (334, True, Level.OK, "valid until"),
        (336, True, Level.WARN, "they expire on"),
        (336, False, Level.OK, "valid until"),  # the next start renews it
        (400, True, Level.FAIL, "CERTIFICATE_VERIFY_FAILED"),
        (400, False, Level.WARN, "iotedge-lab up"),
        (-3, True, Level.FAIL, "timedatectl"),
    ],
)
def test_certificates_and_the_clock(days, running, level, said, well):
    """Expired, soon to expire, and not yet valid because the clock is behind."""
    check(
        replace(well, clock=FakeClock(well.clock.now() + days * DAY), running=running),
        "certificates",
        level,
        said,
    )


def test_a_foreign_certificate(well, tmp_path):
    """Copied from another lab: it names the file to delete."""
    Authority.open(tmp_path / "other", well.clock)
    (well.state.certificates / "server.pem").write_bytes((tmp_path / "other" / "server.pem").read_bytes())
    check(
        well,
        "certificates",
        Level.FAIL,
        "was not signed by the root beside it",
        f"rm {well.state.certificates}/server.pem",
    )


@pytest.mark.parametrize("name", ["server.pem", "lab-ca.pem"])
def test_a_damaged_or_missing_certificate(name, well):
    """A running hub needs both."""
    (well.state.certificates / name).write_text("nonsense")
    check(well, "certificates", Level.FAIL, "is damaged", name)
    (well.state.certificates / name).unlink()
    check(well, "certificates", Level.FAIL, "is missing", name)


def test_a_clock_that_was_set_back(well):
    """The hub started in what is now the future."""
    check(
        replace(well, clock=FakeClock(well.told.started - 600)), "clock", Level.WARN, "10 minutes", "date -u"
    )


# -- variables -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "level", "said"),
    [
        (None, Level.WARN, "is not set"),
        ("HostName=x", Level.FAIL, "cannot be read"),
        ("HostName=127.0.0.77;DeviceId=d;SharedAccessKey=a2V5", Level.FAIL, "is for a device"),
        (events(), Level.FAIL, "is for Event Hubs"),
        (string("127.0.0.78:8443"), Level.FAIL, "of another lab"),
        (string("127.0.0.77:9443"), Level.FAIL, "of another lab"),
        (string(key="b2xk"), Level.FAIL, "401"),
        (string("127.0.0.77"), Level.OK, "names this hub"),
        (string("lab.azure-devices.net"), Level.OK, "names this hub"),
        (string("lab.azure-devices.net", key="b2xk"), Level.OK, "use that hub"),
        (string("contoso.azure-devices.net"), Level.OK, "use that hub"),
    ],
)
def test_the_service_string(value, level, said, well):
    """This hub's, another lab's, Azure's, a stale one; the key is never shown."""
    environ = without(well.environ, SERVICE) if value is None else well.environ | {SERVICE: value}
    found = check(replace(well, environ=environ), SERVICE, level, said)
    assert KEY not in found.said + found.fix
    assert level is Level.OK or found.fix == f'eval "$(iotedge-lab env --state {well.state.path})"'


def test_a_service_string_before_the_first_start(well):
    """The folder never had a hub: start one first."""
    found = check(replace(well, told=None, running=False), SERVICE, Level.FAIL, "has never had one")
    assert found.fix.startswith("iotedge-lab up --state")


@pytest.mark.parametrize(
    ("service", "value", "level", "said"),
    [
        (string(), None, Level.WARN, "cannot read events"),
        (string(), "Endpoint=x", Level.FAIL, "cannot be read"),
        (string(), string(), Level.FAIL, "no Event Hubs connection string"),
        (string(), events("127.0.0.78:5672"), Level.FAIL, "not this hub's endpoint"),
        (string(), events(key="b2xk"), Level.FAIL, "its key is not"),
        (string(), events("x.servicebus.windows.net"), Level.FAIL, "readers read another"),
        (string("c.azure-devices.net"), events(), Level.FAIL, "readers read another"),
        (string("c.azure-devices.net"), events("x.servicebus.windows.net"), Level.OK, "names x.servicebus"),
        (string("c.azure-devices.net"), None, Level.WARN, "Built-in endpoints"),
    ],
)
def test_the_events_string(service, value, level, said, well):
    """It must be of the same hub."""
    environ = without(well.environ, EVENTS) | {SERVICE: service} | ({} if value is None else {EVENTS: value})
    check(replace(well, environ=environ), EVENTS, level, said)


@pytest.mark.parametrize(
    ("name", "symptom"),
    [("SSL_CERT_FILE", "ClientError ... TLS exchanges"), ("SSL_CERT_FILE", "TimeoutError: Authorization timeout."),
     ("REQUESTS_CA_BUNDLE", "ClientRequestError")],
)  # fmt: skip
def test_trust(name, symptom, well, tmp_path):
    """Unset, gone, or without the lab's root: and what the SDKs then say."""
    check(replace(well, environ=without(well.environ, name)), name, Level.FAIL, "is not set", symptom)
    check(replace(well, environ=without(well.environ, name, SERVICE)), name, Level.WARN, symptom)
    gone = str(tmp_path / "gone.pem")
    check(replace(well, environ=well.environ | {name: gone}), name, Level.FAIL, "does not exist", symptom)
    other = Authority.open(tmp_path / "other", well.clock).bundle_file
    check(replace(well, environ=well.environ | {name: str(other)}), name, Level.FAIL, "is not;", symptom)
    alone = well.environ | {name: str(well.ca_file)}
    check(replace(well, environ=alone), name, Level.OK)


def test_trust_for_azure(well, tmp_path):
    """The lab's root plays no part, and a file that does not exist breaks Azure as well."""
    azure = {SERVICE: string("c.azure-devices.net")}
    check(replace(well, environ=azure), "SSL_CERT_FILE", Level.OK)
    broken = replace(well, environ=azure | {"SSL_CERT_FILE": str(tmp_path / "gone")})
    check(broken, "SSL_CERT_FILE", Level.FAIL, "unset SSL_CERT_FILE")


def test_trust_of_node(well, tmp_path):
    """Only where it is set."""
    (tmp_path / "empty.pem").write_text("")
    environ = well.environ | {"NODE_EXTRA_CA_CERTS": str(tmp_path / "empty.pem")}
    check(
        replace(well, environ=environ), "NODE_EXTRA_CA_CERTS", Level.FAIL, "UNABLE_TO_VERIFY_LEAF_SIGNATURE"
    )


@pytest.mark.parametrize(
    ("variables", "level", "said"),
    [
        ({"HTTPS_PROXY": "http://u:secret@proxy.corp:3128"}, Level.FAIL, "away from this machine"),
        ({"https_proxy": "proxy.corp:3128"}, Level.FAIL, "export NO_PROXY=localhost,127.0.0.1,127.0.0.77"),
        (
            {"ALL_PROXY": "socks5://proxy.corp:1080", "NO_PROXY": "a.corp"},
            Level.FAIL,
            "NO_PROXY=a.corp,localhost",
        ),
        (
            {"HTTPS_PROXY": "http://proxy.corp:3128", "no_proxy": "127.0.0.77"},
            Level.OK,
            "leaves 127.0.0.77 out",
        ),
        (
            {"HTTPS_PROXY": "http://proxy.corp:3128", "NO_PROXY": "127.0.0.0/8"},
            Level.OK,
            "leaves 127.0.0.77 out",
        ),
        ({"HTTPS_PROXY": "http://proxy.corp:3128", "NO_PROXY": "*"}, Level.OK, "leaves 127.0.0.77 out"),
        ({"HTTPS_PROXY": "http://127.0.0.77:40443"}, Level.OK, "the hub's own proxy"),
        ({"mqtt_proxy": "http://127.0.0.77:40443"}, Level.OK, "the hub's own proxy"),
        ({"mqtt_proxy": "http://127.0.0.77:9"}, Level.FAIL, "nothing listens"),
        ({"mqtt_proxy": "http://proxy.corp:3128"}, Level.FAIL, "unset mqtt_proxy"),
        ({"mqtt_proxy": "http://proxy.corp:3128", "NO_PROXY": "127.0.0.0/8"}, Level.FAIL, "unset mqtt_proxy"),
        ({"HTTPS_PROXY": "http://[::bad"}, Level.FAIL, "away from this machine"),
    ],
)
def test_proxies(variables, level, said, well):
    """Nothing leads this machine's own traffic away; a password in a proxy's address is not shown."""
    name = next(iter(variables))
    found = check(replace(well, environ=well.environ | variables), name, level, said)
    assert "secret" not in found.said + found.fix


def test_the_hubs_proxy_without_the_hub(well):
    """Then up is what is missing."""
    environ = well.environ | {"HTTPS_PROXY": "http://127.0.0.77:40443"}
    check(replace(well, environ=environ, running=False), "HTTPS_PROXY", Level.WARN, "iotedge-lab up")


def test_proxies_do_not_matter_for_azure(well):
    """Whoever needs one to get out has one."""
    environ = {SERVICE: string("c.azure-devices.net"), "HTTPS_PROXY": "http://proxy.corp:3128"}
    assert not [
        each for each in diagnose(replace(well, environ=environ)) if each.name in ("HTTPS_PROXY", "proxies")
    ]


# -- for real ------------------------------------------------------------------------------------------


def test_a_real_hub_is_well_and_its_death_is_seen(tmp_path):
    """Running, killed, and answering for another: on real processes."""
    with Lab.open(tmp_path / "state", ephemeral=True) as lab:
        state = StateFolder(lab.state_dir)
        told = state.read()
        findings = examine(state, lab.env(proxy=True))
        bad = [each for each in findings if each.level is not Level.OK]
        assert bad == []
        assert f"it runs on {told.hostname} (process {told.pid}) and answers" in [
            each.said for each in findings
        ]
        assert "is another hub" in probe(state, replace(told, hub_id="someone else"))
        Authority.open(tmp_path / "other" / "certificates", FakeClock(told.started))
        assert "this lab did not make" in probe(StateFolder(tmp_path / "other"), told)
        lab.crash()
        assert probe(state, told) == f"nothing listens on {told.host}:{told.https_port}"
        (found,) = [each for each in examine(state, lab.env()) if each.name == "hub"]
    assert (found.level, found.fix) == (Level.WARN, f"iotedge-lab up --state {state.path} mends it")


def test_a_server_that_is_silent(well, monkeypatch):
    """Whoever has the port is told apart from a hub."""
    monkeypatch.setattr("iotedge_lab.doctor.probe._SECONDS", 0.3)
    with listening("127.0.0.1") as port:
        quiet = replace(well.told, host="127.0.0.1", https_port=port)
        assert "does not answer within" in probe(well.state, quiet)
