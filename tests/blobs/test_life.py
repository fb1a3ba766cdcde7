"""The server's life: started by its first use, gone with its hub, back with it at the same address."""

import contextlib
import json
import stat
import sys
from datetime import UTC, datetime, timedelta

import psutil
import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobClient, BlobServiceClient, generate_blob_sas

from iotedge_lab.errors import ConnectionStringError, HubNotRunning
from iotedge_lab.hub.state import StateFolder
from iotedge_lab.lab import STORAGE_VARIABLE, Lab
from iotedge_lab.serve.storage import StorageFolder
from iotedge_lab.wire.storage.account import StorageAccount


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A lab of the test's own."""
    with Lab.open(tmp_path, ephemeral=True) as opened:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(opened.state_dir / "certificates" / "lab-ca.pem"))
        yield opened


def client(lab):
    return BlobServiceClient.from_connection_string(
        lab.storage_connection_string, retry_total=5, initial_backoff=0, increment_base=0
    )


def gone(pid):
    """Wait until a process has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(60)
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_from_the_first_use_to_the_end(mine):
    """Nothing runs before it is used; the hub's end, in order or not, is its end; blobs, port and keys stay."""
    folder = StorageFolder(mine.state_dir)
    assert not folder.locked()
    string = mine.storage_connection_string
    assert mine.env()[STORAGE_VARIABLE] == string
    with Lab.open(mine.state_dir) as other:
        assert other.storage_connection_string == string
    with client(mine) as service:
        blob = service.get_container_client("models").upload_blob("m", b"model")
        pid = folder.read().pid
        assert folder.locked()
        url = blob.url + "?" + _sas(string, "models", "m")
        for end in (mine.crash, mine.stop):
            end()
            assert gone(pid)
            mine.start()
            assert mine.storage_connection_string == string
            assert blob.download_blob().readall() == b"model"
            with BlobClient.from_blob_url(url) as by_url:
                assert by_url.download_blob().readall() == b"model"
            pid = folder.read().pid
    mine.close()
    assert gone(pid)


def _sas(string, container, blob):
    account = StorageAccount.parse(string)
    expiry = datetime.now(UTC) + timedelta(minutes=10)
    return generate_blob_sas(
        account.name, container, blob, account_key=account.key, permission="r", expiry=expiry
    )


def test_two_labs_have_two_accounts(mine, tmp_path):
    """The key of one does not open the other."""
    with Lab.open(tmp_path / "other", ephemeral=True) as other:
        ours, theirs = (StorageAccount.parse(each.storage_connection_string) for each in (mine, other))
        assert ours.endpoint != theirs.endpoint
        mixed = StorageAccount(ours.name, ours.key, theirs.endpoint).format()
        with (
            BlobServiceClient.from_connection_string(
                mixed, retry_total=0, connection_verify=str(other.ca_file)
            ) as stranger,
            pytest.raises(HttpResponseError) as caught,
        ):
            list(stranger.list_containers())
        assert caught.value.status_code == 403


def test_reset_takes_what_devices_uploaded(mine):
    """What they sent goes; models, and the account, stay."""
    mine.reset()  # nothing was ever stored
    assert not StorageFolder(mine.state_dir).locked()
    with client(mine) as service:
        service.get_container_client("uploads").upload_blob("d/f", b"1")
        service.get_container_client("models").upload_blob("m", b"2")
        mine.reset()
        assert not list(service.get_container_client("uploads").list_blobs())
        assert [each.name for each in service.get_container_client("models").list_blobs()] == ["m"]


@pytest.mark.skipif(sys.platform == "win32", reason="modes are a thing of POSIX")
def test_files_are_private_and_logs_hold_no_key(mine):
    """Whatever is in the folder is for its owner alone; neither log has a key or a signature."""
    string = mine.storage_connection_string
    with client(mine) as service:
        blob = service.get_container_client("models").upload_blob("m", b"2")
        with BlobClient.from_blob_url(f"{blob.url}?{_sas(string, 'models', 'm')}", retry_total=0) as by_url:
            with pytest.raises(HttpResponseError):
                by_url.delete_blob()
            signature = by_url.url.split("sig=")[1]
    folder = StorageFolder(mine.state_dir).path
    files = [each for each in folder.rglob("*") if each.is_file()]
    assert {"account.json", "blobs.db", "server.json"} <= {each.name for each in files}
    assert [each for each in files if stat.S_IMODE(each.stat().st_mode) & 0o077] == []
    keys = json.loads((folder / "account.json").read_text())
    logs = (folder / "server.log").read_text() + (mine.state_dir / "hub.log").read_text()
    assert "storage server" in logs
    for secret in (keys["primary"], keys["secondary"], signature):
        assert secret not in logs
    assert keys["primary"] not in repr(mine) + mine._repr_html_() + repr(mine._told)


def test_keys_that_were_deleted_are_made_anew(mine):
    """What was signed with the old ones is refused then."""
    before = mine.storage_connection_string
    mine.stop()
    (mine.state_dir / "storage" / "account.json").unlink()
    mine.start()
    assert mine.storage_connection_string != before
    with BlobServiceClient.from_connection_string(before, retry_total=0) as service:
        with pytest.raises(HttpResponseError) as caught:
            list(service.list_containers())
        assert caught.value.status_code == 403


def test_a_server_that_cannot_start(mine):
    """Clients hear it soon; once the cause is mended, the next one is served."""
    account = mine.state_dir / "storage" / "account.json"
    kept = account.read_text()
    account.write_text("{}")
    with (
        BlobServiceClient.from_connection_string(mine.storage_connection_string, retry_total=0) as service,
        pytest.raises(Exception, match=r"Connection|EOF|reset|closed"),
    ):
        list(service.list_containers())
    assert "account.json cannot be read" in (mine.state_dir / "hub.log").read_text()
    assert mine.status()["devices"] == 0
    account.write_text(kept)
    with BlobServiceClient.from_connection_string(
        mine.storage_connection_string, retry_total=20, initial_backoff=0, increment_base=1
    ) as service:
        assert {each.name for each in service.list_containers()} == {"models", "uploads"}


def test_a_hub_of_before_there_was_storage(mine):
    """Its file names none: the lab says what to do, and its environment has no such variable."""
    state = StateFolder(mine.state_dir)
    told = json.loads(state.hub_file.read_text())
    del told["storage"]
    state.hub_file.write_text(json.dumps(told))
    with Lab.open(mine.state_dir) as other:
        assert STORAGE_VARIABLE not in other.env()
        with pytest.raises(HubNotRunning, match="iotedge-lab down"):
            _ = other.storage_connection_string


def test_on_azure(monkeypatch, tmp_path):
    """The account is the one of the environment; without, an error says which variable."""
    monkeypatch.setenv(
        "IOTHUB_CONNECTION_STRING",
        "HostName=h.azure-devices.net;SharedAccessKeyName=iothubowner;SharedAccessKey=a2V5",
    )
    monkeypatch.delenv(STORAGE_VARIABLE, raising=False)
    with Lab.open(tmp_path) as lab:
        with pytest.raises(ConnectionStringError, match=STORAGE_VARIABLE):
            _ = lab.storage_connection_string
        assert STORAGE_VARIABLE not in lab.env()
        monkeypatch.setenv(
            STORAGE_VARIABLE, "AccountName=abc;AccountKey=a2V5;EndpointSuffix=core.windows.net"
        )
        assert StorageAccount.parse(lab.storage_connection_string).host == "abc.blob.core.windows.net"
        assert STORAGE_VARIABLE in lab.env()
