"""The checks of the exercises: what each says to a stub, to each kind of wrong answer, to a right one."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path
from types import MappingProxyType, ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from azure.iot.hub.models import Twin, TwinProperties

from iotedge_lab.car.can.database import CAR_DBC
from iotedge_lab.show import exercises
from iotedge_lab.show.exercises import (
    NotYet,
    Verdict,
    Wrong,
    ask,
    car_simulator,
    check,
    edge_deployment,
    edge_simulator,
    iot_hub_setup,
    run,
)
from iotedge_lab.show.exercises.verdict import Word
from notebooks.source.make.source import build_file, sources

if TYPE_CHECKING:
    from collections.abc import Callable

EVENTS = [SimpleNamespace(sequence_number=number) for number in range(100, 120)]


def _after(number: int) -> list[SimpleNamespace]:
    return [event for event in EVENTS if event.sequence_number > number]


PACKAGE = Path(exercises.__file__).parent
MODULES = [
    importlib.import_module(f"{exercises.__name__}.{path.stem}")
    for path in sorted(PACKAGE.glob("*.py"))
    if path.stem not in ("__init__", "verdict")
]


def _interval(accepts: Callable[[Any], bool]) -> Callable[[dict[str, Any], float], Any]:
    def next_interval(patch: dict[str, Any], current: float) -> Any:
        asked = patch.get("telemetryInterval")
        return asked if accepts(asked) else current

    return next_interval


def _positive(asked: Any) -> bool:
    return isinstance(asked, int | float) and asked > 0


def _answering(
    accepts: Callable[[Any], bool] = lambda times: type(times) is int and 1 <= times <= 10,
    *,
    good: Callable[[Any], Any] = lambda times: (200, {"flashed": times}),
    bad: Any = (400, {"error": "no"}),
    other: Any = (404, {"error": "what?"}),
) -> Callable[[str, Any], Any]:
    def answer(method: str, payload: Any) -> Any:
        if method != "flashLights":
            return other
        times = payload.get("times") if isinstance(payload, dict) else None
        return good(times) if accepts(times) else bad

    return answer


def _sending(
    urgent: Any = MappingProxyType({"priority": "high"}),
    calm: Any = MappingProxyType({}),
    *,
    to: str = "car-1",
    times: int = 1,
    loud: bool = False,
) -> Callable[[Any, str, bool], None]:
    def send_order(registry: Any, text: str, is_urgent: bool) -> None:
        for _ in range(times):
            properties = urgent if is_urgent else calm
            if isinstance(properties, MappingProxyType):
                properties = dict(properties)
            registry.send_c2d_message(to, text.upper() if loud else text, properties)

    return send_order


def _sends_urgent_ones(registry: Any, text: str, urgent: bool) -> None:
    if urgent:
        registry.send_c2d_message("car-1", text, {"priority": "high"})


def _sends_plain(registry: Any, text: str, _urgent: bool) -> None:
    registry.send_c2d_message("car-1", text)


IMAGE = "localhost:5000/echomodule:0.0.1"
ECHO_TO_HUB = "FROM /messages/modules/EchoModule/* INTO $upstream"
ECHO_TO_ECHO2 = (
    'FROM /messages/modules/EchoModule/* INTO BrokeredEndpoint("/modules/EchoModule2/inputs/input-echo")'
)
ECHO2_TO_ECHO = (
    'FROM /messages/modules/EchoModule2/* INTO BrokeredEndpoint("/modules/EchoModule/inputs/input-echo")'
)
ECHO2_TO_HUB = "FROM /messages/modules/EchoModule2/* INTO $upstream"


def _module(image: Any = IMAGE, interval: Any = 3600) -> dict[str, Any]:
    module = {"type": "docker", "status": "running", "restartPolicy": "always", "settings": {"image": image}}
    return module | ({"env": {"ECHO_INTERVAL": {"value": interval}}} if interval else {})


MANIFEST = {
    "$edgeAgent": {
        "properties.desired": {
            "schemaVersion": "1.1",
            "runtime": {"type": "docker", "settings": {}},
            "systemModules": {"edgeAgent": _module("agent:1"), "edgeHub": _module("hub:1")},
            "modules": {"EchoModule": _module()},
        }
    },
    "$edgeHub": {
        "properties.desired": {
            "schemaVersion": "1.1",
            "routes": {"EchoToHub": ECHO_TO_HUB},
            "storeAndForwardConfiguration": {"timeToLiveSecs": 7200},
        }
    },
}


def _adding(
    *routes: Any, module: Any = None, name: str = "EchoModule2", drop: str = ""
) -> Callable[[dict[str, Any]], Any]:
    def add_module(manifest: dict[str, Any]) -> Any:
        modules = manifest["$edgeAgent"]["properties.desired"]["modules"]
        modules[name] = _module() if module is None else module
        modules.pop(drop, None)
        known = manifest["$edgeHub"]["properties.desired"]["routes"]
        known.pop(drop, None)
        known.update({f"route{number}": route for number, route in enumerate(routes)})
        return manifest

    return add_module


def _losing(manifest: dict[str, Any]) -> Any:
    return {"$edgeAgent": manifest["$edgeAgent"]}


def _route(condition: str, source: str = "/messages/*", sink: str = "$upstream") -> str:
    return f"FROM {source} {condition} INTO {sink}"


def _sailing(
    *, early: int = 0, back: bool = True, cut: bool = True, count: bool = True, times: int = 1
) -> Callable[[Any, Callable[[str], None], list[str]], Any]:
    def sail(edge: Any, send: Callable[[str], None], texts: list[str]) -> Any:
        for text in texts[:early]:
            send(text)
        if cut:
            edge.offline()
        for text in texts[early:] * times:
            send(text)
        waiting = edge.status().waiting
        if back:
            edge.online()
            edge.wait_until_connected()
            edge.wait_until_delivered()
        return waiting if count else edge.status().waiting

    return sail


def _waits_for_ever(edge: Any, send: Callable[[str], None], texts: list[str]) -> int:
    edge.offline()
    for text in texts:
        send(text)
    edge.wait_until_delivered()
    return 3


def _waits_offline(edge: Any, send: Callable[[str], None], texts: list[str]) -> int:
    edge.offline()
    edge.wait_until_connected()
    return 3


DBC = CAR_DBC.read_text()
SG = ' SG_ OutsideTemperature : 0|8@1+ (0.5,-40) [-40|87.5] "degC" Gateway'


def _signal(line: object, message: str = "BO_ 1200 Outside: 1 Cockpit") -> Callable[[str], str]:
    return lambda dbc: f'{dbc}\n{message}\n{line}\nBA_ "GenMsgCycleTime" BO_ 1200 1000;\n'


def _pacing(
    name: str = "rate",
    *,
    to: tuple[Any, Any] = ("car-edge", "ModuleSimulatorCar"),
    value: Callable[[float], Any] = lambda rate: rate,
    twin: Callable[[dict[str, Any]], Any] = lambda desired: Twin(properties=TwinProperties(desired=desired)),
    times: int = 1,
    more: Any = MappingProxyType({}),
) -> Callable[[Any, float], None]:
    def set_rate(registry: Any, rate: float) -> None:
        for _ in range(times):
            registry.update_module_twin(*to, twin({name: value(rate), **more}))

    return set_rate


def _fast(condition: str, source: str = "/messages/modules/ModuleSimulatorCar/*") -> str:
    return f"FROM {source} {condition} INTO $upstream"


def _judging(
    limit: Callable[[Any], bool] = lambda mph: mph > 50,
    made: Callable[[Any], Any] = lambda mph: {"alert": "speeding", "speed": mph},
    *,
    safe: bool = False,
) -> Callable[[Any], Any]:
    def judge(reading: Any) -> Any:
        if safe and not (isinstance(reading, dict) and isinstance(reading.get("speed"), int | float)):
            return None
        return made(reading["speed"]) if limit(reading["speed"]) else None

    return judge


def _sloppy(reading: Any) -> Any:
    return _judging()(reading) if isinstance(reading, dict) and "speed" in reading else {}


SIGNAL = car_simulator.check_add_signal
RATE = car_simulator.check_set_rate
FAST = car_simulator.check_fast_route
JUDGE = edge_simulator.check_judge
SAFE = edge_simulator.check_judge_safely
ADD = edge_deployment.check_add_module
ROUTE = edge_deployment.check_route
SAIL = edge_deployment.check_sail
INTERVAL = iot_hub_setup.check_next_interval
ANSWER = iot_hub_setup.check_answer
ORDER = iot_hub_setup.check_send_order

# check, the rest of its arguments (or what makes them), the answer, the verdict's word, words in its text
CASES: list[tuple[Callable[..., Verdict], Any, Any, Word, str]] = [
    (car_simulator.check_gigabytes_per_day, (), lambda b, r: b * r * 86400 / 1e9, Word.OK, "0.216 GB"),
    (car_simulator.check_gigabytes_per_day, (), ..., Word.NOT_YET, "write the function"),
    (car_simulator.check_gigabytes_per_day, (), lambda b, r: ..., Word.NOT_YET, "gives nothing back yet"),
    (car_simulator.check_gigabytes_per_day, (), 0.216, Word.WRONG, "without ()"),
    (car_simulator.check_gigabytes_per_day, (), lambda b, r: "0.2", Word.WRONG, "a number was expected"),
    (
        car_simulator.check_gigabytes_per_day,
        (),
        lambda b, r: b * 86400 / 1e9,
        Word.WRONG,
        "leaves the rate out",
    ),
    (car_simulator.check_gigabytes_per_day, (), lambda b, r: 8 * b * r * 86400 / 1e9, Word.WRONG, "bits"),
    (car_simulator.check_gigabytes_per_day, (), lambda b, r: b * r * 3600 / 1e9, Word.WRONG, "one hour"),
    (car_simulator.check_gigabytes_per_day, (), lambda b, r: b * r * 60 / 1e9, Word.WRONG, "one minute"),
    (car_simulator.check_gigabytes_per_day, (), lambda b, r: b * r / 1e9, Word.WRONG, "one second"),
    (car_simulator.check_gigabytes_per_day, (), lambda b, r: b * r * 86400, Word.WRONG, "those are bytes"),
    (car_simulator.check_gigabytes_per_day, (), lambda b, r: b * r * 86400 / 1e6, Word.WRONG, "megabytes"),
    (car_simulator.check_gigabytes_per_day, (), lambda b, r: b * r * 86400 / 2**30, Word.WRONG, "GiB"),
    (car_simulator.check_gigabytes_per_day, (), lambda b, r: 1.0, Word.WRONG, "not 1"),
    (car_simulator.check_gigabytes_per_day, (), lambda b, r: 0.216, Word.WRONG, "use both arguments"),
    (car_simulator.check_gigabytes_per_day, (), lambda b, r: b / 0, Word.WRONG, "ZeroDivisionError"),
    (car_simulator.check_read_after, (EVENTS,), _after, Word.OK, "last 5 events"),
    (car_simulator.check_read_after, (EVENTS[:3],), _after, Word.NOT_YET, "run the cells above"),
    (car_simulator.check_read_after, (EVENTS,), lambda number: None, Word.NOT_YET, "gives nothing back"),
    (car_simulator.check_read_after, (EVENTS,), lambda number: 5, Word.WRONG, "a list of events"),
    (car_simulator.check_read_after, (EVENTS,), lambda number: [1, 2], Word.WRONG, "a list of events"),
    (car_simulator.check_read_after, (EVENTS,), lambda number: EVENTS, Word.WRONG, "from the first on"),
    (car_simulator.check_read_after, (EVENTS,), lambda number: _after(number - 1), Word.WRONG, "inclusive"),
    (car_simulator.check_read_after, (EVENTS,), lambda number: [], Word.WRONG, "the int as it is"),
    (car_simulator.check_read_after, (EVENTS,), lambda number: _after(number + 1), Word.WRONG, "gave [116"),
    (INTERVAL, (), _interval(_positive), Word.OK, "5 kinds of unfit patches"),
    (INTERVAL, (), lambda p, c: ..., Word.NOT_YET, "gives nothing back yet"),
    (INTERVAL, (), lambda p, c: "0.2", Word.WRONG, "a number of seconds"),
    (INTERVAL, (), lambda p, c: c, Word.WRONG, "still 0.5 s"),
    (INTERVAL, (), lambda p, c: p["$version"], Word.WRONG, "the patch's $version"),
    (INTERVAL, (), lambda p, c: 0.1, Word.WRONG, "gave 0.1"),
    (INTERVAL, (), _interval(lambda a: isinstance(a, float)), Word.WRONG, "whole numbers count too"),
    (INTERVAL, (), lambda p, c: p["telemetryInterval"], Word.WRONG, "raised KeyError"),
    (INTERVAL, (), lambda p, c: p.get("telemetryInterval"), Word.WRONG, "about something else"),
    (INTERVAL, (), lambda p, c: p.get("telemetryInterval", c), Word.WRONG, "was deleted (None)"),
    (INTERVAL, (), _interval(lambda a: a is not None), Word.WRONG, "a text changes nothing"),
    (INTERVAL, (), _interval(lambda a: isinstance(a, int | float)), Word.WRONG, "zero changes nothing"),
    (INTERVAL, (), _interval(lambda a: isinstance(a, int | float) and a), Word.WRONG, "a negative number"),
    (INTERVAL, (), _interval(lambda a: a is not None and a > 0), Word.WRONG, "raised TypeError"),
    (ANSWER, (), _answering(), Word.OK, "8 kinds of bad ones"),
    (ANSWER, (), lambda method, payload: None, Word.NOT_YET, "gives nothing back yet"),
    (ANSWER, (), _answering(good=lambda times: (200, ...)), Word.NOT_YET, "replace the ..."),
    (ANSWER, (), lambda method, payload: 200, Word.WRONG, "a status and a payload were expected"),
    (ANSWER, (), _answering(good=lambda times: ("200", {})), Word.WRONG, "a whole number such as 200"),
    (ANSWER, (), _answering(good=lambda times: (200, {1, 2})), Word.WRONG, "cannot be sent as JSON"),
    (ANSWER, (), _answering(lambda times: False), Word.WRONG, "a good request: 200, not 400"),
    (ANSWER, (), _answering(good=lambda times: (200, None)), Word.WRONG, '{"flashed": 3}, answer gave None'),
    (ANSWER, (), _answering(good=lambda times: (200, {"flashed": 3})), Word.WRONG, "not for 5"),
    (ANSWER, (), _answering(lambda times: times in range(1, 10)), Word.WRONG, "10 is refused"),
    (ANSWER, (), _answering(lambda times: times in range(2, 11)), Word.WRONG, "1 is refused"),
    (ANSWER, (), _answering(lambda times: True), Word.WRONG, "times that is missing is a bad payload"),
    (ANSWER, (), lambda m, payload: (200, {"flashed": payload["times"]}), Word.WRONG, "raised KeyError"),
    (ANSWER, (), _answering(lambda times: type(times) is int), Word.WRONG, "zero flashes"),
    (ANSWER, (), _answering(lambda times: type(times) is int and times > 0), Word.WRONG, "11 flashes"),
    (
        ANSWER,
        (),
        _answering(lambda times: isinstance(times, int | float) and 1 <= times <= 10),
        Word.WRONG,
        "half a flash",
    ),
    (ANSWER, (), _answering(bad=(400, {})), Word.WRONG, "with some words, not {}"),
    (ANSWER, (), _answering(other=(200, {})), Word.WRONG, "another method is 404"),
    (SIGNAL, (DBC,), _signal(SG), Word.OK, "0x7b"),
    (SIGNAL, (DBC,), _signal(...), Word.NOT_YET, "still open"),
    (SIGNAL, (DBC,), lambda dbc: None, Word.NOT_YET, "gives nothing back yet"),
    (SIGNAL, (DBC,), lambda dbc: 5, Word.WRONG, "the text of a DBC was expected"),
    (SIGNAL, (DBC,), lambda dbc: dbc, Word.WRONG, "the message Outside is gone"),
    (SIGNAL, (DBC,), _signal("SG_ OutsideTemperature"), Word.WRONG, "cantools cannot read it"),
    (SIGNAL, (DBC,), _signal(SG.replace("OutsideT", "T")), Word.WRONG, "['Temperature']"),
    (SIGNAL, (DBC,), _signal(""), Word.WRONG, "are none"),
    (SIGNAL, (DBC,), _signal(SG.replace("0|8", "0|7")), Word.WRONG, "has 7 bits"),
    (SIGNAL, (DBC,), _signal(SG.replace("1+", "1-")), Word.WRONG, "it is signed"),
    (SIGNAL, (DBC,), _signal(SG.replace("0.5,-40", "1,-40")), Word.WRONG, "a step is 1 degrees"),
    (SIGNAL, (DBC,), _signal(SG.replace("0.5,-40", "0.5,0")), Word.WRONG, "raw 0 stands for 0 degrees"),
    (SIGNAL, (DBC,), _signal(SG.replace("-40|87.5", "0|255")), Word.WRONG, "the range is [0|255]"),
    (SIGNAL, (DBC,), _signal(SG.replace("degC", "")), Word.WRONG, "no unit"),
    (SIGNAL, (DBC,), _signal(SG.replace("degC", "degF")), Word.WRONG, 'its unit is "degF"'),
    (SIGNAL, (DBC,), _signal(SG.replace(" Gateway", " Gatway")), Word.WRONG, "Gatway listens"),
    (RATE, (), _pacing(), Word.OK, "all else stays"),
    (RATE, (), lambda registry, rate: None, Word.NOT_YET, "no twin was changed"),
    (RATE, (), _pacing(value=lambda rate: ...), Word.NOT_YET, "replace the ..."),
    (RATE, (), _pacing(to=("car-edge", ...)), Word.NOT_YET, "replace the ..."),
    (RATE, (), _pacing("interval"), Word.WRONG, "is named 'rate'"),
    (RATE, (), _pacing(value=str), Word.WRONG, "the number as it is"),
    (RATE, (), _pacing(value=lambda rate: 10), Word.WRONG, "for 2 rows a second rate is 10"),
    (RATE, (), _pacing(more={"format": "csv"}), Word.WRONG, "'rate' is enough"),
    (RATE, (), _pacing(times=2), Word.WRONG, "changed 2 times"),
    (RATE, (), _pacing(to=("car-1", "ModuleSimulatorCar")), Word.WRONG, "car-1/ModuleSimulatorCar"),
    (RATE, (), _pacing(twin=lambda desired: desired), Word.WRONG, "the twin has no properties"),
    (RATE, (), _pacing(twin=lambda desired: Twin(properties=desired)), Word.WRONG, "is a dictionary"),
    (
        RATE,
        (),
        lambda registry, rate: registry.update_module_twin(1),
        Word.WRONG,
        "TypeError: update_module_twin()",
    ),
    (RATE, (), _pacing(twin=lambda desired: Twin(tags=desired)), Word.WRONG, "the twin has no properties"),
    (
        RATE,
        (),
        _pacing(twin=lambda desired: Twin(properties=TwinProperties(reported=desired))),
        Word.WRONG,
        "the module's to write",
    ),
    (
        RATE,
        (),
        _pacing(twin=lambda desired: Twin(properties=TwinProperties(desired={}))),
        Word.WRONG,
        "are empty",
    ),
    (RATE, (), lambda registry, rate: registry.update_twin("car-edge", {}), Word.WRONG, "device's own twin"),
    (
        RATE,
        (),
        lambda registry, rate: registry.replace_module_twin("car-edge", "ModuleSimulatorCar", {}),
        Word.WRONG,
        "replace_module_twin takes away",
    ),
    (FAST, (), _fast("WHERE $body.speed > 30"), Word.OK, "the others stay"),
    (FAST, (), ..., Word.NOT_YET, "write the route as text"),
    (FAST, (), 5, Word.WRONG, "of type int"),
    (FAST, (), _fast("WHERE $body.speed >> 30"), Word.WRONG, "would refuse this route"),
    (
        FAST,
        (),
        'FROM /messages/* INTO BrokeredEndpoint("/modules/A/inputs/b")',
        Word.WRONG,
        "the hub is $upstream",
    ),
    (FAST, (), _fast("WHERE speed > 30"), Word.WRONG, "stands in the message's body"),
    (FAST, (), _fast("WHERE as_number(speed) > 30"), Word.WRONG, "it stands in its body: $body.speed"),
    (FAST, (), _fast("WHERE $body.speed <= 30"), Word.WRONG, "turn the comparison round"),
    (FAST, (), _fast("WHERE $body.speed = 31"), Word.WRONG, "a row of 60 mph does not pass"),
    (FAST, (), _fast(""), Word.WRONG, "a standing car's row"),
    (FAST, (), _fast("WHERE $body.speed >= 30"), Word.WRONG, "exactly 30 mph"),
    (FAST, (), _fast("WHERE $body.speed > 45"), Word.WRONG, "a row of 31 mph"),
    (FAST, (), _fast("WHERE $body.Speed > 30"), Word.WRONG, "a row's body has no 'Speed'"),
    (FAST, (), _fast("WHERE speed > 30"), Word.WRONG, "this route (the speed stands in"),
    (FAST, (), _fast("WHERE $body.speed > 30", "/messages/*"), Word.WRONG, "another module's rows"),
    (JUDGE, (), _judging(), Word.OK, "above 50 mph"),
    (JUDGE, (), lambda reading: None, Word.NOT_YET, "gives nothing back yet"),
    (JUDGE, (), _judging(made=lambda mph: {"alert": ...}), Word.NOT_YET, "replace the ..."),
    (JUDGE, (), _judging(made=lambda mph: mph), Word.WRONG, "judge gave 60"),
    (JUDGE, (), _judging(made=lambda mph: {"alert": "fast"}), Word.WRONG, "the alert is 'fast'"),
    (JUDGE, (), _judging(made=lambda mph: {"alert": "speeding"}), Word.WRONG, "take the speed from"),
    (JUDGE, (), _judging(made=lambda mph: {"alert": "speeding", "speed": 60}), Word.WRONG, "for 80.5 mph"),
    (JUDGE, (), _judging(lambda mph: True), Word.WRONG, "30 mph is no speeding"),
    (JUDGE, (), _judging(lambda mph: mph >= 50), Word.WRONG, "50 mph is allowed"),
    (JUDGE, (), lambda reading: reading["mph"], Word.WRONG, "raised KeyError"),
    (
        JUDGE,
        (),
        _judging(made=lambda mph: {"alert": "speeding", "speed": str(mph)}),
        Word.WRONG,
        "become text",
    ),
    (SAFE, (), _judging(safe=True), Word.OK, "7 kinds"),
    (SAFE, (), lambda reading: ..., Word.NOT_YET, "gives nothing back yet"),
    (SAFE, (), _judging(), Word.WRONG, "raised TypeError"),
    (SAFE, (), _judging(lambda mph: True), Word.WRONG, "30 mph is no speeding"),
    (SAFE, (), _sloppy, Word.WRONG, "a word in place of a reading is nobody's speed"),
    (ADD, (MANIFEST,), _adding(ECHO_TO_ECHO2, ECHO2_TO_HUB), Word.OK, "what both send"),
    (ADD, (MANIFEST,), lambda manifest: None, Word.NOT_YET, "gives nothing back yet"),
    (ADD, (MANIFEST,), lambda manifest: manifest, Word.NOT_YET, "no module 'EchoModule2'"),
    (ADD, (MANIFEST,), _adding(..., module=...), Word.NOT_YET, "replace the ..."),
    (ADD, (MANIFEST,), lambda manifest: 5, Word.WRONG, "the manifest was expected back"),
    (ADD, (MANIFEST,), _losing, Word.WRONG, 'has lost its "routes"'),
    (ADD, (MANIFEST,), _adding(name="Echo2"), Word.WRONG, "named 'Echo2'"),
    (ADD, (MANIFEST,), _adding(drop="EchoModule"), Word.WRONG, "EchoModule is gone"),
    (ADD, (MANIFEST,), _adding(module=_module("other:1")), Word.WRONG, "the image is 'other:1'"),
    (ADD, (MANIFEST,), _adding(module=_module(interval="1h")), Word.WRONG, "the ECHO_INTERVAL is '1h'"),
    (
        ADD,
        (MANIFEST,),
        _adding(module=_module(interval=None)),
        Word.WRONG,
        "tells the time itself every 30 s",
    ),
    (ADD, (MANIFEST,), _adding(module={}), Word.WRONG, "would refuse this manifest"),
    (ADD, (MANIFEST,), _adding("FROM nowhere"), Word.WRONG, "would refuse this manifest"),
    (ADD, (MANIFEST,), _adding(ECHO2_TO_HUB), Word.WRONG, "no route leads from EchoModule"),
    (ADD, (MANIFEST,), _adding(ECHO_TO_ECHO2), Word.WRONG, "what EchoModule2 sends goes nowhere"),
    (
        ADD,
        (MANIFEST,),
        _adding(ECHO_TO_ECHO2, ECHO2_TO_HUB, drop="EchoToHub"),
        Word.WRONG,
        "no longer reaches the hub",
    ),
    (
        ADD,
        (MANIFEST,),
        _adding(ECHO_TO_ECHO2.replace("input-echo", "echo")),
        Word.WRONG,
        'leads to BrokeredEndpoint("/modules/EchoModule2/inputs/echo")',
    ),
    (
        ADD,
        (MANIFEST,),
        _adding(ECHO_TO_ECHO2.replace("EchoModule/*", "*")),
        Word.WRONG,
        "gets what it sent itself",
    ),
    (
        ADD,
        (MANIFEST,),
        _adding(ECHO_TO_ECHO2, ECHO2_TO_ECHO),
        Word.WRONG,
        "send to each other",
    ),
    (ADD, (MANIFEST,), lambda manifest: manifest["modules"], Word.WRONG, "raised KeyError"),
    (ROUTE, (), _route("WHERE level = 'warning'"), Word.OK, "nothing else does"),
    (ROUTE, (), ..., Word.NOT_YET, "write the route as text"),
    (ROUTE, (), "", Word.NOT_YET, "write the route as text"),
    (ROUTE, (), 5, Word.WRONG, "of type int"),
    (ROUTE, (), _route("WHERE level == 'warning'"), Word.WRONG, "column 31"),
    (ROUTE, (), _route("WHERE level = warning"), Word.WRONG, "without quotes"),
    (ROUTE, (), _route("WHERE level = 'Warnings'"), Word.WRONG, "a warning does not pass"),
    (ROUTE, (), _route(""), Word.WRONG, "without a level passes"),
    (ROUTE, (), _route("WHERE level <> ''"), Word.WRONG, "'info' passes too"),
    (ROUTE, (), _route("WHERE level <> 'info'"), Word.WRONG, "'calm' passes too"),
    (ROUTE, (), "FROM /messages/* INTO upstream", Word.WRONG, "(the hub is $upstream)"),
    (ROUTE, (), _route("WHERE level = 'warning'", "/messages/events"), Word.WRONG, "a module's warning"),
    (ROUTE, (), _route("WHERE level = 'warning'", "/messages/modules/*"), Word.WRONG, "the car is no module"),
    (
        ROUTE,
        (),
        _route("WHERE level = 'warning'", sink='BrokeredEndpoint("/modules/A/inputs/b")'),
        Word.WRONG,
        "the hub is $upstream",
    ),
    (SAIL, (), _sailing(), Word.OK, "3 messages were sent offline"),
    (SAIL, (), lambda edge, send, texts: ..., Word.NOT_YET, "gives nothing back yet"),
    (SAIL, (), lambda edge, send, texts: 3, Word.NOT_YET, "nothing was sent"),
    (SAIL, (), _sailing(cut=False), Word.NOT_YET, "never cut off"),
    (SAIL, (), _sailing(early=2), Word.WRONG, "2 of 3 were sent while"),
    (SAIL, (), _sailing(back=False), Word.WRONG, "still offline"),
    (SAIL, (), _sailing(count=False), Word.WRONG, "sail gave 0"),
    (SAIL, (), _sailing(times=2), Word.WRONG, "send each once"),
    (SAIL, (), _waits_for_ever, Word.WRONG, "nothing is delivered while it is offline"),
    (SAIL, (), _waits_offline, Word.WRONG, "stays so until edge.online()"),
    (ORDER, (), _sending(), Word.OK, "priority=high"),
    (ORDER, (), lambda registry, text, urgent: None, Word.NOT_YET, "nothing was sent"),
    (ORDER, (), None, Word.NOT_YET, "write the function"),
    (ORDER, (), _sends_plain, Word.NOT_YET, "no property 'priority' yet"),
    (ORDER, (), _sends_urgent_ones, Word.WRONG, "is not sent at all"),
    (ORDER, (), _sending(...), Word.NOT_YET, "replace the ..."),
    (ORDER, (), _sending(times=2), Word.WRONG, "sent as 2 messages"),
    (ORDER, (), _sending(to="edge-1"), Word.WRONG, "the order went to 'edge-1'"),
    (ORDER, (), _sending(loud=True), Word.WRONG, "the message is 'STOP'"),
    (ORDER, (), _sending(None), Word.WRONG, "needs a dictionary"),
    (ORDER, (), _sending({"priority": True}), Word.WRONG, "write 'high'"),
    (ORDER, (), _sending({"priority": "high"}, {"priority": "low"}), Word.WRONG, "carries priority 'low'"),
    (ORDER, (), _sending({}, {"priority": "high"}), Word.WRONG, "the urgent one does not"),
    (ORDER, (), lambda registry, text, urgent: text / 2, Word.WRONG, "raised TypeError"),
]
# Later notebooks have a file each beside this one, cases_NAME.py, with CASES of the same kind.
for path in sorted(Path(__file__).parent.glob("cases_*.py")):
    CASES += importlib.import_module(path.stem).CASES


@pytest.mark.parametrize(
    ("judge", "arguments", "answer", "word", "words"),
    CASES,
    ids=[f"{judge.__name__}-{word.value}-{words}" for judge, _, _, word, words in CASES],
)
def test_the_check_names_what_is_wrong(
    judge: Callable[..., Verdict], arguments: Any, answer: Any, word: Word, words: str
) -> None:
    """Each answer gets its verdict, in words that name the slip, and never an exception."""
    verdict = judge(answer, *(arguments() if callable(arguments) else arguments))
    assert (verdict.word, words in verdict.text) == (word, True), verdict
    assert bool(verdict) is (word is Word.OK)


def _checks_of(module: ModuleType) -> set[str]:
    return {name for name, _ in inspect.getmembers(module, inspect.isfunction) if name.startswith("check_")}


def test_every_check_is_tried_with_every_kind_of_answer() -> None:
    """No check goes without a right answer, an unfinished one and a wrong one in the table."""
    tried: dict[str, set[Word]] = {}
    for judge, _, _, word, _ in CASES:
        tried.setdefault(judge.__name__, set()).add(word)
    assert tried == {name: set(Word) for module in MODULES for name in _checks_of(module)}


def test_every_module_of_checks_has_some() -> None:
    """What lies beside the verdicts are modules of checks, one a notebook."""
    assert len(MODULES) >= 4
    assert all(_checks_of(module) for module in MODULES)


def test_the_notebooks_use_every_check_and_no_other() -> None:
    """Each exercise of the series calls a check that exists, and no check lies idle."""
    called: set[str] = set()
    for source in sources():
        for cell in build_file(source).cells:
            if "exercise-check" in cell.metadata.get("tags", []):
                calls = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call)]
                names = {node.func.attr for node in calls if isinstance(node.func, ast.Attribute)}
                called |= {name for name in names if name.startswith("check_")}
    assert called == {name for module in MODULES for name in _checks_of(module)}


@check
def _check_odd(number: int) -> str:
    if number == 0:
        raise NotYet("no number yet")
    if number % 2 == 0:
        raise Wrong(f"{number} is even <b>")
    return f"{number} is odd"


def test_a_verdict_speaks_in_text_and_in_html() -> None:
    """The word stands in both forms, the sign is not the only carrier of it, and the text is escaped."""
    assert repr(_check_odd(3)) == "OK: 3 is odd"
    assert repr(_check_odd(0)) == "Not yet: no number yet"
    shown = _check_odd(2)._repr_html_()
    assert "Wrong:" in shown
    assert "2 is even &lt;b&gt;" in shown


def test_an_error_of_the_learners_code_is_named_with_its_line() -> None:
    """The line counted is that of the learner's own function, also when a library raised."""

    def broken(text: str) -> int:
        return int(text)

    line = inspect.getsourcelines(broken)[1] + 1
    with pytest.raises(Wrong, match=rf"broken\('x'\) raised ValueError: .* \(line {line} of its cell\)"):
        ask(broken, "x")


