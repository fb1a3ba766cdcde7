"""The checks of notebook 03, the car simulator: data rates, a signal, a pace, a route, reading from a given place."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, Final

from cantools.database import load_string
from cantools.database.can import Database, Message

from iotedge_lab.edge.errors import RouteError
from iotedge_lab.edge.routes import RoutedMessage, RouteTable, Upstream, parse_route
from iotedge_lab.show.exercises.verdict import NotYet, Wrong, ask, check, run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EDGE: Final = "car-edge"
MODULE: Final = "ModuleSimulatorCar"
SIGNAL: Final = "OutsideTemperature"
MESSAGE: Final = "Outside"
LISTENER: Final = "Gateway"
FAST: Final = 30
"""Miles an hour; the rows above it are fast."""

_DAY: Final = 86_400  # s


@check
def check_gigabytes_per_day(gigabytes_per_day: Callable[[float, float], float]) -> str:
    """(bytes a message, messages a second) -> gigabytes (10^9 bytes) a day."""
    size, rate = 250.0, 10.0
    right = size * rate * _DAY / 1e9
    answer = ask(gigabytes_per_day, size, rate)
    if isinstance(answer, bool) or not isinstance(answer, int | float):
        raise Wrong(f"a number was expected, gigabytes_per_day gave {answer!r}")
    # What each slip would give, so that the answer names the slip.
    slips = {
        "that leaves the rate out; multiply by messages_per_second": right / rate,
        "those are bits; leave the factor 8 out, a byte is a byte here": right * 8,
        "that is one hour; a day has 24 of them": right / 24,
        "that is one minute; a day has 1,440 of them": right / 1440,
        "that is one second; a day has 86,400 of them": right / _DAY,
        "those are bytes; divide by 1e9": right * 1e9,
        "those are megabytes; divide by another 1,000": right * 1e3,
        "those are GiB (1024 ** 3 bytes); a gigabyte has 1e9 bytes": right * 1e9 / 1024**3,
    }
    for words, slip in slips.items():
        if math.isclose(answer, slip, rel_tol=1e-6):
            raise Wrong(words)
    if not math.isclose(answer, right, rel_tol=1e-6):
        raise Wrong(f"{size:.0f} bytes at {rate:.0f} a second make {right:.3f} GB a day, not {answer:.3g}")
    second = ask(gigabytes_per_day, 100.0, 1.0)
    if not math.isclose(second, 100 * _DAY / 1e9, rel_tol=1e-6):
        raise Wrong("right for 250 bytes and 10 a second, but not for 100 and 1; use both arguments")
    return f"one sensor's rows of 250 bytes, ten a second, make {right:.3f} GB a day"


@check
def check_read_after(read_after: Callable[[int], Sequence[Any]], events: Sequence[Any]) -> str:
    """`read_after(number)` gives the events after a sequence number; `events` is the whole partition."""
    numbers = [event.sequence_number for event in events]
    if len(numbers) < 10:
        raise NotYet(f"the partition holds {len(numbers)} events; run the cells above first, they send more")
    seen, newer = numbers[-6], numbers[-5:]
    answer = ask(read_after, seen)
    try:
        got = [event.sequence_number for event in answer]
    except (TypeError, AttributeError):
        raise Wrong(f"a list of events was expected, read_after gave {_kind(answer)}") from None
    if got == numbers:
        raise Wrong("those are all events, from the first on; say where to start with starting_position=")
    if got == [seen, *newer]:
        raise Wrong(f"event {seen} came again; starting_position_inclusive is False unless you say otherwise")
    if not got:
        raise Wrong(
            "no event came; a number is a sequence number, a text is an offset: hand over the int as it is"
        )
    if got != newer:
        raise Wrong(f"after {seen} come {newer}, read_after gave {got[:8]}")
    return f"the last {len(got)} events were read after the one before them, none twice and none left out"


def _kind(answer: object) -> str:
    """What an answer is, in a word or two: "list of int"."""
    kind = type(answer).__name__
    return f"{kind} of {type(answer[0]).__name__}" if isinstance(answer, list) and answer else kind


# -- a new signal ---------------------------------------------------------------------------------------


@check
def check_add_signal(add_signal: Callable[[str], str], dbc: str) -> str:
    """(text of a DBC) -> the text with OutsideTemperature, -40 to 87.5 degrees in steps of 0.5, in eight bits."""
    given = ask(add_signal, dbc)
    if not isinstance(given, str):
        raise Wrong(f"the text of a DBC was expected, add_signal gave {type(given).__name__}")
    if str(Ellipsis) in given:
        raise NotYet("the signal's line is still open; write it in place of the ...")
    try:
        found = load_string(given, database_format="dbc")
    except Exception as error:  # cantools has errors of its own, and of its parser's
        form = 'SG_ NAME : START|BITS@1+ (STEP,OFFSET) [LEAST|MOST] "UNIT" LISTENER'
        raise Wrong(f"cantools cannot read it: {error}. The form is {form}") from error
    messages = found.messages if isinstance(found, Database) else []
    message = next((each for each in messages if each.name == MESSAGE), None)
    if message is None:
        raise Wrong(f"the message {MESSAGE} is gone; leave the last line as it was")
    names = [signal.name for signal in message.signals]
    if names != [SIGNAL]:
        raise Wrong(f"the signals of {MESSAGE} are {names or 'none'}; it has one, {SIGNAL}")
    _judge_signal(message)
    return f"21.5 degrees travel as 0x{message.encode({SIGNAL: 21.5}).hex()}, and come back as 21.5"


def _judge_signal(message: Message) -> None:
    signal = message.signals[0]
    if (signal.start, signal.length) != (0, 8):
        raise Wrong(f"it lies at bit {signal.start} and has {signal.length} bits; 0|8 is the whole byte")
    if signal.is_signed:
        raise Wrong("it is signed (-); the offset makes the degrees below zero, so the raw value is not: @1+")
    if signal.scale != 0.5:
        raise Wrong(f"a step is {signal.scale:g} degrees; in (STEP,OFFSET) the first is 0.5")
    if signal.offset != -40:
        raise Wrong(f"raw 0 stands for {signal.offset:g} degrees; in (STEP,OFFSET) the second is -40")
    if (signal.minimum, signal.maximum) != (-40, 87.5):
        raise Wrong(f"the range is [{signal.minimum}|{signal.maximum}]; it is [-40|87.5]")
    if not signal.unit:
        raise Wrong('it has no unit; write "degC", so that nobody takes it for Fahrenheit')
    if signal.unit != "degC":
        raise Wrong(f'its unit is "{signal.unit}"; these are degrees Celsius, which this car spells "degC"')
    if signal.receivers != [LISTENER]:
        raise Wrong(f"{', '.join(signal.receivers)} listens; behind the unit stands {LISTENER}")


# -- a pace by twin ---------------------------------------------------------------------------------------

_NONE_GIVEN: Any = object()


class _Registry:
    """Takes a twin's update as the registry manager does, and keeps what it was called with."""

    def __init__(self) -> None:
        self.patches: list[tuple[Any, Any, Any]] = []
        self.whole = self.of_device = False

    def update_module_twin(self, device: Any, module: Any, module_twin: Any, etag: Any = None) -> Any:
        del etag
        self.patches.append((device, module, module_twin))
        return module_twin

    def replace_module_twin(self, *_: Any, **__: Any) -> None:
        self.whole = True

    def update_twin(self, *_: Any, **__: Any) -> None:
        self.of_device = True


