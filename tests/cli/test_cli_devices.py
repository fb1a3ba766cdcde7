"""device and consumer-group, on a real hub."""

import json

import pytest

from iotedge_lab.cli.devices import masked
from iotedge_lab.hub.state import StateFolder
from iotedge_lab.wire.connection_string import ConnectionString


@pytest.fixture(autouse=True)
def empty(hub):
    """Each test starts with no devices."""
    hub.reset()


def test_a_device_comes_and_goes(cli, state):
    """Create, list, show, delete."""
    assert cli("device", "create", "car1", *state).stdout == "created device car1\n"
    assert cli("device", "create", "edge1", "--edge", *state).stdout == "created Edge device edge1\n"
    assert cli("device", "create", "off", "--disabled", *state).stdout == "created device off (disabled)\n"
    assert cli("device", "create", "car1", "--module", "cam", *state).stdout == "created module car1/cam\n"
    assert cli("device", "list", *state).stdout.splitlines() == [
        "DEVICE  STATUS    CONNECTION    EDGE  AUTHENTICATION",
        "car1    enabled   Disconnected  no    sas",
        "edge1   enabled   Disconnected  yes   sas",
        "off     disabled  Disconnected  no    sas",
    ]
    assert json.loads(cli("device", "show", "car1", "--module", "cam", *state).stdout)["moduleId"] == "cam"
    assert cli("device", "delete", "car1", "--module", "cam", *state).stdout == "deleted module car1/cam\n"
    assert cli("device", "delete", "car1", *state).stdout == "deleted device car1\n"
    listed = json.loads(cli("device", "list", "--json", *state).stdout)
    assert [each["deviceId"] for each in listed] == ["edge1", "off"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "nobody"), "404 DeviceNotFound"),
        (("delete", "nobody"), "404 DeviceNotFound"),
        (("connection-string", "nobody"), "404 DeviceNotFound"),
        (("show", "there", "--module", "none"), "404 ModuleNotFound"),
        (("create", "nobody", "--module", "m"), "404 DeviceNotFound"),
        (("create", "there"), "409 DeviceAlreadyExists"),
        (("create", "white space"), "400 ArgumentInvalid"),
        (("create", "a/b"), "400 ArgumentInvalid"),
    ],
)
def test_refusals_are_the_hubs_own_words(words, said, cli, state):
    """On standard error, with status 1."""
    cli("device", "create", "there", *state)
    result = cli("device", *words, *state)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"error: {said}")


def test_keys_are_masked_unless_asked_for(cli, state, hub):
    """In show and in list; connection-string is the one that is for keys."""
    cli("device", "create", "d", *state)
    key = ConnectionString.parse(hub.device_connection_string("d")).shared_access_key
    assert key
    shown = cli("device", "show", "d", *state).stdout
    assert json.loads(shown)["authentication"]["symmetricKey"] == {"primaryKey": "***", "secondaryKey": "***"}
    assert key not in shown + cli("device", "list", "--json", *state).stdout
    assert key in cli("device", "show", "d", "--keys", *state).stdout
    assert cli("device", "connection-string", "d", *state).stdout == f"{hub.device_connection_string('d')}\n"


@pytest.mark.parametrize("identity", [{}, {"authentication": None}, {"authentication": {"type": "none"}},
                                      {"authentication": {"symmetricKey": {"primaryKey": None}}}])  # fmt: skip
def test_masking_invents_no_keys(identity):
    """An identity without keys shows as it is."""
    assert masked(identity) == identity


def test_a_modules_connection_string(cli, state):
    """It carries the module's id."""
    cli("device", "create", "d", *state)
    cli("device", "create", "d", "--module", "m", *state)
    text = cli("device", "connection-string", "d", "--module", "m", *state).stdout.strip()
    assert ConnectionString.parse(text).module_id == "m"


def test_the_service_variable_names_a_hub_on_azure(cli, hub, monkeypatch):
    """By its name in the cloud, which the hub's proxy leads to the hub: no state folder plays a part."""
    told = StateFolder(hub.state_dir).read()
    azure = f"HostName=lab.azure-devices.net;SharedAccessKeyName=iothubowner;SharedAccessKey={told.keys['iothubowner']}"
    monkeypatch.setenv("IOTHUB_CONNECTION_STRING", azure)
    monkeypatch.setenv("HTTPS_PROXY", f"http://{told.host}:{told.proxy_port}")
    monkeypatch.setenv("SSL_CERT_FILE", str(hub.ca_file))
    assert cli("device", "create", "far").stdout == "created device far\n"
    assert cli("device", "list").stdout.splitlines()[1].startswith("far ")
    text = cli("device", "connection-string", "far").stdout
    assert text.startswith("HostName=lab.azure-devices.net;DeviceId=far;")


def test_state_wins_over_the_service_variable(cli, state, monkeypatch):
    """What is spelled out on the command line counts more than what the shell was told before."""
    for host in ("127.0.0.250:1", "x.azure-devices.net"):
        text = f"HostName={host};SharedAccessKeyName=iothubowner;SharedAccessKey=a2V5"
        monkeypatch.setenv("IOTHUB_CONNECTION_STRING", text)
        assert cli("device", "list", *state).exit_code == 0
    monkeypatch.setenv("IOTHUB_CONNECTION_STRING", "nonsense")
    assert cli("device", "list", *state).exit_code == 0
    assert "error: Part 1 has no '='" in cli("device", "list").stderr


def test_a_loopback_variable_means_the_state_folders_hub(cli, hub, monkeypatch):
    """As for `Lab.open`: what an earlier hub left in the shell leads nowhere else."""
    monkeypatch.setenv("IOTEDGE_LAB_STATE", str(hub.state_dir))
    text = "HostName=127.0.0.250:8443;SharedAccessKeyName=iothubowner;SharedAccessKey=a2V5"
    monkeypatch.setenv("IOTHUB_CONNECTION_STRING", text)
    assert cli("device", "list").exit_code == 0


def test_consumer_groups(cli, state):
    """Making one twice is no error; deleting one that is not there is."""
    for _ in range(2):
        assert cli("consumer-group", "create", "lake", *state).exit_code == 0
    assert cli("consumer-group", "list", *state).stdout == "$Default\nlake\n"
    assert cli("consumer-group", "delete", "lake", *state).stdout == "deleted consumer group lake\n"
    gone = cli("consumer-group", "delete", "lake", *state)
    assert gone.exit_code == 1
    assert "there is no consumer group 'lake'" in gone.stderr
    assert "cannot be deleted" in cli("consumer-group", "delete", "$Default", *state).stderr
    assert "no name for a consumer group" in cli("consumer-group", "create", "_", *state).stderr
