"""File upload in the hub: who may upload how much, and the queue of notices. Without sockets."""

import json
from urllib.parse import parse_qs

import pytest

from iotedge_lab.errors import (
    ArgumentInvalid,
    MaximumActiveFileUploads,
    MessageLockLost,
    ServiceError,
    StoreUnavailable,
)
from iotedge_lab.hub.file_settings import FileSettings
from iotedge_lab.hub.files import ACTIVE_LIMIT, Found
from iotedge_lab.hub.identities import iso
from iotedge_lab.wire.storage import blob_sas, shared_key
from iotedge_lab.wire.storage.account import StorageAccount

LOCAL = StorageAccount("iotedgelab", "bG9jYWw=", "https://127.0.0.1:20001/iotedgelab")
AZURE = "DefaultEndpointsProtocol=https;AccountName=abc;AccountKey=YXp1cmU=;EndpointSuffix=core.windows.net"
FOUND = Found(1234, 1_700_000_000.0)


@pytest.fixture
def files(house):
    """The hub's files, with the lab's storage, and a device `d`."""
    house.register("d")
    house.hub.files.local = LOCAL
    return house.hub.files


def settings(**more):
    return FileSettings.from_json(more)


# -- uploads -------------------------------------------------------------------------------------------


def test_what_a_device_is_told(house, files):
    """The parts of a URL, the name under the device's id, a token for that one blob and an hour."""
    told = files.begin("d", "folder/a b.jpg")
    assert told.keys() == {"correlationId", "hostName", "containerName", "blobName", "sasToken"}
    assert (told["hostName"], told["containerName"]) == ("127.0.0.1:20001/iotedgelab", "uploads")
    assert told["blobName"] == "d/folder/a b.jpg"
    assert told["sasToken"].startswith("?")
    fields = {name: values[0] for name, values in parse_qs(told["sasToken"][1:]).items()}
    token = blob_sas.parse(fields)
    assert (token.permissions, token.expiry, fields["sr"], fields["spr"]) == (
        "rw",
        house.clock.now() + 3600,
        "b",
        "https",
    )
    text = token.string_to_sign("iotedgelab", "uploads", told["blobName"])
    assert shared_key.sign(text, LOCAL.key) == token.signature


@pytest.mark.parametrize("name", ["", "x" * 1023, "a\nb", "a\0"])
def test_names_that_cannot_be(files, name):
    """Refused before a URL is signed."""
    with pytest.raises(ArgumentInvalid, match="blobName"):
        files.begin("d", name)
    assert files.active() == 0
    files.begin("d", "x" * 1022)


def test_ten_at_once(house, files):
    """The eleventh is 403006, for this device alone, until one is reported or its URL has ended."""
    house.register("other")
    begun = [files.begin("d", f"{number}")["correlationId"] for number in range(ACTIVE_LIMIT)]
    assert len(set(begun)) == 10
    with pytest.raises(MaximumActiveFileUploads, match="cannot exceed 10") as caught:
        files.begin("d", "one more")
    assert (caught.value.status, caught.value.code) == (403, 403006)
    files.begin("other", "0")
    files.end(files.find("d", begun[3]), None)
    files.begin("d", "one more")
    with pytest.raises(MaximumActiveFileUploads):
        files.begin("d", "two more")
    house.clock.advance(3600)
    files.begin("d", "in time")
    files.tick()
    assert files.active() == 1


def test_a_correlation_id_is_good_once_and_for_its_device(house, files):
    """Unknown, another device's, reported or ended: 400004."""
    house.register("other")
    correlation = files.begin("d", "f")["correlationId"]
    for device, wanted in (("other", correlation), ("d", "none"), ("d", correlation + "x")):
        with pytest.raises(ArgumentInvalid, match="correlation id"):
            files.find(device, wanted)
    upload = files.find("d", correlation)
    files.end(upload, FOUND)
    files.end(upload, FOUND)  # twice at once
    with pytest.raises(ArgumentInvalid):
        files.find("d", correlation)
    assert files.notices.take() is not None
    assert files.notices.take() is None
    late = files.begin("d", "late")["correlationId"]
    house.clock.advance(3600)
    with pytest.raises(ArgumentInvalid):
        files.find("d", late)


def test_uploads_outlive_the_hub_and_end_with_their_device(house, files):
    """A restart loses none; a device that is deleted takes its own with it."""
    correlation = files.begin("d", "f")["correlationId"]
    house.restart()
    house.hub.files.local = LOCAL
    assert house.hub.files.find("d", correlation).blob == "d/f"
    house.hub.identities.delete("d", "", None)
    assert house.hub.files.active() == 0


def test_without_storage(house):
    """503 with a word of what to do."""
    house.register("d")
    with pytest.raises(StoreUnavailable, match="configure_file_upload"):
        house.hub.files.begin("d", "f")


def test_a_full_disk(files):
    """Nothing is handed out that is not kept."""
    pages = files._store.db.execute("PRAGMA page_count").fetchone()[0]
    files._store.db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreUnavailable):
        for number in range(ACTIVE_LIMIT):
            files.begin("d", f"{number}" + "x" * 1000)
    begun = files.active()
    assert begun < ACTIVE_LIMIT
    files._store.db.execute("PRAGMA max_page_count = 1073741823")
    files.begin("d", "room again")
    assert files.active() == begun + 1


# -- notices -------------------------------------------------------------------------------------------


def reported(files, name="f", found=FOUND):
    files.end(files.find("d", files.begin("d", name)["correlationId"]), found)