@check
def check_set_rate(set_rate: Callable[[Any, float], object]) -> str:
    """(registry, rate): the module's desired property `rate`, and nothing else, is changed."""
    for rate in (10, 2):
        desired = _desired_by(set_rate, rate)
        found = desired.get("rate", _NONE_GIVEN)
        if found is ...:
            raise NotYet("replace the ... in it and run both cells again")
        if found is _NONE_GIVEN:
            raise Wrong(f"the desired properties are {desired}; the one that sets the pace is named 'rate'")
        if found != rate or isinstance(found, bool | str):
            raise Wrong(f"for {rate} rows a second rate is {found!r}; hand over the number as it is")
        if len(desired) > 1:
            raise Wrong(
                f"the patch has {sorted(desired)}; what is not in a patch stays as it is, so 'rate' is enough"
            )
    return "the module's twin asks for so many rows a second, and all else stays as it is"


def _desired_by(set_rate: Callable[[Any, float], object], rate: float) -> dict[str, Any]:
    registry = _Registry()
    run(set_rate, registry, rate)
    if registry.whole:
        raise Wrong("replace_module_twin takes away all that the manifest set; update_module_twin patches")
    if registry.of_device:
        raise Wrong("that is the device's own twin; the module has another: update_module_twin")
    if not registry.patches:
        raise NotYet("no twin was changed; call registry.update_module_twin, with the registry handed over")
    if len(registry.patches) > 1:
        raise Wrong(f"the twin was changed {len(registry.patches)} times; one patch is enough")
    device, module, twin = registry.patches[0]
    if ... in (device, module, twin):
        raise NotYet("replace the ... in it and run both cells again")
    if (device, module) != (EDGE, MODULE):
        raise Wrong(f"the twin of {device}/{module} was changed; the module is {EDGE!r}, {MODULE!r}")
    properties = getattr(twin, "properties", None)
    if properties is None:
        raise Wrong("the twin has no properties: Twin(properties=TwinProperties(desired={...}))")
    if isinstance(properties, dict):
        raise Wrong("properties is a dictionary; the SDK takes TwinProperties(desired={...}) there")
    if not properties.desired:
        if properties.reported:
            raise Wrong("reported properties are the module's to write; yours are desired=")
        raise Wrong("the desired properties are empty: TwinProperties(desired={...})")
    return dict(properties.desired)


