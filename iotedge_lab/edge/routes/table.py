"""All routes of an edge: which endpoints a message goes to, each once, with what priority and for how long.

A message that several routes send to one endpoint goes there once, with the highest of their priorities (the
smallest number) and that route's time to live; among equals the first route counts. Stands for the evaluator of
the open-source edgeHub and "Priority and time-to-live" (learn.microsoft.com, IoT Edge, module-composition).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from iotedge_lab.edge.routes.grammar import Route
    from iotedge_lab.edge.routes.message import RoutedMessage
    from iotedge_lab.edge.routes.places import Endpoint

DEFAULT_PRIORITY: Final = 2_000_000_000
"""The priority of a route that names none: after all that do (0 to 9, 0 first). The runtime's number."""

MAX_PRIORITY: Final = 9
_REMEMBERED: Final = 4096  # sources; a module that makes up outputs without end must not fill the memory


@dataclass(frozen=True, slots=True)
class RouteEntry:
    """A route as a deployment has it. `time_to_live` is in seconds; None takes the edge's own."""

    name: str
    route: Route
    priority: int = DEFAULT_PRIORITY
    time_to_live: int | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One endpoint that a message goes to, and in which of its queues: there is one for each priority.

    `name` is the route that counted.
    """

    endpoint: Endpoint
    priority: int
    time_to_live: int | None
    name: str


class RouteTable:
    """The routes of an edge. Immutable: a new deployment makes a new table.

    Takes routes by name, either as `Route` (then without priority) or as `RouteEntry`.
    """

    def __init__(self, routes: Mapping[str, Route | RouteEntry] | None = None) -> None:
        entries = (
            route if isinstance(route, RouteEntry) else RouteEntry(name, route)
            for name, route in (routes or {}).items()
        )
        # Sorted by priority, and as given among equals: the first match for an endpoint is the one that counts.
        self._entries = tuple(sorted(entries, key=lambda entry: entry.priority))
        self._by_source: dict[tuple[str | None, str | None, bool], tuple[RouteEntry, ...]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[RouteEntry]:
        """The routes, those of the highest priority first."""
        return iter(self._entries)

    def deliveries(self, message: RoutedMessage) -> list[Delivery]:
        """Where a message goes: each endpoint once, in order of priority. Empty where no route takes it."""
        key = (message.source_module, message.output, message.twin_change)
        candidates = self._by_source.get(key)
        if candidates is None:
            candidates = self._candidates(key, message.source)
        made: dict[Endpoint, Delivery] = {}
        for entry in candidates:
            route = entry.route
            if route.endpoint not in made and (route.test is None or route.test(message)):
                made[route.endpoint] = Delivery(
                    route.endpoint, entry.priority, entry.time_to_live, entry.name
                )
        return list(made.values())

    def _candidates(self, key: tuple[str | None, str | None, bool], path: str) -> tuple[RouteEntry, ...]:
        candidates = tuple(entry for entry in self._entries if entry.route.source.takes(path))
        if len(self._by_source) >= _REMEMBERED:
            self._by_source.clear()
        self._by_source[key] = candidates
        return candidates

    def endpoints(self) -> tuple[Endpoint, ...]:
        """Each endpoint that some route sends to, once."""
        return tuple(dict.fromkeys(entry.route.endpoint for entry in self._entries))
