"""Queries over ten thousand twins, a configuration and jobs for all of them: how long each takes, and who waits.

Measured by bare HTTPS on a kept connection (and once by azure-iot-hub), as in `service`. The queries look at every
twin: the hub has no index of tags or properties, and needs none to answer in time.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from functools import partial
from statistics import median, quantiles
from typing import TYPE_CHECKING

from benchmarks.servers import HubServer
from benchmarks.service import Rest, fleet_clients, store_twins
from benchmarks.setting import Row, Setting, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAME = "query"
TITLE = "Queries, configurations and jobs over ten thousand twins"
MOST_MS = 200.0

# What is asked, as a row calls it. The third one finds one twin, at the end; the last one has the most to work out.
QUERIES = {
    "a page of SELECT *": "SELECT * FROM devices",
    "COUNT() of all": "SELECT COUNT() AS n FROM devices",
    "one twin by a nested tag": "SELECT * FROM devices WHERE tags.place.x = {last}",
    "tags, OR, <, STARTSWITH": (
        "SELECT deviceId, tags.hall FROM devices WHERE tags.hall = 3 AND "
        "(STARTSWITH(tags.line, 'line 2') OR tags.place.x < 100) AND tags.place.x > {late}"
    ),
    "COUNT, AVG, GROUP BY": (
        "SELECT tags.hall AS hall, COUNT() AS n, AVG(properties.desired.setting3.value) AS mean FROM devices "
        "WHERE IS_DEFINED(properties.desired.setting3) GROUP BY tags.hall"
    ),
    "text functions": (
        "SELECT deviceId FROM devices WHERE CONTAINS(LOWER(tags.line), 'LINE') OR LENGTH(tags.line) > 100"
    ),
}


def run(setting: Setting, say: Callable[[str], None]) -> list[Row]:
    """The queries, one after another; then a configuration, jobs, and messages while each of them is at work."""
    with HubServer(setting.folder / "query-hub") as hub, contextlib.closing(Rest(hub)) as rest:
        stored = setting.count(10_000, 100)
        store_twins(rest, stored)
        rows = _queries(rest, stored, setting, say)
        rows.append(_by_sdk(hub, stored, setting))
        rows += _meanwhile(hub, rest, setting, say)
        rows += _configuration(hub, rest, stored, say)
        rows += _jobs(rest, stored, say)
        rows += _messages(hub, rest, setting, say)
    return rows


def _milliseconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def _texts(stored: int) -> dict[str, str]:
    return {
        name: text.format(last=stored - 1, late=stored * 9 // 10) if "{" in text else text
        for name, text in QUERIES.items()
    }


def _queries(rest: Rest, stored: int, setting: Setting, say: Callable[[str], None]) -> list[Row]:
    rows = []
    count = setting.count(40, 2)
    for name, text in _texts(stored).items():
        rest.call("POST", "/devices/query", {"query": text})
        times = [
            _milliseconds(lambda asked=text: rest.call("POST", "/devices/query", {"query": asked}))
            for _ in range(count)
        ]
        p50 = median(times)
        say(f"{name}: {p50:.1f} ms")
        note = f"the slowest of {count} took {max(times):.0f} ms"
        what = f"Query over {stored:,} twins, {name}, p50"
        rows.append(Row(what, p50, "ms", target=f"<= {MOST_MS:g} ms", met=p50 <= MOST_MS, note=note))
    return rows


def _by_sdk(hub: HubServer, stored: int, setting: Setting) -> Row:
    from azure.iot.hub import IoTHubRegistryManager
    from azure.iot.hub.models import QuerySpecification

    asked = QuerySpecification(query=_texts(stored)["one twin by a nested tag"])
    kept = {name: os.environ.get(name) for name in hub.lab.env()}
    os.environ.update(hub.lab.env())
    try:
        manager = IoTHubRegistryManager.from_connection_string(hub.lab.service_connection_string)
        times = [_milliseconds(lambda: manager.query_iot_hub(asked)) for _ in range(setting.count(20, 2))]
    finally:
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    return Row(
        f"Query over {stored:,} twins by azure-iot-hub, one twin by a nested tag, p50", median(times), "ms"
    )


# -- who waits meanwhile -------------------------------------------------------------------------------


@contextlib.contextmanager
def _going_on(call: Callable[[], object]) -> Iterator[None]:
    """In a thread, over and over."""
    over = threading.Event()

    def repeat() -> None:
        while not over.is_set():
            call()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _p99(times: list[float]) -> float:
    return quantiles(times, n=100)[98]


def _meanwhile(hub: HubServer, rest: Rest, setting: Setting, say: Callable[[str], None]) -> list[Row]:
    """A twin is read over and over while another connection does nothing but query."""
    count = setting.count(500, 5)
    with contextlib.closing(Rest(hub)) as other:
        body = {"query": QUERIES["COUNT, AVG, GROUP BY"]}
        with _going_on(lambda: other.call("POST", "/devices/query", body)):
            times = [_milliseconds(lambda: rest.call("GET", "/twins/twin-00007")) for _ in range(count)]
    say(f"a twin read while queries run: {median(times):.1f} ms")
    note = "another connection has the groups worked out without a pause"
    return [
        Row("Twin read while queries run, p50", median(times), "ms", note=note),
        Row("Twin read while queries run, p99", _p99(times), "ms"),
    ]


# -- configurations ------------------------------------------------------------------------------------


def _configuration(hub: HubServer, rest: Rest, stored: int, say: Callable[[str], None]) -> list[Row]:
    """Made for all twins, and deleted; a twin is read meanwhile."""
    body = {
        "content": {"deviceContent": {"properties.desired.camera.rate": 30}},
        "targetCondition": "tags.place.y = 1 AND NOT tags.hall = 100",
        "priority": 10,
    }
    applied = "SELECT COUNT() AS n FROM devices WHERE properties.desired.camera.rate = 30"
    times: list[float] = []

    def until(number: int) -> float:
        began = time.perf_counter()
        while rest.call("POST", "/devices/query", {"query": applied}) != [{"n": number}]:
            time.sleep(0.1)
        return time.perf_counter() - began

    with contextlib.closing(Rest(hub)) as other:
        read = partial(other.call, "GET", "/twins/twin-00007")
        with _going_on(lambda: times.append(_milliseconds(read))):
            rest.call("PUT", "/configurations/rate", body)
            out = until(stored)
            rest.call("DELETE", "/configurations/rate")
            back = until(0)
    say(f"a configuration for {stored:,} twins: {out:.1f} s, and {back:.1f} s back")
    note = "each twin changed, with its version and metadata, in a transaction of its own"
    return [
        Row(f"A configuration for {stored:,} twins, until all are set", out, "s", note=note),
        Row(f"A configuration for {stored:,} twins, until all is taken back", back, "s"),
        Row("Twin read meanwhile, p50", median(times), "ms"),
        Row("Twin read meanwhile, p99", _p99(times), "ms"),
    ]


# -- jobs ----------------------------------------------------------------------------------------------

UPDATE = {
    "type": "scheduleUpdateTwin",
    "queryCondition": "tags.place.y = 1",
    "updateTwin": {"etag": "*", "properties": {"desired": {"camera": {"rate": 25}}}},
}
CALL = {
    "type": "scheduleDeviceMethod",
    "queryCondition": "tags.place.y = 1",
    "cloudToDeviceMethod": {"methodName": "ping", "payload": None},
}


def _job(rest: Rest, name: str, body: dict[str, object]) -> tuple[float, dict[str, int]]:
    """Make a job; how long until it has ended, and its statistics."""
    began = time.perf_counter()
    rest.call("PUT", f"/jobs/v2/{name}", body)
    while (found := rest.call("GET", f"/jobs/v2/{name}"))["status"] in ("queued", "running"):
        time.sleep(0.1)
    assert found["status"] == "completed", found
    return time.perf_counter() - began, found["deviceJobStatistics"]


def _jobs(rest: Rest, stored: int, say: Callable[[str], None]) -> list[Row]:
    """One that updates all twins, and one that calls a method of devices that are not there."""
    updated, statistics = _job(rest, "update", UPDATE)
    assert statistics["succeededCount"] == stored
    called, statistics = _job(rest, "call", CALL)
    assert statistics["failedCount"] == stored
    say(f"a job for {stored:,} twins: {updated:.1f} s, and {called:.1f} s of methods")
    note = "each twin changed, with its version, its metadata and its outcome"
    return [
        Row(f"A job for {stored:,} twins, until all are updated", updated, "s", note=note),
        Row(f"A job of a method for {stored:,} devices that are not connected", called, "s"),
    ]


# -- messages meanwhile --------------------------------------------------------------------------------


def _messages(hub: HubServer, rest: Rest, setting: Setting, say: Callable[[str], None]) -> list[Row]:
    """Devices that send once a second: when their messages are acknowledged, alone and while the hub is at work."""
    devices, seconds = setting.count(200, 5), setting.count(8, 1)
    clients = fleet_clients(hub, rest, devices)
    numbers = itertools.count()
    with contextlib.closing(Rest(hub)) as other:

        def query() -> None:
            other.call("POST", "/devices/query", {"query": QUERIES["COUNT, AVG, GROUP BY"]})

        def job() -> None:
            _job(other, f"again-{next(numbers)}", UPDATE)

        rows = []
        work: dict[str, Callable[[], object] | None] = {
            "alone": None,
            "while queries run": query,
            "while jobs update all twins": job,
        }
        for when, repeated in work.items():
            worker = Worker(
                "service_load",
                {"kind": "fleet", **hub.to(), "size": 200, "clients": clients, "seconds": seconds},
            )
            try:
                worker.line()
                with _going_on(repeated) if repeated else contextlib.nullcontext():
                    worker.tell()
                    told = worker.line()
            finally:
                worker.end()
            assert told["acked"] == told["sent"], "a message was not acknowledged"
            say(f"PUBACK {when}: p50 {told['p50']:.1f} ms, p99 {told['p99']:.1f} ms")
            name = f"{devices} devices, a message a second each, {when}: PUBACK"
            rows += [Row(f"{name}, p50", told["p50"], "ms"), Row(f"{name}, p99", told["p99"], "ms")]
    return rows
