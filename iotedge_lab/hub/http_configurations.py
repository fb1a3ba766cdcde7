"""HTTPS onto configurations: the one call so far applies a content to a single edge device.

Stands for "Configuration - Apply On Edge Device" (learn.microsoft.com, rest/api/iothub/service/configuration),
api-version 2021-04-12: POST `/devices/{id}/applyConfigurationContent`, answered by 204 and no body. It is what
`IoTHubConfigurationManager.apply_configuration_on_edge_device` and `az iot edge set-modules` send.

Rights: the documents name a permission of its own (`configurations/applyToEdgeDevice`) that only the role with all of
them has, and none of the shared access policies' four. As the call makes identities and changes twins, it needs
RegistryWrite and ServiceConnect here; an edge device's own token does not open it.
"""

from __future__ import annotations

from aiohttp import web

from iotedge_lab.broker.http import json_object
from iotedge_lab.hub.access import Right
from iotedge_lab.hub.configuration_content import ConfigurationContent, apply_to_edge_device
from iotedge_lab.hub.http_common import authorised


def routes() -> list[web.RouteDef]:
    """The routes of this part."""
    return [web.post("/devices/{device}/applyConfigurationContent", _apply)]


async def _apply(request: web.Request) -> web.Response:
    hub = authorised(request, Right.REGISTRY_WRITE | Right.SERVICE_CONNECT)
    content = ConfigurationContent.read(await json_object(request))
    apply_to_edge_device(content, request.match_info["device"], hub.store, hub.identities, hub.twins)
    return web.Response(status=204)
