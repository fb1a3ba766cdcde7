"""Shared Key: how a request to Azure Storage is signed with the account's key.

Azure: "Authorize with Shared Key" (learn.microsoft.com, rest/api/storageservices), the form for blobs since version
2009-09-19: `Authorization: SharedKey {account}:{signature}`, HMAC-SHA256 with the decoded key over the method, eleven
headers, the `x-ms-` headers in order, and the resource with its query.

In what order the service sorts the `x-ms-` headers is not documented; the SDKs disagree where one name is a beginning
of another or holds '-' against a letter. So a signature over any of the orders in use is taken (`ORDERS`).

Leaves out: SharedKeyLite, and the older form of 2009.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from iotedge_lab.wire.sas import decode_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

SCHEME: Final = "SharedKey"
_SIGNED: Final = (
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
)
#: Keys by which names of headers are sorted: by code, and as .NET's cultures do, which pass over '-' at first and
#: have '_' before digits.
ORDERS: Final[tuple[Callable[[str], tuple[str, ...]], ...]] = (
    lambda name: (name,),
    lambda name: (name.replace("-", "").replace("_", "!"), name),
)


def strings_to_sign(
    method: str, path: str, query: Sequence[tuple[str, str]], headers: Iterable[tuple[str, str]], account: str
) -> Iterator[str]:
    """What is signed, once for each order of the `x-ms-` headers.

    `path` is as it was sent, percent-encoding and all; `query` has names and values decoded.
    """
    sent: dict[str, str] = {}
    for name, value in headers:
        lowered = name.lower()
        sent[lowered] = f"{sent[lowered]},{value}" if lowered in sent else value
    if sent.get("content-length") == "0":  # since version 2015-02-21
        sent["content-length"] = ""
    if "x-ms-date" in sent:
        sent["date"] = ""
    head = "\n".join([method, *(sent.get(name, "") for name in _SIGNED)])
    resource = f"/{account}{path}" + _canonical_query(query)
    own = [name for name in sent if name.startswith("x-ms-")]
    seen = set()
    for order in ORDERS:
        names = tuple(sorted(own, key=order))
        if names not in seen:
            seen.add(names)
            yield "\n".join([head, *(f"{name}:{_folded(sent[name])}" for name in names), resource])


def _folded(value: str) -> str:
    return " ".join(value.split()) if "\n" in value or "\r" in value else value.strip()


def _canonical_query(query: Sequence[tuple[str, str]]) -> str:
    values: dict[str, list[str]] = {}
    for name, value in query:
        values.setdefault(name.lower(), []).append(value)
    return "".join(f"\n{name}:{','.join(sorted(values[name]))}" for name in sorted(values))


def sign(text: str, key: str) -> str:
    """The signature of `text` in base64; `key` is base64. Raises UsageError for a key that is not."""
    return base64.b64encode(hmac.digest(decode_key(key), text.encode(), hashlib.sha256)).decode()


def same(expected: str, sent: str) -> bool:
    """Whether two signatures are one, in a time that tells nothing."""
    return hmac.compare_digest(expected.encode(), sent.encode(errors="replace"))


def authorization(
    method: str, path: str, headers: Sequence[tuple[str, str]], *, account: str, key: str, query: str = ""
) -> str:
    """The header `Authorization` for a request of ours; `path` and `query` as they are sent."""
    text = next(strings_to_sign(method, path, query_of(query), headers, account))
    return f"{SCHEME} {account}:{sign(text, key)}"


def query_of(raw: str) -> list[tuple[str, str]]:
    """The names and values in a query as sent. A '+' stays one: Storage knows no form encoding."""
    pairs = []
    for part in filter(None, raw.split("&")):
        name, _, value = part.partition("=")
        pairs.append((unquote(name), unquote(value)))
    return pairs