def test_what_gives_nothing_back_is_told_apart() -> None:
    """A stub is told to be filled, a function that prints to return, and one with an answer at times the case."""

    def stub(_: int) -> object:
        return ...

    def prints(number: int) -> None:
        print(number)

    def effect(number: int) -> None:
        hash(number)

    def at_times(number: int) -> int | None:
        if number > 5:
            return number
        return None

    for function, answer, words in (
        (stub, NotYet, r"stub gives nothing back yet; replace the \.\.\."),
        (
            prints,
            NotYet,
            "prints gives nothing back yet: print shows a value, and hands over nothing; end it with",
        ),
        (effect, NotYet, "effect gives nothing back yet; end it with return"),
        (at_times, Wrong, r"at_times\(3\) gave None, and an answer was expected"),
    ):
        with pytest.raises(answer, match=words):
            ask(function, 3)


def test_run_takes_a_function_that_gives_nothing_back() -> None:
    """Where only the effect counts, None is an answer; an unwritten function still is none."""
    assert run(lambda: None) is None
    with pytest.raises(NotYet, match="write the function first"):
        run(...)


def test_a_bug_of_a_check_is_not_hidden() -> None:
    """Only answers become verdicts; a check's own fault is raised."""

    @check
    def faulty() -> str:
        raise LookupError("ours")

    with pytest.raises(LookupError, match="ours"):
        faulty()
