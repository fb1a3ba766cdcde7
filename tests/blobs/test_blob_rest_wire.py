"""The REST API by hand: what the vendor's client would not send, and what stands in the answers."""

import base64
import hashlib
import socket
import ssl
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.parse import urlsplit

import pytest
import requests

from iotedge_lab.wire.storage import shared_key

NOW = object()


@pytest.fixture(scope="module")
def call(lab, key):
    """`call(method, "/container/blob?query", headers, body)`: the answer to one request, signed with the key."""
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(lab.state_dir / "certificates" / "lab-ca.pem")

        def ask(method, path, headers=None, data=b"", *, date=NOW, signed=True):
            url = (
                "https://"
                + lab.storage_connection_string.split("BlobEndpoint=https://")[1].rstrip(";")
                + path
            )
            when = format_datetime(datetime.now(UTC), usegmt=True) if date is NOW else date
            sent = {"x-ms-version": "2021-12-02"} | (headers or {})
            if isinstance(data, bytes):
                sent["Content-Length"] = str(len(data))
            if when:
                sent["x-ms-date"] = when
            if signed:
                parts = urlsplit(url)
                sent["Authorization"] = shared_key.authorization(
                    method, parts.path, list(sent.items()), account="iotedgelab", key=key, query=parts.query
                )
            return session.request(method, url, headers=sent, data=data, timeout=60)

        yield ask


@pytest.fixture
def here(container):
    return f"/{container.container_name}"


def code(answer):
    """The code in body and header, which are one."""
    found = ET.fromstring(answer.content)
    assert found.tag == "Error"
    assert answer.headers["Content-Type"] == "application/xml"
    assert answer.headers["x-ms-request-id"] in found.findtext("Message")
    assert found.findtext("Code") == answer.headers["x-ms-error-code"]
    return answer.status_code, found.findtext("Code")


BLOB = {"x-ms-blob-type": "BlockBlob"}


def md5(data):
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def test_headers_of_every_answer(call, here):
    """Request id, version, date; the client's own id comes back."""
    for path in (here + "?restype=container", here + "/none"):
        answer = call("GET", path, {"x-ms-client-request-id": "mine"})
        assert answer.headers["x-ms-version"] == "2021-12-02"
        assert answer.headers["x-ms-client-request-id"] == "mine"
        assert len(answer.headers["x-ms-request-id"]) == 36
        assert answer.headers["Date"]


def test_checksums(call, here):
    """A body that is not what its checksum says is not kept; one that is, is told back."""
    put = f"{here}/b"
    for name in ("Content-MD5", "x-ms-blob-content-md5"):
        answer = call("PUT", put, BLOB | {name: md5(b"other")}, b"body")
        assert code(answer) == (400, "Md5Mismatch")
        assert ET.fromstring(answer.content).findtext("ServerCalculatedMd5") == md5(b"body")
        assert code(call("PUT", put, BLOB | {name: "bm90"}, b"body")) == (400, "InvalidMd5")
    assert call("GET", put).status_code == 404
    assert call("PUT", put, BLOB | {"Content-MD5": md5(b"body")}, b"body").headers["Content-MD5"] == md5(
        b"body"
    )
    assert call("GET", put).headers["Content-MD5"] == md5(b"body")
    block = f"{put}?comp=block&blockid=YWE%3D"
    assert code(call("PUT", block, {"Content-MD5": md5(b"other")}, b"body")) == (400, "Md5Mismatch")
    assert call("PUT", block, {"Content-MD5": md5(b"body")}, b"body").status_code == 201
    listed = b"<BlockList><Latest>YWE=</Latest></BlockList>"
    path = f"{put}?comp=blocklist"
    assert code(call("PUT", path, {"Content-MD5": md5(b"other")}, listed)) == (400, "Md5Mismatch")
    told = {"x-ms-blob-content-md5": md5(b"told")}
    assert call("PUT", path, told, listed).status_code == 201
    assert call("GET", put).headers["Content-MD5"] == md5(b"told")
    part = call("GET", put, {"x-ms-range": "bytes=1-2", "x-ms-range-get-content-md5": "true"})
    assert (part.status_code, part.content) == (206, b"od")
    assert (part.headers["Content-MD5"], part.headers["x-ms-blob-content-md5"]) == (md5(b"od"), md5(b"told"))
    assert part.headers["Content-Range"] == "bytes 1-2/4"


