"""What the metrics of configurations come to, worked out when they are asked for.

System metrics (IoT Edge, module-deployment-monitoring): `targetedCount` twins meet the target condition, of these
`appliedCount` are set by the configuration; of a deployment `reportedSuccessfulCount` edge devices say that they have
carried it out, and `reportedFailedCount` that they could not. A custom metric is the number of rows of its query.
On Azure all of them are worked out every five minutes.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from iotedge_lab.errors import ServiceError
from iotedge_lab.hub.configurations.content import Kind

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from iotedge_lab.clock import Clock
    from iotedge_lab.hub.configurations.configuration import Configuration
    from iotedge_lab.hub.query.queries import Queries

log = logging.getLogger(__name__)

_SECONDS: Final = (
    10.0  # for the custom metrics of one request; results that are not there by then are left out
)
_REPORTED: Final = """
SELECT s.key, SUM(json_extract(t.reported, '$.lastDesiredStatus.code') = 200),
    SUM(json_extract(t.reported, '$.lastDesiredStatus.code') != 200)
FROM assignment a JOIN twin t ON t.device = a.device AND t.module = a.module, json_each(a.statuses) s
WHERE a.module = '$edgeAgent' AND json_extract(s.value, '$.status') = 'Applied'
    AND t.desired_version = json_extract(t.reported, '$.lastDesiredVersion')
GROUP BY s.key
"""
_ASSIGNED: Final = """
SELECT s.key, COUNT(*), SUM(json_extract(s.value, '$.status') = 'Applied')
FROM assignment a, json_each(a.statuses) s GROUP BY s.key
"""


class Metrics:
    """Counts for some configurations at once."""

    def __init__(self, queries: Queries, clock: Clock) -> None:
        self._queries = queries
        self._clock = clock

    async def system(self, configurations: Sequence[Configuration]) -> dict[str, dict[str, int]]:
        """The system metrics of each, by id. Raises `StoreUnavailable`, `RequestTimedOut`."""
        edge = any(one.content.kind is Kind.EDGE for one in configurations)
        assigned, reported = await self._queries.read(lambda db: _counts(db, edge=edge))
        made = {}
        for one in configurations:
            targeted, applied = assigned.get(one.id, (0, 0))
            made[one.id] = {"targetedCount": targeted, "appliedCount": applied}
            if one.content.kind is Kind.EDGE:
                good, bad = reported.get(one.id, (0, 0))
                made[one.id] |= {"reportedSuccessfulCount": good, "reportedFailedCount": bad}
        return made

    async def custom(self, configurations: Sequence[Configuration]) -> dict[str, dict[str, int]]:
        """The custom metrics of each, by id; what takes too long or cannot be read is left out."""
        until = self._clock.monotonic() + _SECONDS
        known: dict[str, int | None] = {}
        for query in (query for one in configurations for query in one.metrics.values()):
            if query not in known and self._clock.monotonic() < until:
                known[query] = await self._count(query)
        return {one.id: _known(one.metrics, known) for one in configurations}

    async def _count(self, query: str) -> int | None:
        try:
            return await self._queries.count(query)
        except ServiceError as error:
            log.warning("a custom metric has no result: %s", error.message)
            return None


def _known(metrics: Mapping[str, str], known: Mapping[str, int | None]) -> dict[str, int]:
    found = {name: known.get(query) for name, query in metrics.items()}
    return {name: count for name, count in found.items() if count is not None}


def _counts(
    db: sqlite3.Connection, *, edge: bool
) -> tuple[dict[str, tuple[int, int]], dict[str, tuple[int, int]]]:
    assigned = {row[0]: (row[1], row[2]) for row in db.execute(_ASSIGNED)}
    if not edge:
        return assigned, {}
    return assigned, {row[0]: (row[1] or 0, row[2] or 0) for row in db.execute(_REPORTED)}
