"""The calls of the Blob service: which request is which, and what it takes to be let in.

The permissions are those of the tables in "Create an account SAS" and "Create a service SAS" (learn.microsoft.com,
rest/api/storageservices). One letter of those given is enough. A service SAS opens no call on a container itself
except to list it, and none on the account.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from iotedge_lab.blobs.errors import BlobError, not_served


class Level(Enum):
    """What a call is about: the letter in an account SAS (`srt`)."""

    SERVICE = "s"
    CONTAINER = "c"
    OBJECT = "o"


@dataclass(frozen=True, slots=True)
class Operation:
    """A call. `account`, `service`: the permissions that open it in either kind of SAS, '' if none does.

    `creates`: of permission `c` alone it makes a blob, and does not overwrite one.
    """

    name: str
    level: Level
    account: str
    service: str = ""
    creates: bool = False


_S, _C, _O = Level.SERVICE, Level.CONTAINER, Level.OBJECT
LIST_CONTAINERS: Final = Operation("List Containers", _S, "l")
SERVICE_PROPERTIES: Final = Operation("Get Blob Service Properties", _S, "r")
ACCOUNT_INFORMATION: Final = {
    level: Operation("Get Account Information", level, "racwdlxytfmeiup", "racwdlxytfmei") for level in Level
}
CREATE_CONTAINER: Final = Operation("Create Container", _C, "cw")
CONTAINER_PROPERTIES: Final = Operation("Get Container Properties", _C, "r")
SET_CONTAINER_METADATA: Final = Operation("Set Container Metadata", _C, "w")
CONTAINER_ACL: Final = Operation("Get Container ACL", _C, "")
SET_CONTAINER_ACL: Final = Operation("Set Container ACL", _C, "")
DELETE_CONTAINER: Final = Operation("Delete Container", _C, "d")
LIST_BLOBS: Final = Operation("List Blobs", _C, "l", "l")
PUT_BLOB: Final = Operation("Put Blob", _O, "wc", "wc", creates=True)
COPY_BLOB: Final = Operation("Copy Blob", _O, "wc", "wc", creates=True)
PUT_BLOCK: Final = Operation("Put Block", _O, "w", "w")
PUT_BLOCK_LIST: Final = Operation("Put Block List", _O, "w", "w")
BLOCK_LIST: Final = Operation("Get Block List", _O, "r", "r")
GET_BLOB: Final = Operation("Get Blob", _O, "r", "r")
BLOB_PROPERTIES: Final = Operation("Get Blob Properties", _O, "r", "r")
SET_PROPERTIES: Final = Operation("Set Blob Properties", _O, "w", "w")
SET_METADATA: Final = Operation("Set Blob Metadata", _O, "w", "w")
DELETE_BLOB: Final = Operation("Delete Blob", _O, "d", "d")

# (method, restype, comp)
_SERVICE: Final = {
    ("GET", "", "list"): LIST_CONTAINERS,
    ("GET", "service", "properties"): SERVICE_PROPERTIES,
}
_CONTAINER: Final = {
    ("PUT", "container", ""): CREATE_CONTAINER,
    ("GET", "container", ""): CONTAINER_PROPERTIES,
    ("HEAD", "container", ""): CONTAINER_PROPERTIES,
    ("GET", "container", "metadata"): CONTAINER_PROPERTIES,
    ("HEAD", "container", "metadata"): CONTAINER_PROPERTIES,
    ("PUT", "container", "metadata"): SET_CONTAINER_METADATA,
    ("GET", "container", "acl"): CONTAINER_ACL,
    ("HEAD", "container", "acl"): CONTAINER_ACL,
    ("PUT", "container", "acl"): SET_CONTAINER_ACL,
    ("DELETE", "container", ""): DELETE_CONTAINER,
    ("GET", "container", "list"): LIST_BLOBS,
}
_BLOB: Final = {
    ("PUT", "", ""): PUT_BLOB,
    ("PUT", "", "block"): PUT_BLOCK,
    ("PUT", "", "blocklist"): PUT_BLOCK_LIST,
    ("GET", "", "blocklist"): BLOCK_LIST,
    ("GET", "", ""): GET_BLOB,
    ("HEAD", "", ""): BLOB_PROPERTIES,
    ("GET", "", "metadata"): BLOB_PROPERTIES,
    ("HEAD", "", "metadata"): BLOB_PROPERTIES,
    ("PUT", "", "properties"): SET_PROPERTIES,
    ("PUT", "", "metadata"): SET_METADATA,
    ("DELETE", "", ""): DELETE_BLOB,
}
_BY_LEVEL: Final = {Level.SERVICE: _SERVICE, Level.CONTAINER: _CONTAINER, Level.OBJECT: _BLOB}
#: What Azure has and this endpoint has not, by `comp`.
_KNOWN: Final = frozenset(
    {
        "snapshot",
        "undelete",
        "lease",
        "tags",
        "tier",
        "copy",
        "appendblock",
        "page",
        "pagelist",
        "incrementalcopy",
    }
    | {"seal", "query", "batch", "blobs", "expiry", "immutabilityPolicies", "legalhold", "stats", "rename"}
    | {"userdelegationkey"}
)


def operation(method: str, level: Level, restype: str, comp: str, *, copies: bool) -> Operation:
    """Which call a request is. Raises `BlobError`: 501 for one that is not served, 405, 400.

    `copies`: it has the header x-ms-copy-source.
    """
    if (restype, comp) == ("account", "properties") and method in ("GET", "HEAD"):
        return ACCOUNT_INFORMATION[level]
    found = _BY_LEVEL[level].get((method, restype, comp))
    if found is PUT_BLOB and copies:
        return COPY_BLOB
    if found is not None:
        if found is PUT_BLOCK and copies:
            raise not_served("Put Block From URL")
        return found
    if comp in _KNOWN or (level is Level.SERVICE and comp == "properties"):
        raise not_served(f"{method} with comp={comp}")
    if comp and not any(key[2] == comp for key in _BY_LEVEL[level]):
        raise BlobError(
            400,
            "InvalidQueryParameterValue",
            "Value for one of the query parameters specified in the request URI is invalid: there is no such comp.",
            {"QueryParameterName": "comp", "QueryParameterValue": comp[:80]},
        )
    raise BlobError(405, "UnsupportedHttpVerb", "The resource doesn't support specified Http Verb.")
