"""The checks of notebook 02's edge device: a second module, a route with a condition, the ship in mid-ocean.

What a deployment means is asked of the edge runtime's own reader of manifests and its own routes.
"""

from __future__ import annotations

from copy import deepcopy
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from iotedge_lab.edge.errors import InvalidManifest, RouteError
from iotedge_lab.edge.manifest import load
from iotedge_lab.edge.routes import ModuleInput, RoutedMessage, RouteTable, Upstream, parse_route
from iotedge_lab.show.exercises.verdict import NotYet, Wrong, ask, check

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from iotedge_lab.edge.manifest import DeploymentManifest

FIRST, SECOND = "EchoModule", "EchoModule2"
INPUT, OUTPUT = "input-echo", "output-echo"

Json = dict[str, Any]


@check
def check_add_module(add_module: Callable[[Json], Json], manifest: Json) -> str:
    """(manifest) -> the manifest with EchoModule2, which echoes EchoModule to the hub."""
    before, given = manifest, ask(add_module, deepcopy(manifest))
    if not isinstance(given, dict) or "$edgeAgent" not in given:
        raise Wrong("the manifest was expected back; leave the last line, return manifest, as it was")
    modules = _part(given, "$edgeAgent", "modules")
    routes = _part(given, "$edgeHub", "routes")
    if ... in (*modules.values(), *routes.values()):
        raise NotYet("replace the ... in it and run both cells again")
    if SECOND not in modules:
        others = sorted(set(modules) - set(_part(before, "$edgeAgent", "modules")))
        if others:
            raise Wrong(f"the new module is named {others[0]!r}; name it {SECOND!r}")
        raise NotYet(f"there is no module {SECOND!r} among the modules yet")
    read = _read(given)
    if FIRST not in read.modules:
        raise Wrong(f"{FIRST} is gone; the second module is to stand beside it")
    if read.modules[SECOND].image != read.modules[FIRST].image:
        raise Wrong(f"the image is {read.modules[SECOND].image!r}; the second module runs the first one's")
    interval = read.modules[SECOND].environment.get("ECHO_INTERVAL")
    if interval is None:
        raise Wrong(f"{SECOND} has no ECHO_INTERVAL, so it tells the time itself every 30 s; an hour is 3600")
    if interval != "3600":
        raise Wrong(f"the ECHO_INTERVAL is {interval!r}; it counts seconds, and an hour is 3600")
    _judge_echo_routes(read.hub.table())
    return f"{SECOND} gets what {FIRST} sends, and the hub gets what both send"


def _judge_echo_routes(table: RouteTable) -> None:
    first, second = _endpoints(table, FIRST), _endpoints(table, SECOND)
    # The circles first: they are what hurts.
    for module, found in ((FIRST, first), (SECOND, second)):
        if ModuleInput(module, INPUT) in found:
            raise Wrong(
                f"{module} gets what it sent itself, and sends it again, in a circle; take the source of one module"
            )
    if ModuleInput(FIRST, INPUT) in second:
        raise Wrong("the two modules send to each other, in a circle; one of the two directions is enough")
    if ModuleInput(SECOND, INPUT) not in first:
        near = [place for place in first if isinstance(place, ModuleInput)]
        if near:
            raise Wrong(f'a route leads to {near[0]}; the input is "/modules/{SECOND}/inputs/{INPUT}"')
        raise Wrong(f"no route leads from {FIRST} to the input {INPUT} of {SECOND}")
    if Upstream() not in first:
        raise Wrong(
            f"what {FIRST} sends no longer reaches the hub; keep its route, and give yours other names"
        )
    if Upstream() not in second:
        raise Wrong(f"what {SECOND} sends goes nowhere; it needs a route INTO $upstream too")


def _part(manifest: Mapping[str, Any], section: str, name: str) -> Json:
    try:
        part = manifest[section]["properties.desired"][name]
    except (KeyError, TypeError):
        part = None
    if not isinstance(part, dict):
        raise Wrong(f'the manifest has lost its "{name}" ({section}); add to what is there')
    return part


def _read(manifest: Json) -> DeploymentManifest:
    try:
        return load({"modulesContent": manifest})
    except InvalidManifest as error:
        raise Wrong(f"an edge device would refuse this manifest: {error}") from error


def _endpoints(table: RouteTable, module: str) -> set[object]:
    message = RoutedMessage(module, OUTPUT, {}, {}, b"tick", device="edge-1")
    return {delivery.endpoint for delivery in table.deliveries(message)}


