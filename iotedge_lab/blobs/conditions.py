"""Conditional headers: whether a request is to be carried out at the resource as it is now.

"Specifying conditional headers for Blob service operations" (learn.microsoft.com, rest/api/storageservices). A read
that finds nothing new is 304, everything else that is not met 412 ConditionNotMet. Left out: `x-ms-if-tags`.
"""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Protocol

from iotedge_lab.blobs.errors import BlobError, bad_header, not_served

if TYPE_CHECKING:
    from collections.abc import Mapping


class Versioned(Protocol):
    """A container or blob. `modified`: s since 1970."""

    @property
    def etag(self) -> str:
        """With its quotes."""
        ...

    @property
    def modified(self) -> float:
        """When it was last changed."""
        ...


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a request asks for; None where it asks for nothing. Times in s since 1970."""

    match: str | None = None
    none_match: str | None = None
    modified_since: float | None = None
    unmodified_since: float | None = None

    @classmethod
    def read(cls, headers: Mapping[str, str], prefix: str = "") -> Conditions:
        """From a request's headers; `prefix` is `x-ms-source-` for the source of a copy. Raises `BlobError` (400)."""
        if not prefix and "x-ms-if-tags" in headers:
            raise not_served("a condition on tags (x-ms-if-tags)")
        return cls(
            headers.get(f"{prefix}If-Match"),
            headers.get(f"{prefix}If-None-Match"),
            _time(headers, f"{prefix}If-Modified-Since"),
            _time(headers, f"{prefix}If-Unmodified-Since"),
        )

    def require(self, found: Versioned | None, *, code: str = "ConditionNotMet") -> None:
        """For a change: raises `BlobError` (412) unless all are met. `found` None: there is no such blob yet.

        A condition of which nothing is there to be compared with is met, except If-Match.
        """
        if self.match is not None and (found is None or not _names(self.match, found.etag)):
            raise _not_met(code)
        if found is None:
            return
        if self.none_match is not None and _names(self.none_match, found.etag):
            raise _not_met(code)
        if self.modified_since is not None and int(found.modified) <= self.modified_since:
            raise _not_met(code)
        self._unmodified(found, code)

    def require_for_read(self, found: Versioned) -> None:
        """For a read: raises `BlobError`, 412 as `require`, and 304 if there is nothing new."""
        if self.match is not None and not _names(self.match, found.etag):
            raise _not_met()
        self._unmodified(found, "ConditionNotMet")
        # RFC 9110, section 13.2.2: If-Modified-Since counts only without If-None-Match.
        if self.none_match is not None:
            unchanged = _names(self.none_match, found.etag)
        else:
            unchanged = self.modified_since is not None and int(found.modified) <= self.modified_since
        if unchanged:
            raise BlobError(
                304, "ConditionNotMet", "The condition specified using HTTP conditional header(s) is not met."
            )

    def _unmodified(self, found: Versioned, code: str) -> None:
        if self.unmodified_since is not None and int(found.modified) > self.unmodified_since:
            raise _not_met(code)


def _not_met(code: str = "ConditionNotMet") -> BlobError:
    return BlobError(412, code, "The condition specified using HTTP conditional header(s) is not met.")


def _names(header: str, etag: str) -> bool:
    if header.strip() == "*":
        return True
    bare = etag.strip('"')
    return any(each.strip().removeprefix("W/").strip('"') == bare for each in header.split(","))


def _time(headers: Mapping[str, str], name: str) -> float | None:
    text = headers.get(name)
    if text is None:
        return None
    try:
        return parsedate_to_datetime(text).timestamp()
    except ValueError:
        raise bad_header(name, text, "is no HTTP date") from None
