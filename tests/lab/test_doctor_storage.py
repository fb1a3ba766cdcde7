"""The doctor on the storage account: its server's state, and what its variable says."""

from dataclasses import replace

import psutil
import pytest

from iotedge_lab.doctor import Level
from iotedge_lab.doctor.situation import Situation
from iotedge_lab.doctor.storage import STORAGE_VARIABLE, check_server, check_string
from iotedge_lab.hub.state import StateFolder
from iotedge_lab.lab import Lab
from iotedge_lab.serve.storage import StorageFolder
from iotedge_lab.storage_calls import StorageCalls

OTHER_KEY = "b3RoZXI="


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A hub whose storage is not used until a test does."""
    with Lab.open(tmp_path_factory.mktemp("state"), ephemeral=True) as opened:
        yield opened


@pytest.fixture
def here(lab):
    return Situation.look(StateFolder(lab.state_dir), lab.env())


def only(found):
    (one,) = found
    return one.level, f"{one.said}\n{one.fix}"


def test_the_server_before_and_after_its_first_use(lab, here, monkeypatch):
    """It starts when it is used, which is no fault; one that hangs is."""
    level, said = only(check_server(here))
    assert level is Level.OK
    assert "starts with the first connection" in said
    assert not StorageFolder(lab.state_dir).locked()  # the doctor changes nothing
    calls = StorageCalls(lab.storage_connection_string, lab.state_dir / "certificates" / "lab-ca.pem")
    assert calls.health()["containers"] == 2
    level, said = only(check_server(here))
    assert level is Level.OK
    assert "0 blobs in 2 containers" in said
    process = psutil.Process(StorageFolder(lab.state_dir).read().pid)
    monkeypatch.setattr("iotedge_lab.doctor.storage._SECONDS", 0.5)
    process.suspend()
    try:
        level, said = only(check_server(here))
    finally:
        process.resume()
    assert level is Level.FAIL
    assert "does not answer" in said


def test_a_hub_without_a_port_for_it(here):
    """As one that runs since before the lab had storage."""
    level, said = only(check_server(replace(here, told=replace(here.told, storage=""))))
    assert level is Level.WARN
    assert "no port for storage" in said
    assert "iotedge-lab down" in said
    assert not list(check_server(replace(here, running=False)))


@pytest.mark.parametrize(
    ("change", "level", "word"),
    [
        (lambda text, key: text, Level.OK, "names this lab's storage"),
        (lambda text, key: text.replace(key, OTHER_KEY), Level.FAIL, "its key is not this lab's"),
        (lambda text, key: text.replace("127.0.0.1:", "127.0.0.1:1"), Level.WARN, "not this lab's storage"),
        (lambda text, key: "AccountName=abc;AccountKey=" + OTHER_KEY, Level.OK, "abc.blob.core.windows.net"),
        (lambda text, key: "AccountName=abc", Level.FAIL, "no AccountKey"),
    ],
)
def test_the_variable(lab, here, change, level, word):
    """What it names, and whether its key is still good; no key is shown."""
    text = lab.storage_connection_string
    key = text.split("AccountKey=")[1].split(";")[0]
    found, said = only(check_string(replace(here, environ={STORAGE_VARIABLE: change(text, key)})))
    assert (found, word in said) == (level, True), said
    assert key not in said


def test_the_variable_and_a_hub_on_azure(lab, here):
    """The lab's storage beside a hub on Azure is a mistake; without the variable there is nothing to say."""
    aims = {
        "IOTHUB_CONNECTION_STRING": "HostName=h.azure-devices.net;SharedAccessKeyName=n;SharedAccessKey=a2V5"
    }
    level, said = only(
        check_string(replace(here, environ=aims | {STORAGE_VARIABLE: lab.storage_connection_string}))
    )
    assert level is Level.FAIL
    assert "on this machine" in said
    assert not list(check_string(replace(here, environ=aims)))
