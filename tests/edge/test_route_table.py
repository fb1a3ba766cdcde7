"""The table of routes: which endpoints a message goes to, once each, by priority."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iotedge_lab.edge.routes import (
    DEFAULT_PRIORITY,
    ModuleInput,
    RoutedMessage,
    RouteEntry,
    RouteTable,
    Upstream,
    parse_route,
)

FILTER = ModuleInput("Filter", "in")
TO_FILTER = 'BrokeredEndpoint("/modules/Filter/inputs/in")'


def sent(module="Press", output="out", **properties):
    return RoutedMessage(module, output, {}, properties, b"")


def entry(name, text, priority=DEFAULT_PRIORITY, time_to_live=None):
    return RouteEntry(name, parse_route(text), priority, time_to_live)


def table(*entries):
    return RouteTable({one.name: one for one in entries})


CASES = [
    # The routes, then endpoint, priority, time to live and route of each delivery
    ([], []),
    ([entry("a", "FROM /messages/modules/Other/* INTO $upstream")], []),
    (
        [entry("a", "FROM /messages/* INTO $upstream")],
        [(Upstream(), DEFAULT_PRIORITY, None, "a")],
    ),
    (  # several routes to one endpoint: one delivery, and among equals the first route
        [
            entry("a", "FROM /messages/* INTO $upstream", time_to_live=10),
            entry("b", "FROM /* INTO $upstream", time_to_live=20),
        ],
        [(Upstream(), DEFAULT_PRIORITY, 10, "a")],
    ),
    (  # the highest priority counts, and brings its own time to live
        [
            entry("all", "FROM /messages/* INTO $upstream"),
            entry("low", "FROM /messages/* INTO $upstream", 9, 30),
            entry("alarm", "FROM /messages/* WHERE kind = 'alarm' INTO $upstream", 0, 86400),
        ],
        [(Upstream(), 0, 86400, "alarm")],
    ),
    (  # a route that does not match does not count, however high
        [
            entry("all", "FROM /messages/* INTO $upstream"),
            entry("alarm", "FROM /messages/* WHERE kind = 'other' INTO $upstream", 0, 86400),
        ],
        [(Upstream(), DEFAULT_PRIORITY, None, "all")],
    ),
    (  # two endpoints: two deliveries, the higher priority first
        [
            entry("up", "FROM /messages/* INTO $upstream", 5),
            entry("in", f"FROM /messages/modules/Press/outputs/* INTO {TO_FILTER}", 1),
        ],
        [(FILTER, 1, None, "in"), (Upstream(), 5, None, "up")],
    ),
]


@pytest.mark.parametrize(("entries", "deliveries"), CASES, ids=range(len(CASES)))
def test_deliveries(entries, deliveries):
    """A message goes to each endpoint once, as the best of its routes says."""
    found = table(*entries).deliveries(sent(kind="alarm"))
    assert [(one.endpoint, one.priority, one.time_to_live, one.name) for one in found] == deliveries


def test_plain_routes_and_endpoints():
    """Routes without priority come last; the table tells its endpoints and how many routes it has."""
    routes = RouteTable(
        {
            "plain": parse_route("FROM /* INTO $upstream"),
            "first": entry("first", f"FROM /* INTO {TO_FILTER}", 3),
            "again": parse_route("FROM /messages/* INTO $upstream"),
        }
    )
    assert len(routes) == 3
    assert [one.name for one in routes] == ["first", "plain", "again"]
    assert routes.endpoints() == (FILTER, Upstream())
    assert [one.endpoint.id for one in routes.deliveries(sent())] == ["Filter/in", "iothub"]


def test_sources_are_remembered_but_not_without_end():
    """A module that makes up outputs without end does not fill the memory, and is routed all the same."""
    routes = table(entry("a", "FROM /messages/modules/Press/outputs/* INTO $upstream"))
    for number in range(10_000):
        assert len(routes.deliveries(sent(output=f"out{number}"))) == 1
    assert routes.deliveries(sent(module="Other")) == []
    assert len(routes._by_source) <= 4096


def test_twin_changes_go_their_own_way():
    """A twin change notification does not take the routes of the module it is about."""
    routes = table(
        entry("messages", "FROM /messages/* INTO $upstream"),
        entry("twins", f"FROM /twinChangeNotifications INTO {TO_FILTER}"),
    )
    change = RoutedMessage("Press", "out", {}, {}, b"", twin_change=True)
    assert [one.name for one in routes.deliveries(change)] == ["twins"]
    assert [one.name for one in routes.deliveries(sent())] == ["messages"]


SOME = st.lists(
    st.tuples(
        st.sampled_from(["/*", "/messages/*", "/messages/modules/Press/*", "/messages/modules/Other/*"]),
        st.sampled_from(["", "WHERE kind = 'alarm'", "WHERE kind = 'other'"]),
        st.sampled_from(["$upstream", TO_FILTER]),
        st.sampled_from([0, 1, 9, DEFAULT_PRIORITY]),
    ),
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(SOME)
def test_the_table_agrees_with_its_routes(routes):
    """What the table gives is what going through all routes one by one gives."""
    entries = [
        entry(str(number), f"FROM {source} {condition} INTO {sink}", priority)
        for number, (source, condition, sink, priority) in enumerate(routes)
    ]
    message = sent(kind="alarm")
    best = {}
    for one in entries:
        if one.route.matches(message):
            before = best.get(one.route.endpoint)
            if before is None or one.priority < before.priority:
                best[one.route.endpoint] = one
    found = table(*entries).deliveries(message)
    assert {one.endpoint: (one.name, one.priority) for one in found} == {
        endpoint: (one.name, one.priority) for endpoint, one in best.items()
    }
    assert [one.priority for one in found] == sorted(one.priority for one in found)
