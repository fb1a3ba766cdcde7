"""Shared access signatures of Azure Storage: what a URL of a blob carries to be let in.

Azure: "Create a service SAS" and "Create an account SAS" (learn.microsoft.com, rest/api/storageservices). A token is
a query: `sv` version, `sp` permissions, `st` and `se` start and expiry, `sip` addresses, `spr` protocols, `sig`; a
service SAS has `sr` (b: a blob, c: a container) and may name a stored access policy (`si`), an account SAS has `ss`
services and `srt` resource types. What is signed depends on `sv`:

    service SAS                              since
    sp st se resource si sv rscc..rsct       2013-08-15    resource: /{account}/{container}[/{blob}]
    ... resource                             2015-02-21    resource: /blob/{account}/...
    ... si sip spr sv rscc..rsct             2015-04-05
    ... sv sr snapshot rscc..rsct            2018-11-09
    ... sr snapshot ses rscc..rsct           2020-12-06
    account SAS                              since
    account sp ss srt st se sip spr sv       2015-04-05
    ... sv ses                               2020-12-06    (a line feed ends the last one too)

Leaves out: user delegation SAS (they need Microsoft Entra ID), directories (`sr=d`) and snapshots.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from iotedge_lab.wire.storage.shared_key import sign

if TYPE_CHECKING:
    from collections.abc import Mapping

    from iotedge_lab.wire.storage.account import StorageAccount

VERSION: Final = "2021-08-06"  # of the tokens made here: every client in use knows it
_VERSION_FORM: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
#: The query's parameters that are the token's and not the request's.
PARAMETERS: Final = frozenset(
    {"sv", "sr", "ss", "srt", "sp", "st", "se", "si", "sip", "spr", "sig", "ses"}
    | {"rscc", "rscd", "rsce", "rscl", "rsct"}
    | {
        "skoid",
        "sktid",
        "skt",
        "ske",
        "sks",
        "skv",
        "saoid",
        "suoid",
        "scid",
        "sdd",
        "sduoid",
        "skdutid",
        "srh",
        "srq",
    }
)
_RESPONSE: Final = ("rscc", "rscd", "rsce", "rscl", "rsct")


class SasProblem(ValueError):
    """A token that cannot be read; the message says which part is at fault."""


@dataclass(frozen=True, slots=True)
class BlobSas:
    """A token, taken apart. Times are s since 1970, None where it names none (a stored policy may)."""

    fields: Mapping[str, str]
    version: str
    signature: str
    permissions: str
    start: float | None
    expiry: float | None

    @property
    def is_account(self) -> bool:
        """Whether it is for the account (`ss`, `srt`), and not for a container or blob (`sr`)."""
        return "srt" in self.fields

    def get(self, name: str) -> str:
        """A part as it was sent, decoded; '' where there is none."""
        return self.fields.get(name, "")

    def response_headers(self) -> dict[str, str]:
        """The headers that a reader shall get in place of the blob's own (`rscc` ... `rsct`)."""
        names = (
            "Cache-Control",
            "Content-Disposition",
            "Content-Encoding",
            "Content-Language",
            "Content-Type",
        )
        return {
            name: self.fields[part] for part, name in zip(_RESPONSE, names, strict=True) if self.get(part)
        }

    def string_to_sign(self, account: str, container: str, blob: str) -> str:
        """What its signature is over, for a blob (or a container, `blob` '') of an account."""
        if self.is_account:
            return self._account_string(account)
        get = self.get
        place = f"/{account}/{container}" + (f"/{blob}" if get("sr") == "b" else "")
        if self.version >= "2015-02-21":
            place = f"/blob{place}"
        parts = [get("sp"), get("st"), get("se"), place, get("si")]
        if self.version >= "2015-04-05":
            parts += [get("sip"), get("spr")]
        parts.append(get("sv"))
        if self.version >= "2018-11-09":
            parts += [get("sr"), ""]  # of snapshots there are none
        if self.version >= "2020-12-06":
            parts.append(get("ses"))
        return "\n".join(parts + [get(name) for name in _RESPONSE])

    def _account_string(self, account: str) -> str:
        parts = [account, *(self.get(name) for name in ("sp", "ss", "srt", "st", "se", "sip", "spr", "sv"))]
        if self.version >= "2020-12-06":
            parts.append(self.get("ses"))
        return "\n".join(parts) + "\n"


def parse(query: Mapping[str, str]) -> BlobSas:
    """The token in a query (names and values decoded). Raises `SasProblem`."""
    fields = {name: query[name] for name in PARAMETERS if name in query}
    if "skoid" in fields:
        raise SasProblem(
            "it is a user delegation SAS, and this endpoint knows no Microsoft Entra ID; use the key"
        )
    version = fields.get("sv", "")
    if _VERSION_FORM.fullmatch(version) is None or version < "2013-08-15":
        raise SasProblem("sv is not a version from 2013-08-15 on")
    if "srt" in fields:
        if version < "2015-04-05":
            raise SasProblem("an account SAS has a version from 2015-04-05 on")
        if not fields.get("ss"):
            raise SasProblem("ss is missing")
    elif fields.get("sr") not in ("b", "c"):
        raise SasProblem("sr is b or c" if fields.get("sr") else "sr (or srt) is missing")
    elif "si" not in fields and not (fields.get("sp") and fields.get("se")):
        raise SasProblem("sp and se are needed where no stored access policy is named (si)")
    if "srt" in fields and not (fields.get("sp") and fields.get("se")):
        raise SasProblem("sp and se are needed")
    if not fields.get("sig"):
        raise SasProblem("sig is missing")
    return BlobSas(
        fields,
        version,
        fields["sig"],
        fields.get("sp", ""),
        read_time("st", fields["st"]) if fields.get("st") else None,
        read_time("se", fields["se"]) if fields.get("se") else None,
    )


def read_time(name: str, text: str) -> float:
    """Seconds since 1970 of a time in ISO 8601, UTC. Raises `SasProblem` naming the parameter."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise SasProblem(f"{name} is no time in ISO 8601, such as 2026-11-26T10:00:00Z") from None
    return at.replace(tzinfo=at.tzinfo or UTC).timestamp()


def make(
    account: StorageAccount,
    container: str,
    blob: str,
    permissions: str,
    expiry: float,
    *,
    start: float | None = None,
) -> str:
    """A service SAS for one blob, as a query without the '?'. Times in s since 1970; HTTPS alone where spoken."""
    fields = {
        "sv": VERSION,
        "st": _iso(start) if start is not None else "",
        "se": _iso(expiry),
        "sr": "b",
        "sp": permissions,
        "spr": "https" if account.endpoint.startswith("https:") else "https,http",
    }
    made = BlobSas(
        {name: value for name, value in fields.items() if value}, VERSION, "", permissions, start, expiry
    )
    signature = sign(made.string_to_sign(account.name, container, blob), account.key)
    return "&".join(
        f"{name}={quote(value, safe='')}" for name, value in ({**made.fields, "sig": signature}).items()
    )


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
