"""The REST calls on the account and on containers.

"Operations on the account (Blob Storage)", "Operations on containers" (learn.microsoft.com, rest/api/storageservices).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from iotedge_lab.blobs import documents
from iotedge_lab.blobs.http_common import document, includes, marker, number, stamp, to_marker, xml
from iotedge_lab.blobs.names import META, read_metadata

if TYPE_CHECKING:
    from iotedge_lab.blobs.http_common import Call

PAGE: Final = 5000  # entries, at most


# -- the account ---------------------------------------------------------------------------------------


async def list_containers(call: Call) -> web.Response:
    """GET ?comp=list."""
    count = number(call.query, "maxresults", PAGE)
    after = marker(call.query)
    found = call.account.catalogue.containers(call.query.get("prefix", ""), after, count + 1)
    following = to_marker(found[count - 1].name) if len(found) > count else ""
    body = documents.containers(
        call.account.endpoint,
        call.query,
        found[:count],
        following,
        metadata="metadata" in includes(call.query),
    )
    return xml(body)


async def service_properties(_: Call) -> web.Response:
    """GET ?restype=service&comp=properties."""
    return xml(documents.service_properties())


async def account_information(_: Call) -> web.Response:
    """GET ?restype=account&comp=properties, at any level."""
    return web.Response(
        headers={
            "x-ms-sku-name": "Standard_LRS",
            "x-ms-account-kind": "StorageV2",
            "x-ms-is-hns-enabled": "false",
        }
    )


# -- containers ----------------------------------------------------------------------------------------


async def create(call: Call) -> web.Response:
    """PUT ?restype=container."""
    made = call.account.catalogue.create_container(call.container, read_metadata(call.asked.headers))
    return web.Response(status=201, headers=stamp(made))


async def properties(call: Call) -> web.Response:
    """GET and HEAD ?restype=container, also with comp=metadata."""
    found = call.account.catalogue.container(call.container)
    headers = stamp(found) | {f"{META}{name}": value for name, value in found.metadata.items()}
    if call.query.get("comp") != "metadata":
        headers |= {
            "x-ms-lease-status": "unlocked",
            "x-ms-lease-state": "available",
            "x-ms-has-immutability-policy": "false",
            "x-ms-has-legal-hold": "false",
            "x-ms-immutable-storage-with-versioning-enabled": "false",
            "x-ms-default-encryption-scope": "$account-encryption-key",
            "x-ms-deny-encryption-scope-override": "false",
        }
    return web.Response(headers=headers)


async def set_metadata(call: Call) -> web.Response:
    """PUT ?restype=container&comp=metadata."""
    catalogue = call.account.catalogue
    call.conditions.require(catalogue.container(call.container))
    return web.Response(
        headers=stamp(catalogue.change_container(call.container, metadata=read_metadata(call.asked.headers)))
    )


async def get_policies(call: Call) -> web.Response:
    """GET ?restype=container&comp=acl: the stored access policies."""
    found = call.account.catalogue.container(call.container)
    return xml(documents.policies(found.policies), stamp(found))


async def set_policies(call: Call) -> web.Response:
    """PUT ?restype=container&comp=acl."""
    catalogue = call.account.catalogue
    call.conditions.require(catalogue.container(call.container))
    told = documents.read_policies(await document(call))
    return web.Response(headers=stamp(catalogue.change_container(call.container, policies=told)))


async def delete(call: Call) -> web.Response:
    """DELETE ?restype=container: at once; on Azure its name stays taken for half a minute."""
    catalogue = call.account.catalogue
    call.conditions.require(catalogue.container(call.container))
    catalogue.delete_container(call.container)
    return web.Response(status=202)


async def list_blobs(call: Call) -> web.Response:
    """GET ?restype=container&comp=list."""
    query, told = call.query, includes(call.query)
    page = call.account.catalogue.page(
        call.container,
        prefix=query.get("prefix", ""),
        delimiter=query.get("delimiter", ""),
        begin=max(marker(query), query.get("startFrom", "")),
        count=number(query, "maxresults", PAGE),
        waiting="uncommittedblobs" in told,
    )
    body = documents.blobs(
        call.account.endpoint,
        call.container,
        query,
        page,
        to_marker(page.following),
        metadata="metadata" in told,
    )
    return xml(body)