def test_a_notice(house, files):
    """What is documented stands in it."""
    reported(files)
    message = files.notices.take()
    assert json.loads(message.body) == {
        "deviceId": "d",
        "blobUri": "https://127.0.0.1:20001/iotedgelab/uploads/d/f",
        "blobName": "d/f",
        "lastUpdatedTime": "2023-11-14T22:13:20+00:00",
        "blobSizeInBytes": 1234,
        "enqueuedTimeUtc": iso(1_700_000_000.0),
    }
    assert (message.deliveries, message.expires - message.enqueued) == (0, 3_600_000)


def test_no_notice(files):
    """Of an upload that failed, and where they are switched off."""
    reported(files, found=None)
    files.configure(settings(enableFileUploadNotifications=False))
    reported(files)
    assert files.notices.take() is None
    assert files.active() == 0


def test_a_notice_is_locked_and_comes_again(house, files):
    """For a minute one reader has it; abandoned or not completed it comes again, ten times in all."""
    told = []
    files.notices.listen(lambda: told.append(1))
    reported(files)
    assert told == [1]
    first = files.notices.take()
    assert files.notices.take() is None
    files.notices.abandon(first.lock)
    assert told == [1, 1]
    second = files.notices.take()
    assert (second.message_id, second.deliveries) == (first.message_id, 1)
    house.clock.advance(60)
    files.tick()
    with pytest.raises(MessageLockLost, match="file notification"):
        files.notices.complete(second.lock)
    for deliveries in range(2, 10):
        message = files.notices.take()
        assert message.deliveries == deliveries
        files.notices.abandon(message.lock)
    assert files.notices.take() is None


def test_a_completed_notice_is_gone_and_an_old_one_too(house, files):
    """Completed is for good; one that nobody reads ends with its time to live."""
    reported(files, "1")
    files.notices.complete(files.notices.take().lock)
    assert files.notices.take() is None
    reported(files, "2")
    house.clock.advance(3600)
    files.tick()
    assert files.notices.take() is None
    assert house.hub.store.db.execute("SELECT COUNT(*) FROM file_notice").fetchone() == (0,)


def test_notices_outlive_the_hub(house, files):
    """A lock holds over a restart, and so does the notice."""
    reported(files)
    lock = files.notices.take().lock
    house.restart()
    assert house.hub.files.notices.take() is None
    house.hub.files.notices.abandon(lock)
    assert json.loads(house.hub.files.notices.take().body)["blobName"] == "d/f"


def test_a_reset_takes_all(house, files):
    """Uploads and notices; the options stay."""
    files.configure(settings(containerName="elsewhere"))
    reported(files)
    files.begin("d", "g")
    house.hub.reset()
    assert (files.active(), files.notices.take(), files.settings.container) == (0, None, "elsewhere")


# -- options -------------------------------------------------------------------------------------------


def test_options_are_kept(house, files):
    """All of them, over a restart; the key is not shown."""
    asked = {
        "connectionString": AZURE,
        "containerName": "inbox",
        "sasTtlAsIso8601": "PT5M",
        "enableFileUploadNotifications": False,
        "fileNotifications": {
            "ttlAsIso8601": "PT2H",
            "lockDurationAsIso8601": "PT30S",
            "maxDeliveryCount": 3,
        },
    }
    files.configure(FileSettings.from_json(asked))
    house.restart()
    kept = house.hub.files.settings
    assert kept == FileSettings.from_json(asked)
    shown = kept.to_json()
    assert "YXp1cmU=" not in json.dumps(shown) + repr(kept)
    assert shown["connectionString"].startswith(
        "DefaultEndpointsProtocol=https;AccountName=abc;AccountKey=****;"
    )
    assert {name: shown[name] for name in shown.keys() - {"connectionString"}} == {
        name: asked[name] for name in asked.keys() - {"connectionString"}
    }
    told = house.hub.files.begin("d", "f")
    assert (told["hostName"], told["containerName"]) == ("abc.blob.core.windows.net", "inbox")
    assert kept.sas_ttl == 300
    assert FileSettings.from_json({}) == FileSettings()


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"unknown": 1}, "unknown"),
        ({"fileNotifications": {"unknown": 1}}, "fileNotifications.unknown"),
        ({"fileNotifications": []}, "is an object"),
        ({"containerName": "No"}, "containerName"),
        ({"containerName": 3}, "containerName"),
        ({"sasTtlAsIso8601": "PT59S"}, "sasTtlAsIso8601"),
        ({"sasTtlAsIso8601": "P2D"}, "sasTtlAsIso8601"),
        ({"sasTtlAsIso8601": 60}, "sasTtlAsIso8601"),
        ({"enableFileUploadNotifications": "yes"}, "enableFileUploadNotifications"),
        ({"fileNotifications": {"maxDeliveryCount": 0}}, "maxDeliveryCount"),
        ({"fileNotifications": {"lockDurationAsIso8601": "PT301S"}}, "lockDurationAsIso8601"),
        ({"connectionString": 1}, "connectionString"),
        ({"connectionString": "AccountName=abc"}, "AccountKey"),
        ({"connectionString": "AccountName=ABC;AccountKey=YQ=="}, "AccountName"),
        ({"connectionString": "AccountName=abc;AccountKey=?"}, "base64"),
        ({"connectionString": "AccountName=abc;AccountKey=YQ==;BlobEndpoint=ftp://x"}, "BlobEndpoint"),
    ],
)
def test_options_that_cannot_be(body, word):
    """400 with the name of the field."""
    with pytest.raises(ServiceError, match=word) as caught:
        FileSettings.from_json(body)
    assert caught.value.status == 400
