"""A model's file by the vendor's client, from a storage that fails in all the ways that networks and people have."""

import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from car_filter import release
from filter_car import fetching
from filter_car.fetching import Unfetched, Unwanted, Wrong, fetch
from filter_car.release import Release

MODEL = random.Random(7).randbytes(3 * 2**20 + 11)
OTHER = random.Random(8).randbytes(len(MODEL))
RELEASE = Release.read(release(MODEL, "3"))


class Storage(ThreadingHTTPServer):
    """A blob endpoint with one blob. `cuts`: after so many bytes of a GET's body the connection is cut, one by one."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.etag = MODEL, '"1"'
        self.cuts, self.statuses, self.ranges = [], [], []
        self.on_range = lambda: None
        self.url = f"http://127.0.0.1:{self.server_port}/account/models/m.onnx?sv=2025-01-01&sig=very-secret"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, *, body):
        server = self.server
        if "very-secret" not in self.path:
            return self.refuse(403)
        if server.statuses:
            status = server.statuses.pop(0)
            if status is not None:
                return self.refuse(status)
        whole, asked = server.content, self.headers.get("x-ms-range") or self.headers.get("Range")
        begin, end = 0, len(whole) - 1
        if body:
            server.on_range()
            if self.headers.get("If-Match", server.etag) != server.etag:
                return self.refuse(412)
        if asked is not None:
            begin, end = (int(part) for part in asked.removeprefix("bytes=").split("-"))
            end = min(end, len(whole) - 1)
            server.ranges.append(begin)
        part = whole[begin : end + 1]
        self.send_response(206 if asked is not None else 200)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("ETag", server.etag)
        self.send_header("x-ms-blob-type", "BlockBlob")
        self.send_header("Last-Modified", "Mon, 02 Mar 2026 08:00:00 GMT")
        if asked is not None:
            self.send_header("Content-Range", f"bytes {begin}-{end}/{len(whole)}")
        self.end_headers()
        if body:
            cut = server.cuts.pop(0) if server.cuts else None
            self.wfile.write(part if cut is None else part[:cut])
            if cut is not None:
                self.wfile.flush()
                self.close_connection = True
                self.connection.close()
        return None

    def refuse(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def storage():
    made = Storage()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def _no_time_to_lose(monkeypatch):
    monkeypatch.setattr(fetching, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(
        fetching, "_PATIENCE", {"retry_total": 0, "connection_timeout": 20, "read_timeout": 20}
    )


def fetched(storage, part, wanted=lambda: True, told=RELEASE):
    pauses = []
    fetch(told, storage.url, part, pauses.append, wanted)
    return pauses


def test_a_whole_file(storage, tmp_path):
    """Byte for byte, readable by its owner alone, a mebibyte at a time."""
    part = tmp_path / "x.part"
    assert fetched(storage, part) == []
    assert part.read_bytes() == MODEL
    assert part.stat().st_mode & 0o777 == 0o600
    assert storage.ranges == [0, 2**20, 2 * 2**20, 3 * 2**20]
    fetched(storage, part)
    assert len(storage.ranges) == 4, "what is there was fetched again"


def test_a_storage_that_stumbles(storage, tmp_path):
    """It goes on where it stopped, as often as there is progress; nothing of it comes twice."""
    storage.statuses = [None, None, 500, None, None, 503, None, None, 500, None, None]
    part = tmp_path / "x.part"
    pauses = fetched(storage, part)
    assert part.read_bytes() == MODEL
    assert len(pauses) == 3
    assert storage.ranges == [0, 2**20, 2 * 2**20, 3 * 2**20]
    assert storage.statuses == []


def test_a_connection_that_breaks(storage, tmp_path):
    """The rest comes over another one."""
    storage.cuts = [None, 1000]
    part = tmp_path / "x.part"
    fetched(storage, part)
    assert part.read_bytes() == MODEL
    assert storage.cuts == []


def test_it_goes_on_after_a_restart(storage, tmp_path):
    """What lies there already is not fetched again."""
    part = tmp_path / "x.part"
    part.write_bytes(MODEL[: 2**21])
    fetched(storage, part)
    assert part.read_bytes() == MODEL
    assert storage.ranges == [2**21, 3 * 2**20]


@pytest.mark.parametrize("there", [OTHER[:1000], MODEL + b"more", OTHER])
def test_what_lies_there_is_of_another_file(storage, tmp_path, there):
    """Then all of it is fetched once more."""
    part = tmp_path / "x.part"
    part.write_bytes(there)
    fetched(storage, part)
    assert part.read_bytes() == MODEL


def test_a_file_that_was_changed(storage, tmp_path):
    """Size and SHA-256 must be those that the twin names."""
    storage.content = OTHER
    with pytest.raises(Wrong, match="it is another file"):
        fetched(storage, tmp_path / "x.part")
    with pytest.raises(Wrong, match="it is another file"):
        fetched(storage, tmp_path / "x.part")
    storage.content = MODEL[:-1]
    with pytest.raises(Wrong, match=rf"the blob has {len(MODEL) - 1} bytes, and the twin says {len(MODEL)}"):
        fetched(storage, tmp_path / "x.part")


def test_a_file_that_is_changed_meanwhile(storage, tmp_path):
    """Parts of two files are never put together."""
    turns = []

    def later():
        turns.append(1)
        if len(turns) == 3:
            storage.content, storage.etag = OTHER, '"2"'

    storage.on_range = later
    with pytest.raises((Wrong, Unfetched)):
        fetched(storage, tmp_path / "x.part")


@pytest.mark.parametrize(
    ("statuses", "says"),
    [
        ([403], "does not hold"),
        ([404], "no such blob"),
        ([None, 403], "does not hold"),
        ([500] * 50, "cannot be reached"),
        ([503, None, 503, None, 503, None, 503], "cannot be reached"),
    ],
)
def test_an_address_that_is_of_no_use(storage, tmp_path, statuses, says):
    """It is told in words without the address; another one may come."""
    storage.statuses = list(statuses)
    with pytest.raises(Unfetched, match=says) as caught:
        fetched(storage, tmp_path / "x.part")
    assert "secret" not in str(caught.value)


def test_a_storage_that_is_not_there(storage, tmp_path):
    """The address stays a secret in the words of the libraries below, too."""
    storage.server_close()
    with pytest.raises(Unfetched, match="cannot be reached") as caught:
        fetched(storage, tmp_path / "x.part")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["https://", "nonsense", "https://host"])
def test_an_address_that_is_none(tmp_path, url):
    with pytest.raises(Unfetched):
        fetch(RELEASE, url, tmp_path / "x.part", lambda _: None, lambda: True)


def test_what_is_wanted_no_more(storage, tmp_path):
    """It is given up between two parts, and what has come stays for another time."""
    storage_asked = []
    part = tmp_path / "x.part"
    storage.on_range = lambda: storage_asked.append(1)
    with pytest.raises(Unwanted):
        fetched(storage, part, wanted=lambda: len(storage_asked) < 2)
    assert 0 < part.stat().st_size < len(MODEL)
    storage.on_range = lambda: None
    fetched(storage, part)
    assert part.read_bytes() == MODEL


def test_a_disk_that_takes_nothing(storage, tmp_path):
    """Another time it may."""
    with pytest.raises(Unfetched, match="cannot be written"):
        fetched(storage, tmp_path / "none" / "x.part")