@pytest.mark.parametrize(
    ("asked", "status", "body"),
    [
        ("bytes=0-3", 206, b"0123"),
        ("bytes=8-", 206, b"89"),
        ("bytes=5-500", 206, b"56789"),
        ("bytes=9-9", 206, b"9"),
        ("bytes=10-", 416, None),
        ("bytes=10-20", 416, None),
        ("bytes=5-4", 200, b"0123456789"),
        ("bytes=-3", 200, b"0123456789"),
        ("lines=1-2", 200, b"0123456789"),
        ("bytes=0-1,3-4", 200, b"0123456789"),
    ],
)
@pytest.mark.parametrize("header", ["Range", "x-ms-range"])
def test_ranges(call, here, *, header, asked, status, body):
    """First and last byte; a range that cannot be read is passed over, one beyond the end is 416."""
    call("PUT", f"{here}/b", BLOB, b"0123456789")
    answer = call("GET", f"{here}/b", {header: asked})
    assert answer.status_code == status
    if body is None:
        assert code(answer) == (416, "InvalidRange")
        assert answer.headers["Content-Range"] == "bytes */10"
    else:
        assert answer.content == body


def test_head_tells_as_much_as_get(call, here):
    """Length and type, with no body; a refusal has its code in the header."""
    call("PUT", f"{here}/b", BLOB | {"x-ms-blob-content-type": "text/plain"}, b"0123456789")
    answer = call("HEAD", f"{here}/b")
    assert (answer.headers["Content-Length"], answer.headers["Content-Type"], answer.content) == (
        "10",
        "text/plain",
        b"",
    )
    missing = call("HEAD", f"{here}/none")
    assert (missing.status_code, missing.headers["x-ms-error-code"], missing.content) == (
        404,
        "BlobNotFound",
        b"",
    )


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "expected"),
    [
        ("PUT", "/b", {}, b"x", (400, "MissingRequiredHeader")),
        ("PUT", "/b", {"x-ms-blob-type": "Blob"}, b"x", (400, "InvalidHeaderValue")),
        ("PUT", "/b", BLOB | {"x-ms-access-tier": "Warm"}, b"x", (400, "InvalidHeaderValue")),
        ("PUT", "/b", BLOB | {"x-ms-meta-1a": "x"}, b"x", (400, "InvalidMetadata")),
        ("PUT", "/b", BLOB | {"x-ms-meta-a": "x" * 9000}, b"x", (400, "MetadataTooLarge")),
        ("PUT", "/b", BLOB | {"If-Modified-Since": "soon"}, b"x", (400, "InvalidHeaderValue")),
        ("PUT", "/b", BLOB | {"x-ms-version": "2011-08-18"}, b"x", (400, "InvalidHeaderValue")),
        ("PUT", "/b", BLOB | {"x-ms-version": "now"}, b"x", (400, "InvalidHeaderValue")),
        ("PUT", "/b", BLOB | {"x-ms-if-tags": "a = 'b'"}, b"x", (501, "NotImplemented")),
        ("PUT", "/" + "x" * 1025, BLOB, b"x", (400, "InvalidUri")),
        ("PUT", "/b?comp=block", {}, b"x", (400, "InvalidQueryParameterValue")),
        ("PUT", "/b?comp=block&blockid=a", {}, b"x", (400, "InvalidQueryParameterValue")),
        ("PUT", "/b?comp=block&blockid=" + "YWFh" * 22, {}, b"x", (400, "InvalidQueryParameterValue")),
        ("PUT", "/b?comp=block&blockid=YWE%3D", {}, b"", (400, "InvalidHeaderValue")),
        ("PUT", "/b?comp=blocklist", {}, b"<BlockList>", (400, "InvalidXmlDocument")),
        ("PUT", "/b?comp=blocklist", {}, b"<List/>", (400, "InvalidXmlDocument")),
        ("PUT", "/b?comp=blocklist", {}, b"<BlockList><Old>YQ==</Old></BlockList>", (400, "InvalidXmlNodeValue")),
        (
            "PUT",
            "/b?comp=blocklist",
            {},
            b'<!DOCTYPE b [<!ENTITY a "b">]><BlockList><Latest>&a;</Latest></BlockList>',
            (400, "InvalidXmlDocument"),
        ),
        ("PUT", "/b?comp=blocklist", {}, b"<BlockList><Latest>YQ==</Latest></BlockList>", (400, "InvalidBlockList")),
        ("PUT", "?restype=container&comp=acl", {}, b"<SignedIdentifiers><SignedIdentifier/></SignedIdentifiers>",
         (400, "InvalidXmlNodeValue")),
        ("GET", "?restype=container&comp=list&maxresults=0", {}, b"", (400, "OutOfRangeQueryParameterValue")),
        ("GET", "?restype=container&comp=list&marker=!!", {}, b"", (400, "InvalidQueryParameterValue")),
        ("GET", "/b?comp=nonsense", {}, b"", (400, "InvalidQueryParameterValue")),
        ("GET", "/b?snapshot=2026-01-01T00:00:00Z", {}, b"", (501, "NotImplemented")),
        ("POST", "/b", {}, b"", (405, "UnsupportedHttpVerb")),
        ("PATCH", "?restype=container", {}, b"", (405, "UnsupportedHttpVerb")),
    ],
)  # fmt: skip
def test_bad_requests(call, here, container, *, method, path, headers, body, expected):
    """Each is refused with its code, and nothing is made."""
    assert code(call(method, here + path, headers, body)) == expected
    assert not list(container.list_blobs(include=["uncommittedblobs"]))


