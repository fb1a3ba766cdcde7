"""Blobs through azure-storage-blob: written, read, described, listed, copied, deleted."""

import hashlib
import io
from datetime import UTC, datetime, timedelta

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.storage.blob import BlobBlock, BlobType, ContentSettings, StandardBlobTier
from azure.storage.blob.aio import BlobServiceClient as AsyncServiceClient

TEXT = b"".join(b"%06d " % number for number in range(70_000))  # 490 KB: four blocks of the client's


@pytest.mark.parametrize(
    "data", [b"", b"x", b"0123456789" * 1000, TEXT], ids=["empty", "one", "put", "blocks"]
)
def test_what_is_written_is_read(container, data):
    """In one piece and in blocks; whole, by ranges, and in chunks."""
    blob = container.upload_blob("folder/file", data, overwrite=True)
    assert blob.download_blob().readall() == data
    assert blob.get_blob_properties().size == len(data)
    if data:
        middle = len(data) // 2
        assert blob.download_blob(offset=middle, length=100).readall() == data[middle : middle + 100]
        assert blob.download_blob(offset=len(data) - 1).readall() == data[-1:]
        into = io.BytesIO()
        blob.download_blob(max_concurrency=2, validate_content=True).readinto(into)
        assert into.getvalue() == data
    with pytest.raises(HttpResponseError) as caught:
        blob.download_blob(offset=len(data) + 1, length=5)
    assert (caught.value.status_code, caught.value.error_code) == (416, "InvalidRange")


@pytest.mark.parametrize(
    "name",
    ["a b", "ä/ö/ü", "100%/x", "a+b&c=d?e#f", "~tilde", "dots../x", "\u2603", "a//b", "quote'\"", "x" * 1024],
)
def test_names(container, name):
    """Whatever a name may hold, it is found again under it, listed, and deleted."""
    container.upload_blob(name, b"1")
    assert container.download_blob(name).readall() == b"1"
    assert [each.name for each in container.list_blobs()] == [name]
    container.delete_blob(name)
    assert not container.get_blob_client(name).exists()


def test_a_name_that_xml_cannot_hold(container):
    """It is listed in percent-encoding, as Azure marks it."""
    container.upload_blob("bell\x07", b"1")
    assert [each.name for each in container.list_blobs()] == ["bell\x07"]


def test_properties_and_metadata(container):
    """What is said of a blob comes back; what is set later takes its place, and the content stays."""
    settings = ContentSettings(
        content_type="text/csv",
        content_encoding="identity",
        content_language="en",
        content_disposition="attachment",
        cache_control="no-store",
    )
    metadata = {"Drive": "7", "drive_id": "x", "drive1": "y"}
    blob = container.upload_blob(
        "b", b"1,2", content_settings=settings, metadata=metadata, standard_blob_tier=StandardBlobTier.COOL
    )
    found = blob.get_blob_properties()
    assert (found.blob_type, found.blob_tier, found.metadata) == (BlobType.BLOCKBLOB, "Cool", metadata)
    md5 = hashlib.md5(b"1,2").digest()
    told = found.content_settings
    assert (told.content_type, told.content_language, told.content_encoding) == ("text/csv", "en", "identity")
    assert (told.content_disposition, told.cache_control, bytes(told.content_md5)) == (
        "attachment",
        "no-store",
        md5,
    )
    blob.set_blob_metadata({"only": "this"})
    assert blob.get_blob_properties().metadata == {"only": "this"}
    blob.set_http_headers(ContentSettings(content_type="text/plain"))
    later = blob.get_blob_properties()
    assert (later.content_settings.content_type, later.content_settings.cache_control) == ("text/plain", None)
    assert (later.blob_tier, later.metadata, later.creation_time) == (
        "Cool",
        {"only": "this"},
        found.creation_time,
    )
    assert len({found.etag, later.etag}) == 2
    assert blob.download_blob().readall() == b"1,2"


def test_what_is_not_there(container):
    """Container, blob and block list have their own codes."""
    blob = container.get_blob_client("none")
    for ask in (
        blob.download_blob,
        blob.delete_blob,
        blob.get_block_list,
        lambda: blob.set_blob_metadata({}),
    ):
        with pytest.raises(ResourceNotFoundError) as caught:
            ask()
        assert caught.value.error_code == "BlobNotFound"
    with pytest.raises(ResourceNotFoundError):
        blob.get_blob_properties()  # HEAD: no body tells the code
    container.delete_container()
    for ask in (lambda: blob.upload_blob(b"1"), blob.download_blob, lambda: list(container.list_blobs())):
        with pytest.raises(ResourceNotFoundError) as caught:
            ask()
        assert caught.value.error_code == "ContainerNotFound"


# -- conditions ----------------------------------------------------------------------------------------