# -- a route for fast rows ----------------------------------------------------------------------------------


@check
def check_fast_route(route: Any) -> str:
    """A route that takes the rows of ModuleSimulatorCar above 30 mph to the hub."""
    if route is ... or not route:
        raise NotYet('write the route as text: "FROM ... WHERE ... INTO $upstream"')
    if not isinstance(route, str):
        raise Wrong(f"a route is a text, this is of type {type(route).__name__}")
    try:
        parsed = parse_route(route)
    except RouteError as error:
        hint = "" if "$body" in route else " (the speed stands in the message's body: $body.speed)"
        raise Wrong(f"an edge device would refuse this route{hint}: {error}") from error
    if parsed.endpoint != Upstream():
        raise Wrong(f"it leads INTO {parsed.endpoint}; the hub is $upstream")
    table = RouteTable({"it": parsed})
    if not _passes(table, 60):
        if _passes(table, 60, speed="60"):
            raise Wrong("speed is no property of the message, it stands in its body: $body.speed")
        if _passes(table, FAST):
            raise Wrong("a row of 60 mph does not pass and one of 30 does: turn the comparison round")
        raise Wrong(
            f"a row of 60 mph does not pass; the condition is $body.speed > {FAST}, its source {MODULE}"
        )
    if _passes(table, 0):
        names = re.findall(r"\$body\.(\w+)", route)
        if names and "speed" not in names:
            raise Wrong(
                f"a row's body has no {names[0]!r}, and a condition on what is not there stops nothing; "
                "the name is speed, in small letters"
            )
        raise Wrong("a standing car's row passes too; add the condition, between source and INTO")
    if _passes(table, FAST):
        raise Wrong(f"a row of exactly {FAST} mph passes too; faster than {FAST} is >")
    if not _passes(table, FAST + 1):
        raise Wrong(f"a row of {FAST + 1} mph does not pass, and is faster than {FAST}")
    if _passes(table, 60, module="AnotherModule"):
        raise Wrong(f"another module's rows pass too; begin at /messages/modules/{MODULE}")
    return f"rows above {FAST} mph go to the hub, the others stay on the edge"


def _passes(table: RouteTable, mph: float, *, module: str = MODULE, **properties: str) -> bool:
    system = {"content-type": "application/json", "content-encoding": "utf-8"}
    body = json.dumps({"speed": mph, "engine_rpm": 1000.0}).encode()
    message = RoutedMessage(module, "output-simulator-car", system, properties, body, device=EDGE)
    return bool(table.deliveries(message))
