"""Large files in blocks, uploads that are cut off, a server that is killed, a disk that is full."""

import hashlib
import io
import os
import sys

import psutil
import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobBlock, BlobServiceClient

from iotedge_lab.serve.storage import StorageFolder
from iotedge_lab.storage_calls import StorageCalls

MB = 1024 * 1024
BLOCK = 2 * MB


@pytest.fixture
def large(lab):
    """A client that sends blocks of 2 MB."""
    with BlobServiceClient.from_connection_string(
        lab.storage_connection_string, max_single_put_size=MB, max_block_size=BLOCK, retry_total=0
    ) as client:
        yield client.get_container_client("uploads")


@pytest.fixture
def server(lab):
    """`server()`: the process that serves now."""
    folder = StorageFolder(lab.state_dir)
    calls = StorageCalls(lab.storage_connection_string, lab.state_dir / "certificates" / "lab-ca.pem")

    def now():
        calls.health()  # it is there
        return psutil.Process(folder.read().pid)

    return now


class Pattern(io.RawIOBase):
    """A file of `size` bytes that is nowhere; each megabyte is another."""

    def __init__(self, size):
        self.size, self.at = size, 0
        self.digest = hashlib.sha256()

    def readable(self):
        return True

    def readinto(self, into):
        number, offset = divmod(self.at, MB)
        count = min(len(into), MB - offset, self.size - self.at)
        piece = (hashlib.sha256(str(number).encode()).digest() * (MB // 32))[offset : offset + count]
        into[:count] = piece
        self.digest.update(piece)
        self.at += count
        return count


def there_and_back(large, name, size, **options):
    """Upload a pattern, and download it in pieces; whether it is the same."""
    source = Pattern(size)
    blob = large.upload_blob(name, io.BufferedReader(source, BLOCK), length=size, **options)
    found = hashlib.sha256()
    for piece in blob.download_blob().chunks():
        found.update(piece)
    assert found.hexdigest() == source.digest.hexdigest()
    return blob


def test_twenty_megabytes(large):
    """In blocks, several at once; each block is checked on its way."""
    blob = there_and_back(large, "twenty", 20 * MB + 7, max_concurrency=3, validate_content=True)
    committed, waiting = blob.get_block_list("all")
    assert ([each.size for each in committed], waiting) == ([BLOCK] * 10 + [7], [])
    blob.delete_blob()


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_quarter_of_a_gigabyte(large, server):
    """The most that a device uploads in blocks; the server never holds it in memory."""
    process = server()
    before = process.memory_info().rss
    blob = there_and_back(large, "large", 256 * MB, max_concurrency=4)
    grown = process.memory_info().rss - before
    assert grown < 64 * MB
    blob.delete_blob()


def pieces():
    return {f"{number:03d}": bytes([number]) * 300_000 for number in range(8)}


@pytest.fixture
def again(lab):
    """A client that tries again, as the vendor's does by itself, and at once."""
    with BlobServiceClient.from_connection_string(
        lab.storage_connection_string, retry_total=5, initial_backoff=0, increment_base=0
    ) as client:
        yield client


def test_an_upload_that_was_cut_off_goes_on(again, server):
    """What was acknowledged is still there after a kill; only the rest is sent again."""
    blob = again.get_blob_client("uploads", "resumed")
    wanted = pieces()
    for name in list(wanted)[:4]:
        blob.stage_block(name, wanted[name])
    killed = server()
    killed.kill()
    _, waiting = blob.get_block_list("uncommitted")
    have = {each.id for each in waiting}
    assert have == set(list(wanted)[:4])
    for name in wanted.keys() - have:
        blob.stage_block(name, wanted[name])
    blob.commit_block_list([BlobBlock(name) for name in wanted])
    assert server().pid != killed.pid
    server().kill()
    assert blob.download_blob().readall() == b"".join(wanted.values())
    blob.delete_blob()


def test_what_a_crash_leaves_is_removed(lab, again, server):
    """A file that no blob has goes when the server starts; what blobs have stays."""
    blob = again.get_container_client("uploads").upload_blob("kept", b"x" * 1000)
    content = StorageFolder(lab.state_dir).path / "content"
    left = content / "00" / "0123-left-over-00"
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"half")
    server().kill()
    assert blob.download_blob().readall() == b"x" * 1000
    assert not left.exists()
    blob.delete_blob()


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit is a thing of Linux")
def test_a_full_disk(lab, large, server):
    """503 with a word; nothing of it is kept, what was there is served, and with room again it goes on."""
    import resource

    blob = large.upload_blob("before", b"x" * 1000, overwrite=True)
    files = sum(len(names) for _, _, names in os.walk(StorageFolder(lab.state_dir).path / "content"))
    pid = server().pid
    hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        other = large.get_blob_client("other")
        for call in (
            lambda: other.upload_blob(b"y" * 500_000),
            lambda: other.stage_block("aa", b"y" * 500_000),
        ):
            with pytest.raises(HttpResponseError) as caught:
                call()
            assert (caught.value.status_code, caught.value.error_code) == (503, "ServerBusy")
            assert "Free some space" in caught.value.message
        assert blob.download_blob().readall() == b"x" * 1000
        assert not other.exists()
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
    left = sum(len(names) for _, _, names in os.walk(StorageFolder(lab.state_dir).path / "content"))
    assert left == files
    other.upload_blob(b"y" * 500_000)
    assert other.download_blob().readall() == b"y" * 500_000
    other.delete_blob()
    blob.delete_blob()