def test_a_blob_is_not_overwritten_by_mistake(container):
    """`overwrite=False` is If-None-Match: *, for one piece and for blocks."""
    container.upload_blob("b", b"first")
    for data in (b"second", TEXT):
        with pytest.raises(ResourceExistsError) as caught:
            container.upload_blob("b", data)
        assert caught.value.error_code == "BlobAlreadyExists"
    assert container.download_blob("b").readall() == b"first"


def test_only_what_was_seen_is_changed(container):
    """If-Match on writing, describing, deleting and reading."""
    blob = container.upload_blob("b", b"1")
    old = blob.get_blob_properties().etag
    blob.upload_blob(b"2", overwrite=True)
    seen = {"etag": old, "match_condition": MatchConditions.IfNotModified}
    for ask in (
        lambda: blob.upload_blob(b"3", overwrite=True, **seen),
        lambda: blob.set_blob_metadata({"a": "1"}, **seen),
        lambda: blob.delete_blob(**seen),
        lambda: blob.download_blob(**seen),
    ):
        with pytest.raises(ResourceModifiedError) as caught:
            ask()
        assert caught.value.status_code == 412
    assert blob.download_blob().readall() == b"2"
    now = blob.get_blob_properties().etag
    blob.upload_blob(b"4", overwrite=True, etag=now, match_condition=MatchConditions.IfNotModified)
    assert blob.download_blob().readall() == b"4"


def test_nothing_new_is_not_sent(container):
    """If-None-Match and If-Modified-Since: 304; If-Unmodified-Since: 412."""
    blob = container.upload_blob("b", b"1")
    found = blob.get_blob_properties()
    later, before = found.last_modified + timedelta(seconds=1), found.last_modified - timedelta(seconds=1)
    for condition in (
        {"etag": found.etag, "match_condition": MatchConditions.IfModified},
        {"if_modified_since": later},
    ):
        with pytest.raises(HttpResponseError) as caught:
            blob.download_blob(**condition)
        assert caught.value.status_code == 304
    with pytest.raises(HttpResponseError) as caught:
        blob.download_blob(if_unmodified_since=before)
    assert caught.value.status_code == 412
    assert blob.download_blob(if_modified_since=before, if_unmodified_since=later).readall() == b"1"


# -- listing -------------------------------------------------------------------------------------------


def test_listing_with_prefix_and_pages(container):
    """Names come in order, each once, however small the pages."""
    names = sorted(f"{folder}/{number:02d}" for folder in ("a", "b", "bc") for number in range(7))
    for name in reversed(names):
        container.upload_blob(name, b"1", metadata={"n": name[-1]})
    pages = list(container.list_blobs(results_per_page=4, include=["metadata"]).by_page())
    found = [each for page in pages for each in page]
    assert [each.name for each in found] == names
    assert [each.metadata for each in found] == [{"n": name[-1]} for name in names]
    assert [each.name for each in container.list_blobs(name_starts_with="b/")] == names[7:14]
    assert not list(container.list_blobs(name_starts_with="c"))
    one = found[0]
    assert (one.size, one.blob_type, one.content_settings.content_type) == (
        1,
        "BlockBlob",
        "application/octet-stream",
    )
    assert one.etag == container.get_blob_client(one.name).get_blob_properties().etag.strip('"')


def test_folders(container):
    """With a delimiter what is below is told by its beginning, once, across pages too."""
    for name in ("a/1", "a/2", "a/b/3", "c", "d/4", "d/5/6"):
        container.upload_blob(name, b"1")
    # The client tells the folders of a page first.
    assert [each.name for each in container.walk_blobs()] == ["a/", "d/", "c"]
    assert [each.name for each in container.walk_blobs(name_starts_with="a/")] == ["a/b/", "a/1", "a/2"]
    pages = container.walk_blobs(results_per_page=1).by_page()
    assert [[each.name for each in page] for page in pages] == [["a/"], ["c"], ["d/"]]


# -- blocks --------------------------------------------------------------------------------------------


