"""File upload with the vendors' SDKs: azure-iot-device asks and reports, azure-storage-blob uploads, uamqp is told."""

import json
import threading
import time
from contextlib import contextmanager
from urllib.parse import unquote

import psutil
import pytest
import uamqp
from azure.core.exceptions import HttpResponseError
from azure.iot.device import IoTHubDeviceClient, IoTHubModuleClient
from azure.iot.device.aio import IoTHubDeviceClient as AsyncDeviceClient
from azure.iot.device.exceptions import ClientError
from azure.storage.blob import BlobBlock, BlobClient, BlobServiceClient
from http_calls import Caller
from hub_clients import RawDevice

from iotedge_lab.lab import Lab
from iotedge_lab.rest import RestError, quote
from iotedge_lab.serve.storage import StorageFolder
from iotedge_lab.wire import sas
from iotedge_lab.wire.connection_string import ConnectionString

SECONDS = 60


@pytest.fixture(autouse=True)
def _to_443(lab, monkeypatch):
    """Device SDKs speak HTTPS to port 443, which the hub may have or not."""
    for name, value in lab.env(proxy=True).items():
        monkeypatch.setenv(name, value)


@pytest.fixture(autouse=True)
def _all_read(lab):
    """No notice of one test is read by the next."""
    yield
    lab.rest().call("PUT", "/lab/file-upload", {})
    with receiver(lab) as client:
        for message in client.receive_message_batch(timeout=200):
            message.accept()


@pytest.fixture
def connect(lab):
    """`connect(device)`: the vendor's synchronous client; shut down after the test."""
    made = []

    def start(device):
        made.append(IoTHubDeviceClient.create_from_connection_string(lab.device_connection_string(device)))
        return made[-1]

    yield start
    for client in made:
        client.shutdown()


def blob_at(info, **options):
    """The blob that a device was led to, as the samples of the device SDK put its URL together."""
    url = "https://{hostName}/{containerName}/{blobName}{sasToken}".format(**info)
    return BlobClient.from_blob_url(url, retry_total=0, **options)


@contextmanager
def receiver(lab, policy="iothubowner"):
    """A uamqp client on the endpoint of file notifications; the service SDK for Python has none."""
    key = lab._told.keys[policy]
    token = sas.build(lab.hostname, key, int(time.time()) + 600, policy)
    address = f"{lab.hostname}/messages/serviceBound/filenotifications"
    client = uamqp.ReceiveClient(
        f"amqps://{quote(f'{policy}@sas.root.lab')}:{quote(token)}@{address}", auto_complete=False
    )
    try:
        yield client
    finally:
        client.close()


def next_notice(client):
    """The next message, not settled yet, and its body."""
    end = time.monotonic() + SECONDS
    while True:
        assert time.monotonic() < end, "no notice came"
        for message in client.receive_message_batch(max_batch_size=1, timeout=1000):
            return message, json.loads(b"".join(message.get_data()))


def told(lab):
    """The next notice, completed."""
    with receiver(lab) as client:
        message, body = next_notice(client)
        message.accept()
    return body


# -- the whole way -------------------------------------------------------------------------------------


def test_a_file_from_a_device_to_a_service(lab, device, connect):
    """Asked for, uploaded, reported; the service is told, and reads what was sent."""
    client = connect(device)
    client.connect()
    data = b"0123456789" * 100_000
    info = client.get_storage_info_for_blob("drives/7 ä.csv")
    with blob_at(info, max_single_put_size=256 * 1024, max_block_size=256 * 1024) as blob:
        blob.upload_blob(data, overwrite=True)
        etag = blob.get_blob_properties().etag
    client.notify_blob_upload_status(info["correlationId"], True, 200, "done")
    notice = told(lab)
    assert (notice["deviceId"], notice["blobName"]) == (device, f"{device}/drives/7 ä.csv")
    assert notice["blobSizeInBytes"] == len(data)
    with BlobServiceClient.from_connection_string(lab.storage_connection_string) as service:
        found = service.get_blob_client("uploads", notice["blobName"])
        assert unquote(found.url) == notice["blobUri"]
        assert found.get_blob_properties().etag == etag
        assert found.download_blob().readall() == data