@pytest.mark.parametrize(
    ("headers", "date", "expected"),
    [
        ({"Authorization": "SharedKey iotedgelab"}, NOW, (400, "InvalidAuthenticationInfo")),
        ({"Authorization": "SharedKeyLite iotedgelab:c2ln"}, NOW, (400, "InvalidAuthenticationInfo")),
        ({"Authorization": "SharedKey someone:c2ln"}, NOW, (403, "AuthenticationFailed")),
        ({"Authorization": "SharedKey iotedgelab:\xfcml"}, NOW, (403, "AuthenticationFailed")),
        ({"Authorization": "Bearer e30"}, NOW, (403, "AuthenticationFailed")),
        ({"Authorization": "SharedKey iotedgelab:c2ln"}, "", (403, "AuthenticationFailed")),
        ({}, NOW, (401, "NoAuthenticationInformation")),
    ],
)  # fmt: skip
def test_bad_signatures(call, here, headers, date, expected):
    """Each says what is wrong with it."""
    assert code(call("GET", here + "?restype=container", headers, date=date, signed=False)) == expected


def test_a_signature_of_another_time_or_request(call, here):
    """A quarter of an hour is allowed; what was signed is what is done."""
    old = "Thu, 26 Nov 2020 10:00:00 GMT"
    answer = call("GET", here + "?restype=container", date=old)
    assert code(answer) == (403, "AuthenticationFailed")
    assert "s off" in answer.text
    assert call("GET", here + "?restype=container").status_code == 200


def test_a_body_that_does_not_come_whole(lab, call, here, container, key):
    """The client leaves in the middle: nothing is kept, and the server serves the next."""
    parts = urlsplit(lab.storage_connection_string.split("BlobEndpoint=")[1].rstrip(";"))
    path = f"{parts.path}{here}/half"
    sent = {
        "x-ms-date": format_datetime(datetime.now(UTC), usegmt=True),
        "x-ms-version": "2021-12-02",
        "x-ms-blob-type": "BlockBlob",
        "Content-Length": "1000000",
    }
    sent["Authorization"] = shared_key.authorization(
        "PUT", path, list(sent.items()), account="iotedgelab", key=key
    )
    context = ssl.create_default_context(cafile=str(lab.ca_file))
    with (
        socket.create_connection((parts.hostname, parts.port), 60) as plain,
        context.wrap_socket(plain, server_hostname=parts.hostname) as secure,
    ):
        head = f"PUT {path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        secure.sendall(
            (head + "".join(f"{name}: {value}\r\n" for name, value in sent.items()) + "\r\n").encode()
        )
        secure.sendall(b"x" * 300_000)
    assert call("PUT", f"{here}/whole", BLOB, b"1").status_code == 201
    assert [each.name for each in container.list_blobs()] == ["whole"]


def test_without_a_length(lab, here, call):
    """A chunked body is 411, as on Azure."""
    assert code(call("PUT", f"{here}/b", BLOB, iter([b"x"]))) == (411, "MissingContentLengthHeader")


def test_the_longest_name(call, here):
    """1024 characters, each nine bytes in the URL."""
    name = "%E2%98%83" * 1024
    assert call("PUT", f"{here}/{name}", BLOB, b"1").status_code == 201
    assert call("GET", f"{here}/{name}").content == b"1"


def test_the_account_in_a_path_with_other_spellings(call, here):
    """A slash at the end of the account's path, and names in percent-encoding."""
    call("PUT", f"{here}/a%20b", BLOB, b"1")
    assert call("GET", f"{here}/a%20b").content == b"1"
    assert call("GET", "/?comp=list&prefix=" + here[1:]).status_code == 200
    assert call("GET", "?comp=list&prefix=" + here[1:]).status_code == 200