def test_blocks_of_a_blob(container):
    """Blocks that wait are seen and not read; a list takes some, drops the rest, and may take old ones again."""
    blob = container.get_blob_client("b")
    for name in ("aa", "bb", "cc"):
        blob.stage_block(name, name.encode() * 3, validate_content=True)
    assert not blob.exists()
    assert [each.name for each in container.list_blobs(include=["uncommittedblobs"])] == ["b"]
    assert not list(container.list_blobs())
    committed, waiting = blob.get_block_list("all")
    assert (committed, {each.id: each.size for each in waiting}) == ([], {"aa": 6, "bb": 6, "cc": 6})
    blob.commit_block_list(
        [BlobBlock("cc"), BlobBlock("aa"), BlobBlock("cc")], metadata={"made": "of blocks"}
    )
    assert blob.download_blob().readall() == b"cccccc" + b"aaaaaa" + b"cccccc"
    committed, waiting = blob.get_block_list("all")
    assert ([each.id for each in committed], waiting) == (["cc", "aa", "cc"], [])
    blob.stage_block("aa", b"new")
    assert blob.download_blob().readall()[6:12] == b"aaaaaa"
    blob.commit_block_list([BlobBlock("aa"), BlobBlock("cc")])
    assert blob.download_blob().readall() == b"new" + b"cccccc"
    with pytest.raises(HttpResponseError) as caught:
        blob.commit_block_list([BlobBlock("bb")])  # it was dropped
    assert (caught.value.status_code, caught.value.error_code) == (400, "InvalidBlockList")
    with pytest.raises(HttpResponseError) as caught:
        blob.stage_block("longer", b"1")
    assert (caught.value.status_code, caught.value.error_code) == (400, "InvalidBlobOrBlock")
    blob.commit_block_list([])
    assert blob.download_blob().readall() == b""


def test_a_blob_in_one_piece_drops_blocks_that_wait(container):
    """As on Azure; and a block that waits goes when its blob is deleted."""
    blob = container.get_blob_client("b")
    blob.stage_block("aa", b"1")
    blob.upload_blob(b"whole", overwrite=True)
    assert blob.get_block_list("all") == ([], [])
    blob.stage_block("aa", b"1")
    blob.delete_blob()
    with pytest.raises(ResourceNotFoundError):
        blob.get_block_list("all")


# -- copies --------------------------------------------------------------------------------------------


def test_a_copy_stands_on_its_own(container):
    """It has the content, headers and metadata of its source, and outlives it."""
    source = container.upload_blob(
        "from", TEXT, metadata={"a": "1"}, content_settings=ContentSettings("text/plain")
    )
    copy = container.get_blob_client("to")
    assert copy.start_copy_from_url(source.url)["copy_status"] == "success"
    found = copy.get_blob_properties()
    assert (found.metadata, found.content_settings.content_type) == ({"a": "1"}, "text/plain")
    assert (found.copy.status, found.copy.source) == ("success", source.url)
    source.upload_blob(b"other", overwrite=True)
    source.delete_blob()
    assert copy.download_blob().readall() == TEXT
    with pytest.raises(ResourceNotFoundError) as caught:
        copy.start_copy_from_url(source.url)
    assert caught.value.error_code == "CannotVerifyCopySource"
    with pytest.raises(HttpResponseError) as caught:
        copy.start_copy_from_url("https://other.blob.core.windows.net/c/b")
    assert caught.value.status_code == 501


# -- not served ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda blob: blob.create_snapshot(),
        lambda blob: blob.acquire_lease(),
        lambda blob: blob.set_blob_tags({"a": "1"}),
        lambda blob: blob.get_blob_tags(),
        lambda blob: blob.set_standard_blob_tier("Cool"),
        lambda blob: blob.undelete_blob(),
        lambda blob: blob.upload_blob(b"1", blob_type="AppendBlob"),
        lambda blob: blob.create_page_blob(512),
        lambda blob: blob.upload_blob(b"1", overwrite=True, tags={"a": "1"}),
        lambda blob: blob.upload_blob_from_url("https://h/c/b"),
        lambda blob: blob.stage_block_from_url("aa", "https://h/c/b"),
        lambda blob: blob.upload_blob(b"1", overwrite=True, lease="12345678-1234-1234-1234-123456789012"),
        lambda blob: blob.delete_blob(delete_snapshots="only"),
    ],
    ids=range(13),
)
def test_what_is_not_served_says_so(container, call):
    """501 with a word, never a guess; and nothing has changed."""
    blob = container.upload_blob("b", b"as it was")
    with pytest.raises(HttpResponseError) as caught:
        call(blob)
    assert (caught.value.status_code, caught.value.error_code) == (501, "NotImplemented")
    assert "is not served by the lab's storage" in caught.value.message
    assert blob.download_blob().readall() == b"as it was"


async def test_the_asynchronous_client(lab, container):
    """The vendor's aio client signs in its own way."""
    async with AsyncServiceClient.from_connection_string(
        lab.storage_connection_string, connection_verify=str(lab.ca_file), max_single_put_size=256 * 1024
    ) as service:
        blob = service.get_blob_client(container.container_name, "ä b/c+d")
        await blob.upload_blob(TEXT, metadata={"a_b": "1", "a": "2"})
        stream = await blob.download_blob()
        assert await stream.readall() == TEXT
        names = [
            each.name async for each in service.get_container_client(container.container_name).list_blobs()
        ]
        assert names == ["ä b/c+d"]


def test_times(container):
    """Last-Modified is now, and Azure's form."""
    blob = container.upload_blob("b", b"1")
    assert abs(blob.get_blob_properties().last_modified - datetime.now(UTC)) < timedelta(minutes=2)