def test_through_the_proxy(lab, device, connect, monkeypatch):
    """Where 443 could not be bound: the hub's proxy leads to the hub, and lets storage through."""
    address = f"http://{lab._told.host}:{lab._told.proxy_port}"
    monkeypatch.setenv("HTTPS_PROXY", address)
    monkeypatch.setenv("https_proxy", address)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    client = connect(device)
    info = client.get_storage_info_for_blob("f")
    with blob_at(info) as blob:
        blob.upload_blob(b"1")
    client.notify_blob_upload_status(info["correlationId"], True, 200, "")
    monkeypatch.delenv("HTTPS_PROXY")
    monkeypatch.delenv("https_proxy")
    assert told(lab)["blobName"] == f"{device}/f"


async def test_the_asynchronous_client_without_a_connection(lab, device):
    """File upload is HTTPS alone: the MQTT connection need not be there."""
    client = AsyncDeviceClient.create_from_connection_string(lab.device_connection_string(device))
    try:
        info = await client.get_storage_info_for_blob("f")
        with blob_at(info) as blob:
            blob.upload_blob(b"1")
        await client.notify_blob_upload_status(info["correlationId"], True, 200, "done")
    finally:
        await client.shutdown()
    assert told(lab)["blobName"] == f"{device}/f"


def test_modules_have_none(lab, device):
    """The SDK refuses it for modules, and so does the hub for their tokens."""
    lab.rest().call("PUT", f"/devices/{device}/modules/m", {"moduleId": "m"})
    client = IoTHubModuleClient.create_from_connection_string(lab.device_connection_string(device, "m"))
    try:
        assert not hasattr(client, "get_storage_info_for_blob")
    finally:
        client.shutdown()
    answer = Caller(lab, device, "m").call("POST", f"/devices/{device}/files", json={"blobName": "f"})
    assert (answer.status_code, answer.headers["iothub-errorcode"]) == (401, "IotHubUnauthorizedAccess")


def test_a_failed_upload_is_not_told(lab, device, connect):
    """It only frees its place."""
    client = connect(device)
    info = client.get_storage_info_for_blob("failed")
    client.notify_blob_upload_status(info["correlationId"], False, 500, "no camera")
    info = client.get_storage_info_for_blob("good")
    with blob_at(info) as blob:
        blob.upload_blob(b"1")
    client.notify_blob_upload_status(info["correlationId"], True, 200, "")
    assert told(lab)["blobName"] == f"{device}/good"


# -- the URL -------------------------------------------------------------------------------------------


def test_the_url_is_for_one_blob_and_its_time(lab, device, connect):
    """It reads and writes that blob; it does not delete, not open another's, and ends."""
    client = connect(device)
    info = client.get_storage_info_for_blob("mine")
    with blob_at(info) as blob:
        blob.upload_blob(b"1")
        assert blob.download_blob().readall() == b"1"
        with pytest.raises(HttpResponseError) as caught:
            blob.delete_blob()
        assert (caught.value.status_code, caught.value.error_code) == (403, "AuthorizationPermissionMismatch")
    with blob_at(info | {"blobName": f"{device}/theirs"}) as blob, pytest.raises(HttpResponseError) as caught:
        blob.upload_blob(b"1")
    assert caught.value.status_code == 403
    for change in ("sp=rwd", "se=2020-01-01T00%3A00%3A00Z"):
        field = change[:3]
        old = next(part for part in info["sasToken"][1:].split("&") if part.startswith(field))
        with blob_at(info | {"sasToken": info["sasToken"].replace(old, change)}) as blob:
            with pytest.raises(HttpResponseError) as caught:
                blob.upload_blob(b"2", overwrite=True)
            assert caught.value.status_code == 403


def test_an_upload_that_was_cut_off_goes_on(lab, device, connect):
    """With the same URL, after the storage was killed: what was sent is not sent again."""
    client = connect(device)
    info = client.get_storage_info_for_blob("resumed")
    with blob_at(info) as blob:
        blob.stage_block("000", b"a" * 100_000)
        blob.stage_block("001", b"b" * 100_000)
    psutil.Process(StorageFolder(lab.state_dir).read().pid).kill()
    with BlobClient.from_blob_url(
        "https://{hostName}/{containerName}/{blobName}{sasToken}".format(**info),
        retry_total=5,
        initial_backoff=0,
        increment_base=0,
    ) as blob:
        _, waiting = blob.get_block_list("uncommitted")
        assert [each.id for each in waiting] == ["000", "001"]
        blob.stage_block("002", b"c" * 100_000)
        blob.commit_block_list([BlobBlock(name) for name in ("000", "001", "002")])
    client.notify_blob_upload_status(info["correlationId"], True, 200, "")
    assert told(lab)["blobSizeInBytes"] == 300_000


# -- what is refused -----------------------------------------------------------------------------------