# -- a route with a condition -------------------------------------------------------------------------


@check
def check_route(route: Any) -> str:
    """A route that takes messages of any sender to the hub if their property `level` is `warning`."""
    if route is ... or not route:
        raise NotYet('write the route as text: "FROM ... WHERE ... INTO ..."')
    if not isinstance(route, str):
        raise Wrong(f"a route is a text, this is of type {type(route).__name__}")
    try:
        parsed = parse_route(route)
    except RouteError as error:
        hint = "" if "$upstream" in route else " (the hub is $upstream)"
        raise Wrong(f"an edge device would refuse this route{hint}: {error}") from error
    if parsed.endpoint != Upstream():
        raise Wrong(f"it leads INTO {parsed.endpoint}; the hub is $upstream")
    table = RouteTable({"it": parsed})
    if not _takes(table, None, level="warning"):
        if _takes(table, None, level="same", warning="same"):
            raise Wrong("without quotes warning is the name of a property; its value is a text, 'warning'")
        if not _takes(table, FIRST, level="warning"):
            raise Wrong(
                "a warning does not pass; the condition is level = 'warning', the source '/messages/*'"
            )
        raise Wrong("the car is no module, so this source leaves it out; /messages/* takes everybody's")
    if _takes(table, None):
        raise Wrong("a message without a level passes too; add the condition, between source and INTO")
    for other in ("info", "calm"):
        if _takes(table, None, level=other):
            raise Wrong(f"a message whose level is {other!r} passes too; compare with = 'warning'")
    if not _takes(table, FIRST, level="warning"):
        raise Wrong("a module's warning does not pass; /messages/* takes everybody's")
    return "warnings pass, whoever sends them, and nothing else does"


def _takes(table: RouteTable, module: str | None, **properties: str) -> bool:
    output = OUTPUT if module else None
    return bool(table.deliveries(RoutedMessage(module, output, {}, properties, b"x", device="car-1")))


# -- the ship in mid-ocean ------------------------------------------------------------------------------


class _Ship:
    """Takes `offline`, `online` and `status` as an `Edge` does, and knows what was sent when."""

    def __init__(self) -> None:
        self.is_online = True
        self.was_offline = False
        self.sent: list[tuple[str, bool]] = []
        self.waiting = 0

    def offline(self) -> None:
        self.is_online, self.was_offline = False, True

    def online(self) -> None:
        self.is_online, self.waiting = True, 0

    def status(self) -> SimpleNamespace:
        return SimpleNamespace(online=self.is_online, connected=self.is_online, waiting=self.waiting)

    def wait_until_connected(self, **_: float) -> SimpleNamespace:
        if not self.is_online:
            raise TimeoutError("it is offline, and stays so until edge.online()")
        return self.status()

    def wait_until_delivered(self, **_: float) -> SimpleNamespace:
        if self.waiting:
            raise TimeoutError("nothing is delivered while it is offline")
        return self.status()

    def send(self, text: str) -> None:
        self.sent.append((text, self.is_online))
        self.waiting += not self.is_online


@check
def check_sail(sail: Callable[[Any, Callable[[str], None], Sequence[str]], int]) -> str:
    """(edge, send, texts): send all while the edge is cut off, then let it back; how many waited meanwhile."""
    ship, texts = _Ship(), ["fog", "a whale", "land"]
    waited = ask(sail, ship, ship.send, texts)
    if not ship.sent:
        raise NotYet("nothing was sent; call send(text) for each of the texts")
    if [text for text, _ in ship.sent] != texts:
        raise Wrong(f"of {texts} came {[text for text, _ in ship.sent]}; send each once, in order")
    if not ship.was_offline:
        raise NotYet("the edge was never cut off; begin with edge.offline()")
    early = sum(online for _, online in ship.sent)
    if early:
        raise Wrong(
            f"{early} of {len(texts)} were sent while the edge was online; cut it off before the first"
        )
    if not ship.is_online:
        raise Wrong("the edge is still offline; let it back with edge.online()")
    if hasattr(waited, "waiting"):
        raise Wrong("sail gave the whole status; the number in it is edge.status().waiting")
    if waited != len(texts):
        raise Wrong(
            f"sail gave {waited!r}; {len(texts)} messages waited: ask edge.status().waiting before edge.online()"
        )
    return f"{len(texts)} messages were sent offline and waited, and then the edge came back"
