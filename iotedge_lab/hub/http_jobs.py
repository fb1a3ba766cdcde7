"""HTTPS onto jobs.

Stands for "Jobs" (learn.microsoft.com, rest/api/iothub/service/jobs), api-version 2021-04-12, as far as jobs are
scheduled:

    PUT   /jobs/v2/{id}            make one
    GET   /jobs/v2/{id}            one that there is not is 200 with the status `unknown`, as on Azure
    POST  /jobs/v2/{id}/cancel     404002 for one that there is not
    GET   /jobs/v2/query[?jobType=][&jobStatus=][&pageSize=][&continuationToken=]

The list: Azure answers an array and the headers `x-ms-item-type` and `x-ms-continuation`, which the SDKs for .NET, Java
and Node and the Azure CLI read. The reference says an object, a QueryResult, and the SDK for Python can read nothing
else (on Azure it raises a DeserializationError): so it gets one here.

Rights: "your service needs the registry read and registry write permissions" (Schedule and broadcast jobs).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from iotedge_lab.broker.http import json_object
from iotedge_lab.errors import ArgumentInvalid
from iotedge_lab.hub.access import Right
from iotedge_lab.hub.http_common import authorised
from iotedge_lab.hub.jobs import book, targets
from iotedge_lab.hub.jobs.job import STATUSES, TYPES, Draft, check_id, unknown
from iotedge_lab.hub.query.queries import MOST

if TYPE_CHECKING:
    import sqlite3

    from iotedge_lab.hub.hub import Hub
    from iotedge_lab.hub.jobs.job import Job

_WRITE: Final = Right.REGISTRY_READ | Right.REGISTRY_WRITE
_LATEST: Final = 2**63 - 1
Json = dict[str, Any]


def routes() -> list[web.RouteDef]:
    """The routes of this part."""
    return [
        web.get("/jobs/v2/query", _query),
        web.put("/jobs/v2/{job}", _put),
        web.get("/jobs/v2/{job}", _get),
        web.post("/jobs/v2/{job}/cancel", _cancel),
    ]


async def _put(request: web.Request) -> web.Response:
    hub = authorised(request, _WRITE)
    draft = Draft.read(request.match_info["job"], await json_object(request))
    await hub.queries.check_condition(draft.condition)
    return web.json_response(hub.jobs.put(draft).to_json(None))


async def _get(request: web.Request) -> web.Response:
    hub = authorised(request, Right.REGISTRY_READ)
    name = request.match_info["job"]
    check_id(name)
    job = hub.jobs.find(name)
    return web.json_response(unknown(name) if job is None else (await _shown(hub, [job]))[0])


async def _cancel(request: web.Request) -> web.Response:
    hub = authorised(request, _WRITE)
    job = hub.jobs.cancel(request.match_info["job"])
    return web.json_response((await _shown(hub, [job]))[0])


async def _query(request: web.Request) -> web.Response:
    hub = authorised(request, Right.REGISTRY_READ)
    kind = _one_of(request, "jobType", TYPES)
    status = _one_of(request, "jobStatus", STATUSES)
    asked = request.headers.get("x-ms-max-item-count") or request.query.get("pageSize", "")
    token = request.headers.get("x-ms-continuation") or request.query.get("continuationToken", "")
    size = int(asked) if asked.isascii() and asked.isdigit() and 1 <= int(asked[:9]) <= MOST else MOST
    before = _before(token)

    def read(db: sqlite3.Connection) -> tuple[list[Job], dict[int, Json]]:
        jobs = book.page(db, kind, status, before, size + 1)
        return jobs, targets.statistics(db, jobs[:size])

    jobs, statistics = await hub.queries.read(read)
    items = [job.to_json(statistics.get(job.serial)) for job in jobs[:size]]
    headers = {"x-ms-item-type": "JobResponse"}
    following = str(jobs[size - 1].serial) if len(jobs) > size else None
    if following is not None:
        headers["x-ms-continuation"] = following
    if _reads_objects(request.headers.get("User-Agent", "")):
        result = {"type": "jobResponse", "items": items, "continuationToken": following}
        return web.json_response(result, headers=headers)
    return web.json_response(items, headers=headers)


def _reads_objects(agent: str) -> bool:
    """Whether the SDK for Python asks. The Azure CLI has the same client, changed to read arrays."""
    return "iothubgatewayserviceapis/" in agent.lower() and "cliextension" not in agent.lower()


def _before(token: str) -> int:
    if not token:
        return _LATEST
    if not token.isascii() or not token.isdigit() or int(token[:20]) > _LATEST:
        raise ArgumentInvalid(
            "the continuation token is none of this hub's; send what the page before came with, or none."
        )
    return int(token)


def _one_of(request: web.Request, name: str, known: frozenset[str]) -> str | None:
    """A filter of the query, None where it filters nothing."""
    given = request.query.get(name, "")
    if not given or given.lower() == "null":
        return None
    found = next((each for each in known if each.lower() == given.lower()), None)
    if found is None:
        raise ArgumentInvalid(f"{name} is {given[:60]!r}; it is one of {', '.join(sorted(known))}.")
    return found


async def _shown(hub: Hub, jobs: list[Job]) -> list[Json]:
    statistics = await hub.queries.read(lambda db: targets.statistics(db, jobs))
    return [job.to_json(statistics.get(job.serial)) for job in jobs]
