"""The bodies of the Blob service: lists and errors out, block lists and access policies in. All are XML.

Elements and their order are those of the pages of each call (learn.microsoft.com, rest/api/storageservices).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import quote
from xml.etree import ElementTree as ET

from iotedge_lab.blobs.errors import BlobError
from iotedge_lab.blobs.records import CONTENT_HEADERS, TIER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from iotedge_lab.blobs.records import Blob, Block, Container, Page

POLICIES_LIMIT: Final = 5
_ILLEGAL: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_DECLARATION: Final = b'<?xml version="1.0" encoding="utf-8"?>'


def http_date(seconds: float) -> str:
    """A time as headers and lists have it: `Thu, 26 Nov 2026 10:00:00 GMT`."""
    return format_datetime(datetime.fromtimestamp(int(seconds), UTC), usegmt=True)


def _child(parent: ET.Element, name: str, text: str = "") -> ET.Element:
    made = ET.SubElement(parent, name)
    made.text = text
    return made


def _bytes(root: ET.Element) -> bytes:
    made: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=False)
    return _DECLARATION + made


# -- out -----------------------------------------------------------------------------------------------


def error(code: str, message: str, details: Mapping[str, str]) -> bytes:
    """A refusal."""
    root = ET.Element("Error")
    _child(root, "Code", code)
    _child(root, "Message", _legal(message))
    for name, value in details.items():
        _child(root, name, _legal(value))
    return _bytes(root)


def _legal(text: str) -> str:
    return _ILLEGAL.sub("?", text)


def _listing(endpoint: str, asked: Mapping[str, str], container: str = "") -> ET.Element:
    root = ET.Element("EnumerationResults", ServiceEndpoint=f"{endpoint}/")
    if container:
        root.set("ContainerName", container)
    for name, element in (
        ("prefix", "Prefix"),
        ("marker", "Marker"),
        ("maxresults", "MaxResults"),
        ("delimiter", "Delimiter"),
    ):
        if asked.get(name):
            _child(root, element, _legal(asked[name]))
    return root


def containers(
    endpoint: str, asked: Mapping[str, str], found: Sequence[Container], marker: str, *, metadata: bool
) -> bytes:
    """The answer to List Containers."""
    root = _listing(endpoint, asked)
    listed = _child(root, "Containers")
    for each in found:
        entry = _child(listed, "Container")
        _child(entry, "Name", each.name)
        properties = _child(entry, "Properties")
        for name, value in (
            ("Last-Modified", http_date(each.modified)),
            ("Etag", each.etag),
            ("LeaseStatus", "unlocked"),
            ("LeaseState", "available"),
            ("DefaultEncryptionScope", "$account-encryption-key"),
            ("DenyEncryptionScopeOverride", "false"),
            ("HasImmutabilityPolicy", "false"),
            ("HasLegalHold", "false"),
        ):
            _child(properties, name, value)
        if metadata:
            _metadata(entry, each.metadata)
    _child(root, "NextMarker", marker)
    return _bytes(root)


def blobs(
    endpoint: str, container: str, asked: Mapping[str, str], page: Page, marker: str, *, metadata: bool
) -> bytes:
    """The answer to List Blobs."""
    root = _listing(endpoint, asked, container)
    listed = _child(root, "Blobs")
    for item in page.items:
        if item.blob is None:
            _name(_child(listed, "BlobPrefix"), item.name)
            continue
        entry = _child(listed, "Blob")
        _name(entry, item.name)
        properties = _child(entry, "Properties")
        for name, value in _properties(item.blob):
            _child(properties, name, value)
        if metadata:
            _metadata(entry, item.blob.metadata)
        _child(entry, "OrMetadata")
    _child(root, "NextMarker", marker)
    return _bytes(root)


def _properties(blob: Blob) -> Iterable[tuple[str, str]]:
    if blob.etag:  # not of one that has nothing but blocks that wait
        yield "Creation-Time", http_date(blob.created)
        yield "Last-Modified", http_date(blob.modified)
        yield "Etag", blob.etag.strip('"')
    yield "Content-Length", str(blob.size)
    for name in CONTENT_HEADERS:
        yield name, _legal(blob.headers.get(name, ""))
    yield "BlobType", "BlockBlob"
    tier = blob.headers.get(TIER)
    yield "AccessTier", tier or "Hot"
    if tier is None:
        yield "AccessTierInferred", "true"
    yield "LeaseStatus", "unlocked"
    yield "LeaseState", "available"
    yield "ServerEncrypted", "true"


def _name(parent: ET.Element, name: str) -> None:
    made = _child(parent, "Name", name)
    if _ILLEGAL.search(name):  # since version 2021-02-12
        made.set("Encoded", "true")
        made.text = quote(name, safe="/")


def _metadata(parent: ET.Element, metadata: Mapping[str, str]) -> None:
    made = _child(parent, "Metadata")
    for name, value in metadata.items():
        _child(made, name, _legal(value))


def block_list(committed: Sequence[Block] | None, waiting: Sequence[Block] | None) -> bytes:
    """The answer to Get Block List; None for a list that was not asked for."""
    root = ET.Element("BlockList")
    for name, blocks in (("CommittedBlocks", committed), ("UncommittedBlocks", waiting)):
        if blocks is None:
            continue
        listed = _child(root, name)
        for block in blocks:
            entry = _child(listed, "Block")
            _child(entry, "Name", block.id)
            _child(entry, "Size", str(block.size))
    return _bytes(root)


def policies(found: Mapping[str, Mapping[str, str]]) -> bytes:
    """The answer to Get Container ACL."""
    root = ET.Element("SignedIdentifiers")
    for name, policy in found.items():
        entry = _child(root, "SignedIdentifier")
        _child(entry, "Id", name)
        told = _child(entry, "AccessPolicy")
        for key, element in _POLICY.items():
            if policy.get(key):
                _child(told, element, policy[key])
    return _bytes(root)


def service_properties() -> bytes:
    """The answer to Get Blob Service Properties: of what can be switched on, nothing is."""
    root = ET.Element("StorageServiceProperties")
    retention = _child(root, "DeleteRetentionPolicy")
    _child(retention, "Enabled", "false")
    _child(_child(root, "StaticWebsite"), "Enabled", "false")
    _child(root, "Cors")
    return _bytes(root)


# -- in ------------------------------------------------------------------------------------------------

_POLICY: Final = {"start": "Start", "expiry": "Expiry", "permission": "Permission"}


def _parse(body: bytes, root: str) -> ET.Element:
    # A document type could name entities that grow without end; none of these documents has one.
    try:
        if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
            raise BlobError(
                400, "InvalidXmlDocument", "XML specified is not syntactically valid: it has a DOCTYPE."
            )
        found = ET.fromstring(body)  # noqa: S314 - see above
    except ET.ParseError as problem:
        raise BlobError(
            400, "InvalidXmlDocument", f"XML specified is not syntactically valid: {problem}."
        ) from problem
    if found.tag != root:
        raise BlobError(
            400,
            "InvalidXmlDocument",
            f"XML specified is not valid: its root is {found.tag[:40]!r}, not {root!r}.",
        )
    return found


def read_block_list(body: bytes) -> list[tuple[str, str]]:
    """(`Latest`, `Committed` or `Uncommitted`, id of the block) each, in order. Raises 400 InvalidXmlDocument."""
    found = []
    for each in _parse(body, "BlockList"):
        if each.tag not in ("Latest", "Committed", "Uncommitted"):
            raise BlobError(
                400,
                "InvalidXmlNodeValue",
                f"The value provided for one of the XML nodes is not valid: {each.tag[:40]!r}.",
            )
        found.append((each.tag, (each.text or "").strip()))
    return found


def read_policies(body: bytes) -> dict[str, dict[str, str]]:
    """Stored access policies by id. Raises `BlobError` (400)."""
    found: dict[str, dict[str, str]] = {}
    if not body.strip():
        return found
    for each in _parse(body, "SignedIdentifiers"):
        name = (each.findtext("Id") or "").strip()
        if not 1 <= len(name) <= 64:
            raise BlobError(
                400, "InvalidXmlNodeValue", "The Id of a signed identifier has 1 to 64 characters."
            )
        policy = each.find("AccessPolicy")
        told = (
            {}
            if policy is None
            else {key: (policy.findtext(element) or "").strip() for key, element in _POLICY.items()}
        )
        found[name] = {key: value for key, value in told.items() if value}
    if len(found) > POLICIES_LIMIT:
        raise BlobError(
            400, "InvalidXmlDocument", f"A container has at most {POLICIES_LIMIT} stored access policies."
        )
    return found
