"""HTTPS onto configurations: automatic ones, deployments, and a content applied to a single edge device.

Stands for "Configuration" (learn.microsoft.com, rest/api/iothub/service/configuration), api-version 2021-04-12:

    GET               /configurations[?top=]                     all of them, at most 100
    GET, PUT, DELETE  /configurations/{id}                       PUT makes one, with If-Match it updates it
    POST              /configurations/testQueries                whether conditions and metrics can be read
    POST              /devices/{id}/applyConfigurationContent    204; what `az iot edge set-modules` sends

`testQueries` answers 200 and the errors in its body; like Azure's it takes no `*`, which needs no test.

Rights: the documents name permissions of their own (`configurations/read` and others) that only roles have, and none
of the shared access policies' four. As a configuration makes identities and changes twins, whoever changes one needs
RegistryWrite and ServiceConnect here; reading needs RegistryRead. An edge device's own token opens none of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from iotedge_lab.broker.http import json_object
from iotedge_lab.errors import ArgumentInvalid
from iotedge_lab.hub.access import Right
from iotedge_lab.hub.configuration_content import ConfigurationContent, apply_to_edge_device
from iotedge_lab.hub.configurations.configuration import MOST, Draft, query_faults
from iotedge_lab.hub.http_common import authorised

if TYPE_CHECKING:
    from iotedge_lab.hub.configurations.configuration import Configuration
    from iotedge_lab.hub.hub import Hub

_CHANGE = Right.REGISTRY_WRITE | Right.SERVICE_CONNECT


def routes() -> list[web.RouteDef]:
    """The routes of this part."""
    return [
        web.get("/configurations", _list),
        web.post("/configurations/testQueries", _test),
        web.get("/configurations/{configuration}", _get),
        web.put("/configurations/{configuration}", _put),
        web.delete("/configurations/{configuration}", _delete),
        web.post("/devices/{device}/applyConfigurationContent", _apply),
    ]


async def _list(request: web.Request) -> web.Response:
    hub = authorised(request, Right.REGISTRY_READ)
    text = request.query.get("top", str(MOST))
    if not text.isascii() or not text.isdigit() or int(text[:9]) < 1:
        raise ArgumentInvalid(f"top is a number from 1 to {MOST}, not {text[:20]!r}.")
    return web.json_response(await _shown(hub, hub.configurations.all()[: int(text[:9])]))


async def _get(request: web.Request) -> web.Response:
    hub = authorised(request, Right.REGISTRY_READ)
    found = hub.configurations.get(request.match_info["configuration"])
    return _answer((await _shown(hub, [found]))[0], found)


async def _put(request: web.Request) -> web.Response:
    hub = authorised(request, _CHANGE)
    draft = Draft.read(request.match_info["configuration"], await json_object(request))
    target = await hub.queries.read(lambda _: draft.check())
    made, new = hub.configurations.put(draft, target, request.headers.get("If-Match"))
    shown = made.to_json((await hub.metrics.system([made]))[made.id], {})
    return _answer(shown, made, status=201 if new else 200)


async def _delete(request: web.Request) -> web.Response:
    hub = authorised(request, _CHANGE)
    hub.configurations.delete(request.match_info["configuration"], request.headers.get("If-Match"))
    return web.Response(status=204)


async def _test(request: web.Request) -> web.Response:
    hub = authorised(request, Right.REGISTRY_READ)
    body = await json_object(request)
    return web.json_response(await hub.queries.read(lambda _: query_faults(body)))


async def _apply(request: web.Request) -> web.Response:
    hub = authorised(request, _CHANGE)
    content = ConfigurationContent.read(await json_object(request))
    apply_to_edge_device(content, request.match_info["device"], hub.store, hub.identities, hub.twins)
    return web.Response(status=204)


async def _shown(hub: Hub, configurations: list[Configuration]) -> list[dict[str, Any]]:
    system = await hub.metrics.system(configurations)
    custom = await hub.metrics.custom(configurations)
    return [one.to_json(system[one.id], custom[one.id]) for one in configurations]


def _answer(shown: dict[str, Any], one: Configuration, *, status: int = 200) -> web.Response:
    return web.json_response(shown, status=status, headers={"ETag": f'"{one.etag}"'})
