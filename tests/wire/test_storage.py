"""Signatures and connection strings of Azure Storage, held against the documents and the vendor's own code."""

from datetime import UTC, datetime
from urllib.parse import parse_qsl

import pytest
from azure.storage.blob import generate_account_sas, generate_blob_sas, generate_container_sas
from azure.storage.blob._shared.authentication import _storage_header_sort
from hypothesis import given, settings
from hypothesis import strategies as st

from iotedge_lab.errors import ConnectionStringError
from iotedge_lab.wire.storage import blob_sas, shared_key
from iotedge_lab.wire.storage.account import StorageAccount
from iotedge_lab.wire.storage.blob_sas import SasProblem

KEY = "c3RvcmFnZSBrZXk="
LATER = datetime(2040, 1, 2, 3, 4, 5, tzinfo=UTC)


# -- connection strings --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "endpoint", "host", "authority"),
    [
        (
            f"DefaultEndpointsProtocol=https;AccountName=abc;AccountKey={KEY};EndpointSuffix=core.windows.net",
            "https://abc.blob.core.windows.net",
            "abc.blob.core.windows.net",
            "abc.blob.core.windows.net",
        ),
        (f"AccountName=abc;AccountKey={KEY}", "https://abc.blob.core.windows.net", "abc.blob.core.windows.net", None),
        (
            f"accountname=abc;ACCOUNTKEY={KEY};BlobEndpoint=http://127.0.0.1:10000/abc/;",
            "http://127.0.0.1:10000/abc",
            "127.0.0.1",
            "127.0.0.1:10000/abc",
        ),
        (f"DefaultEndpointsProtocol=http;AccountName=abc;AccountKey={KEY};EndpointSuffix=x.y",
         "http://abc.blob.x.y", "abc.blob.x.y", "abc.blob.x.y"),
    ],
)  # fmt: skip
def test_a_connection_string(text, endpoint, host, authority):
    """It is read in any case and order; written, and read again, it is the same."""
    account = StorageAccount.parse(text)
    assert (account.name, account.key, account.endpoint, account.host) == ("abc", KEY, endpoint, host)
    assert authority in (None, account.authority)
    assert StorageAccount.parse(account.format()) == account
    assert KEY not in repr(account)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "AccountName"),
        ("AccountName=abc", "AccountKey"),
        (f"AccountKey={KEY}", "AccountName"),
        ("AccountName=abc;SharedAccessSignature=sv=1", "AccountKey"),
        (f"AccountName=a;AccountKey={KEY}", "3 to 24"),
        ("AccountName=abc;AccountKey=no", "base64"),
        (f"AccountName=abc;AccountKey={KEY};BlobEndpoint=abc", "BlobEndpoint"),
        (f"AccountName=abc;{KEY.strip('=')}", "Part 2"),
    ],
)
def test_connection_strings_that_are_none(text, word):
    """The message names the part, and shows no key."""
    with pytest.raises(ConnectionStringError, match=word) as caught:
        StorageAccount.parse(text)
    assert KEY.strip("=") not in str(caught.value)


# -- Shared Key ----------------------------------------------------------------------------------------


def test_the_string_of_the_documents():
    """The example of "Authorize with Shared Key": a request to list containers' metadata."""
    headers = [
        ("x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT"),
        ("x-ms-version", "2015-02-21"),
        ("Content-Length", "0"),
        ("Date", "passed over"),
    ]
    path, query = "/mycontainer", "restype=container&comp=metadata&timeout=20"
    [text] = shared_key.strings_to_sign("GET", path, shared_key.query_of(query), headers, "myaccount")
    assert text == (
        "GET\n\n\n\n\n\n\n\n\n\n\n\n"
        "x-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n"
        "/myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20"
    )


@settings(max_examples=200, deadline=None)
@given(st.sets(st.from_regex(r"[a-z_][a-z0-9_]{0,6}", fullmatch=True), min_size=2, max_size=6))
def test_the_order_of_the_vendors_client_is_one_of_ours(names):
    """Whatever the metadata is called, what the vendor's client signs is among what is tried."""
    headers = [(f"x-ms-meta-{name}", "v") for name in names] + [("x-ms-date", "d"), ("x-ms-version", "v")]
    theirs = "".join(f"{name}:{value}\n" for name, value in _storage_header_sort(headers))
    texts = list(shared_key.strings_to_sign("PUT", "/a/c/b", [], headers, "a"))
    assert any(f"\n{theirs}/a/a/c/b" in text for text in texts)


def test_queries_as_they_are_sent():
    """A plus is a plus; a name without a value has an empty one."""
    assert shared_key.query_of("a=1%202&b=x+y&c&d=e=f&&%C3%A4=1") == [
        ("a", "1 2"), ("b", "x+y"), ("c", ""), ("d", "e=f"), ("ä", "1"),
    ]  # fmt: skip


# -- shared access signatures --------------------------------------------------------------------------


def _signed(query):
    """Whether the vendor's token verifies here."""
    fields = dict(parse_qsl(query))
    token = blob_sas.parse(fields)
    return shared_key.sign(token.string_to_sign("abc", "c", "folder/b"), KEY) == token.signature