def test_ten_at_once(lab, device, connect):
    """The eleventh is refused with 403; the SDK raises its ClientError."""
    client = connect(device)
    begun = [client.get_storage_info_for_blob(f"{number}")["correlationId"] for number in range(10)]
    with pytest.raises(ClientError):
        client.get_storage_info_for_blob("one more")
    answer = Caller(lab, device).call("POST", f"/devices/{device}/files", json={"blobName": "one more"})
    assert answer.status_code == 403
    assert answer.headers["iothub-errorcode"] == "DeviceMaximumActiveFileUploadLimitExceeded"
    client.notify_blob_upload_status(begun[0], False, 0, "")
    assert client.get_storage_info_for_blob("one more")["blobName"] == f"{device}/one more"


@pytest.mark.parametrize(
    ("path", "body", "status", "word"),
    [
        ("files", {}, 400, "blobName"),
        ("files", {"blobName": 3}, 400, "blobName"),
        ("files", {"blobName": ""}, 400, "blobName"),
        ("files", [], 400, "object"),
        ("files/notifications", {}, 400, "correlationId"),
        ("files/notifications", {"correlationId": "c"}, 400, "isSuccess"),
        ("files/notifications", {"correlationId": "c", "isSuccess": "yes"}, 400, "isSuccess"),
        (
            "files/notifications",
            {"correlationId": "c", "isSuccess": True, "statusCode": "x"},
            400,
            "statusCode",
        ),
        (
            "files/notifications",
            {"correlationId": "c", "isSuccess": True, "statusDescription": 1},
            400,
            "statusD",
        ),
        ("files/notifications", {"correlationId": "c", "isSuccess": True}, 400, "under way"),
    ],
)
def test_bad_requests(lab, device, *, path, body, status, word):
    """400 with the name of what is wrong."""
    answer = Caller(lab, device).call("POST", f"/devices/{device}/{path}", json=body)
    assert (answer.status_code, answer.headers["iothub-errorcode"]) == (status, "ArgumentInvalid")
    assert word in answer.text


def test_success_of_what_is_not_there(lab, device):
    """The hub looks: without the blob it is no success, and the upload goes on."""
    caller = Caller(lab, device)
    info = caller.call("POST", f"/devices/{device}/files", json={"blobName": "f"}).json()
    report = {"correlationId": info["correlationId"], "isSuccess": True, "statusCode": 200}
    answer = caller.call("POST", f"/devices/{device}/files/notifications", json=report)
    assert answer.status_code == 400
    assert "there is no blob" in answer.text
    with blob_at(info) as blob:
        blob.upload_blob(b"1")
    assert caller.call("POST", f"/devices/{device}/files/notifications", json=report).status_code == 204
    assert told(lab)["blobName"] == f"{device}/f"


def test_who_may(lab, device):
    """The device with its own token, and no other; one that is not registered or disabled is 401."""
    lab.rest().call("PUT", "/devices/stranger", {"deviceId": "stranger"})
    body = {"blobName": "f"}
    assert Caller(lab, "stranger").call("POST", f"/devices/{device}/files", json=body).status_code == 401
    caller = Caller(lab, device)
    identity = lab.rest().call("GET", f"/devices/{device}")
    lab.rest().call("PUT", f"/devices/{device}", identity | {"status": "disabled"}, headers={"If-Match": "*"})
    assert caller.call("POST", f"/devices/{device}/files", json=body).status_code == 401
    lab.rest().call("DELETE", f"/devices/{device}", headers={"If-Match": "*"})
    assert caller.call("POST", f"/devices/{device}/files", json=body).status_code == 401


# -- notices -------------------------------------------------------------------------------------------


def uploaded(lab, device, name):
    """Upload and report one small file."""
    caller = Caller(lab, device)
    info = caller.call("POST", f"/devices/{device}/files", json={"blobName": name}).json()
    with blob_at(info) as blob:
        blob.upload_blob(b"1", overwrite=True)
    report = {"correlationId": info["correlationId"], "isSuccess": True, "statusCode": 200}
    answer = caller.call("POST", f"/devices/{device}/files/notifications", json=report)
    assert answer.status_code == 204, answer.text


def test_a_notice_that_is_given_back_comes_again(lab, device):
    """Released, and left behind by a reader that goes; accepted it comes no more."""
    uploaded(lab, device, "f")
    with receiver(lab) as client:
        message, body = next_notice(client)
        assert message.properties.content_type == b"application/vnd.microsoft.iothub.filenotification.json"
        assert (body["blobName"], message.header.delivery_count) == (f"{device}/f", 0)
        message.release()
        message, again = next_notice(client)
        assert (again, message.header.delivery_count) == (body, 1)
    with receiver(lab) as client:
        message, again = next_notice(client)
        assert again == body
        message.accept()
    uploaded(lab, device, "g")
    assert told(lab)["blobName"] == f"{device}/g"