@pytest.mark.parametrize("permission", ["r", "racwd"])
def test_the_vendors_tokens_verify(permission):
    """For a blob, a container and an account, with all that they may hold."""
    more = {"ip": "127.0.0.1-127.0.0.9", "protocol": "https", "start": LATER, "encryption_scope": "scope"}
    headers = {
        "cache_control": "no-cache",
        "content_disposition": "inline",
        "content_encoding": "gzip",
        "content_language": "en",
        "content_type": "text/plain",
    }
    common = {"account_key": KEY, "permission": permission, "expiry": LATER}
    assert _signed(generate_blob_sas("abc", "c", "folder/b", **common))
    assert _signed(generate_blob_sas("abc", "c", "folder/b", **common, **more, **headers))
    assert _signed(generate_container_sas("abc", "c", **common, **more, **headers))
    assert _signed(generate_container_sas("abc", "c", account_key=KEY, policy_id="p"))
    assert _signed(generate_account_sas("abc", KEY, "sco", permission, LATER, **more))
    assert not _signed(generate_blob_sas("abc", "c", "folder/other", **common))


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("2013-08-15", "SP\nST\nSE\n/abc/c/b\nSI\nVERSION\nCC\nCD\nCE\nCL\nCT"),
        ("2015-02-21", "SP\nST\nSE\n/blob/abc/c/b\nSI\nVERSION\nCC\nCD\nCE\nCL\nCT"),
        ("2015-04-05", "SP\nST\nSE\n/blob/abc/c/b\nSI\nSIP\nSPR\nVERSION\nCC\nCD\nCE\nCL\nCT"),
        ("2018-11-09", "SP\nST\nSE\n/blob/abc/c/b\nSI\nSIP\nSPR\nVERSION\nb\n\nCC\nCD\nCE\nCL\nCT"),
        ("2020-12-06", "SP\nST\nSE\n/blob/abc/c/b\nSI\nSIP\nSPR\nVERSION\nb\n\nSES\nCC\nCD\nCE\nCL\nCT"),
    ],
)
def test_what_is_signed_in_each_version(version, expected):
    """The tables of "Create a service SAS", newest version of each form."""
    fields = {name: name.upper() for name in ("sp", "si", "sip", "spr", "ses")}
    fields |= {f"rsc{letter}": f"C{letter.upper()}" for letter in "cdel"} | {
        "rsct": "CT",
        "sr": "b",
        "sig": "s",
    }
    fields |= {"st": "2039-01-01", "se": "2040-01-01", "sv": version}
    text = blob_sas.parse(fields).string_to_sign("abc", "c", "b")
    told = (
        expected.replace("VERSION", version).replace("ST", "2039-01-01").replace("\nSE\n", "\n2040-01-01\n")
    )
    assert text == told


def test_a_token_of_ours_is_read_by_ourselves():
    """What `make` signs is what is checked, for a name with all kinds of characters."""
    account = StorageAccount("abc", KEY, "https://127.0.0.1:20001/abc")
    query = blob_sas.make(account, "c", "folder/b", "rw", 2_000_000_000.7, start=1_900_000_000)
    assert _signed(query)
    token = blob_sas.parse(dict(parse_qsl(query)))
    assert (token.permissions, token.start, token.expiry, token.get("spr")) == ("rw", 1.9e9, 2e9, "https")
    plain = blob_sas.make(StorageAccount("abc", KEY, "http://127.0.0.1:1/abc"), "c", "b", "r", 2e9)
    assert "spr=https%2Chttp" in plain


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"sv": None}, "sv"),
        ({"sv": "now"}, "sv"),
        ({"sv": "2012-02-12"}, "2013-08-15"),
        ({"sr": None}, "sr"),
        ({"sr": "d"}, "sr is b or c"),
        ({"sig": None}, "sig"),
        ({"sp": None}, "sp and se"),
        ({"se": None}, "sp and se"),
        ({"se": "soon"}, "se is no time"),
        ({"st": "soon"}, "st is no time"),
        ({"skoid": "x"}, "Entra"),
        ({"srt": "o"}, "ss is missing"),
        ({"srt": "o", "ss": "b", "si": "p", "sp": None}, "sp and se"),
        ({"srt": "o", "ss": "b", "sv": "2013-08-15"}, "2015-04-05"),
    ],
)
def test_tokens_that_are_none(change, word):
    """The message says which part is at fault."""
    good = {"sv": "2021-08-06", "sr": "b", "sp": "r", "se": "2040-01-01T00:00:00Z", "sig": "s"}
    blob_sas.parse(good)
    bad = {name: value for name, value in (good | change).items() if value is not None}
    with pytest.raises(SasProblem, match=word):
        blob_sas.parse(bad)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-02", 86_400),
        ("1970-01-01T00:01Z", 60),
        ("1970-01-01T00:01:05Z", 65),
        ("1970-01-01T00:01:05.5Z", 65.5),
        ("1970-01-01T01:00:00+01:00", 0),
    ],
)
def test_times(text, seconds):
    """The forms of ISO 8601 that the documents take; without a zone it is UTC."""
    assert blob_sas.read_time("se", text) == seconds