def test_who_may_read_notices(lab):
    """A policy without ServiceConnect does not."""
    with receiver(lab, "registryRead") as client, pytest.raises(uamqp.errors.LinkDetach) as caught:
        client.receive_message_batch(timeout=1000)
    assert caught.value.condition.value == b"amqp:unauthorized-access"


def test_notices_outlive_the_hub(tmp_path, monkeypatch):
    """What was answered with 204 is told after the hub was killed."""
    with Lab.open(tmp_path, ephemeral=True) as mine:
        for name, value in mine.env(proxy=True).items():
            monkeypatch.setenv(name, value)
        mine.rest().call("PUT", "/devices/d", {})
        uploaded(mine, "d", "kept")
        mine.crash()
        mine.start()
        assert told(mine)["blobName"] == "d/kept"


# -- beside messages -----------------------------------------------------------------------------------


def test_an_upload_delays_no_message(lab, device):
    """While the storage does not move at all, messages are acknowledged, and the hub answers."""
    caller = Caller(lab, device)
    info = caller.call("POST", f"/devices/{device}/files", json={"blobName": "large"}).json()
    with BlobServiceClient.from_connection_string(lab.storage_connection_string) as service:
        service.get_account_information()
    process = psutil.Process(StorageFolder(lab.state_dir).read().pid)
    ended = threading.Event()
    outcome = []

    def upload():
        with blob_at(info) as blob:
            blob.upload_blob(b"x" * 4_000_000)
        report = {"correlationId": info["correlationId"], "isSuccess": True}
        outcome.append(caller.call("POST", f"/devices/{device}/files/notifications", json=report).status_code)
        ended.set()

    process.suspend()
    try:
        thread = threading.Thread(target=upload)
        thread.start()
        with RawDevice(lab, device) as one:
            one.send(*(b"%d" % number for number in range(100)))  # returns when all are acknowledged
        assert lab.status()["connected"] == 0
        assert not ended.is_set()
    finally:
        process.resume()
    thread.join(SECONDS)
    assert outcome == [204]
    assert told(lab)["blobSizeInBytes"] == 4_000_000


# -- options -------------------------------------------------------------------------------------------


def test_another_account(lab, device):
    """By connection string; what it cannot be asked is 503, and the upload goes on."""
    lab.configure_file_upload(
        "AccountName=abc;AccountKey=YQ==;BlobEndpoint=https://127.0.0.1:9/abc",
        container="inbox",
        sas_minutes=5,
    )
    assert "YQ==" not in json.dumps(lab.rest().call("GET", "/lab/file-upload"))
    caller = Caller(lab, device)
    info = caller.call("POST", f"/devices/{device}/files", json={"blobName": "f"}).json()
    assert (info["hostName"], info["containerName"]) == ("127.0.0.1:9/abc", "inbox")
    report = {"correlationId": info["correlationId"], "isSuccess": True}
    answer = caller.call("POST", f"/devices/{device}/files/notifications", json=report)
    assert (answer.status_code, answer.headers["iothub-errorcode"]) == (503, "ServiceUnavailable")
    report["isSuccess"] = False
    assert caller.call("POST", f"/devices/{device}/files/notifications", json=report).status_code == 204
    # The lab's own account, reached as another one is.
    lab.configure_file_upload(lab.storage_connection_string, container="models", notifications=False)
    uploaded(lab, device, "elsewhere")
    with BlobServiceClient.from_connection_string(lab.storage_connection_string) as service:
        assert service.get_blob_client("models", f"{device}/elsewhere").exists()
    with pytest.raises(RestError) as caught:
        lab.configure_file_upload("AccountName=abc")
    assert caught.value.http_status == 400


def test_on_azure_it_is_not_the_labs_to_configure(monkeypatch, tmp_path):
    """There the options are the resource's."""
    from iotedge_lab.errors import HubNotRunning

    string = ConnectionString(
        host_name="h.azure-devices.net", shared_access_key_name="n", shared_access_key="a2V5"
    ).format()
    monkeypatch.setenv("IOTHUB_CONNECTION_STRING", string)
    with Lab.open(tmp_path) as azure, pytest.raises(HubNotRunning):
        azure.configure_file_upload()
