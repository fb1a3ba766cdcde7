"""The checks of notebook 02, the hub's setup: a twin that sets the pace, a method that refuses, an order."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from iotedge_lab.show.exercises.verdict import NotYet, Wrong, ask, check, run

if TYPE_CHECKING:
    from collections.abc import Callable

PROPERTY = "telemetryInterval"
"""The desired property that sets the pace, in seconds."""

MOST_FLASHES = 10


@check
def check_next_interval(next_interval: Callable[[dict[str, Any], float], float]) -> str:
    """(patch, current interval) -> the interval from now on; what is no positive number changes nothing."""
    current, asked = 0.5, 0.2
    answer = ask(next_interval, {PROPERTY: asked, "$version": 7}, current)
    if isinstance(answer, bool) or not isinstance(answer, int | float):
        raise Wrong(f"a number of seconds was expected, next_interval gave {answer!r}")
    if answer == current:
        raise Wrong(f"the patch asks for {asked} s, and the interval is still {current} s")
    if answer == 7:
        raise Wrong(f"that is the patch's $version; the interval stands under {PROPERTY!r}")
    if answer != asked:
        raise Wrong(f"the patch asks for {asked} s, next_interval gave {answer!r}")
    slower = ask(next_interval, {PROPERTY: 30, "$version": 8}, current)
    if slower != 30:
        raise Wrong(f"the patch asks for 30 s, next_interval gave {slower!r}; whole numbers count too")
    # What a device meets one day, and what it was about.
    unfit = {
        "a patch about something else": {"colour": "red", "$version": 9},
        "a property that was deleted (None)": {PROPERTY: None, "$version": 10},
        "a text": {PROPERTY: "fast", "$version": 11},
        "zero": {PROPERTY: 0, "$version": 12},
        "a negative number": {PROPERTY: -1, "$version": 13},
    }
    for words, patch in unfit.items():
        # Asked for `...` or None, `ask` would say "not yet": here it is a wrong answer.
        kept = run(next_interval, patch, current)
        if kept != current:
            raise Wrong(f"{words} changes nothing, so {current} is right; next_interval gave {kept!r}")
    return f"{PROPERTY} sets the pace, and {len(unfit)} kinds of unfit patches leave it alone"


@check
def check_answer(answer: Callable[[str, Any], tuple[int, Any]]) -> str:
    """(method, payload) -> (status, payload): 200 with what was done, 400 for a bad payload, 404 otherwise."""
    status, payload = _answered(answer, "flashLights", {"times": 3})
    if status != 200:
        raise Wrong(f'three flashes are a good request: 200, not {status}; the payload is {{"times": 3}}')
    if payload != {"flashed": 3}:
        raise Wrong(f'the payload for three flashes is {{"flashed": 3}}, answer gave {payload!r}')
    if _answered(answer, "flashLights", {"times": 5}) != (200, {"flashed": 5}):
        raise Wrong('right for 3 flashes, but not for 5; take the number from payload["times"]')
    for most in (1, MOST_FLASHES):
        if _answered(answer, "flashLights", {"times": most})[0] != 200:
            raise Wrong(f"{most} is refused; from 1 to {MOST_FLASHES} includes both")
    bad: dict[str, Any] = {
        "times that is missing": {},
        "no payload at all (None)": None,
        "a payload that is no object": [3],
        "times that is a text": {"times": "many"},
        "times that is null": {"times": None},
        "zero flashes": {"times": 0},
        f"{MOST_FLASHES + 1} flashes": {"times": MOST_FLASHES + 1},
        "half a flash": {"times": 2.5},
    }
    for words, request in bad.items():
        status, payload = _answered(answer, "flashLights", request)
        if status != 400:
            raise Wrong(f"{words} is a bad payload: 400, not {status}")
        if not (isinstance(payload, dict) and isinstance(payload.get("error"), str) and payload["error"]):
            raise Wrong(f'to a bad payload belongs {{"error": "..."}} with some words, not {payload!r}')
    if _answered(answer, "openRoof", {"times": 3})[0] != 404:
        raise Wrong("another method is 404 now; leave the first lines of answer as they were")
    return f"good requests are done, {len(bad)} kinds of bad ones are refused with words"


def _answered(answer: Callable[[str, Any], tuple[int, Any]], method: str, payload: Any) -> tuple[int, Any]:
    """The learner's answer, if it is one that the SDK could send."""
    given = ask(answer, method, payload)
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise Wrong(f"a status and a payload were expected (return 200, {{...}}), answer gave {given!r}")
    status, reply = given
    if ... in (status, reply):
        raise NotYet("replace the ... in it and run both cells again")
    if isinstance(status, bool) or not isinstance(status, int):
        raise Wrong(f"a status is a whole number such as 200, answer gave {status!r}")
    try:
        json.dumps(reply)
    except (TypeError, ValueError) as error:
        raise Wrong(f"the payload cannot be sent as JSON: {error}") from error
    return status, reply


_NONE_GIVEN: Any = object()


class _Recorder:
    """Takes `send_c2d_message` as the registry manager does, and keeps what it was called with."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, Any, Any]] = []

    def send_c2d_message(self, device_id: Any, message: Any, properties: Any = _NONE_GIVEN) -> None:
        self.sent.append((device_id, message, {} if properties is _NONE_GIVEN else properties))


@check
def check_send_order(send_order: Callable[[Any, str, bool], object]) -> str:
    """(registry, text, urgent): one message to car-1; an urgent one carries priority=high, others nothing."""
    urgent, calm = _order(send_order, "Stop", True), _order(send_order, "Come home", False)
    priority = urgent.get("priority")
    if priority is None:
        if calm.get("priority") is not None:
            raise Wrong("the order that is not urgent carries the priority, the urgent one does not")
        raise NotYet("the order is sent, and an urgent one carries no property 'priority' yet")
    if priority != "high":
        raise Wrong(f"the priority of an urgent order is {priority!r}; write 'high'")
    if "priority" in calm:
        raise Wrong(
            f"an order that is not urgent carries priority {calm['priority']!r}; it is to have none at all"
        )
    return "an urgent order carries priority=high, any other carries none"


def _order(send_order: Callable[[Any, str, bool], object], text: str, urgent: bool) -> dict[str, Any]:
    """The properties of the one order that was sent."""
    recorder = _Recorder()
    run(send_order, recorder, text, urgent)
    if not recorder.sent and not urgent:  # the urgent one, which is asked for first, was sent
        raise Wrong("an order that is not urgent is not sent at all; only its property is left out")
    if not recorder.sent:
        raise NotYet(
            "nothing was sent; call registry.send_c2d_message, with the registry that is handed over"
        )
    if len(recorder.sent) > 1:
        raise Wrong(f"one order was sent as {len(recorder.sent)} messages; call send_c2d_message once")
    device_id, message, properties = recorder.sent[0]
    if ... in (device_id, message, properties):
        raise NotYet("replace the ... in it and run both cells again")
    if device_id != "car-1":
        raise Wrong(f"the order went to {device_id!r}; the device is 'car-1'")
    if message not in (text, text.encode()):
        raise Wrong(f"the message is {message!r}; send the text as it is, {text!r}")
    if not isinstance(properties, dict):
        raise Wrong(f"properties is {properties!r}, and the SDK needs a dictionary; without any, it is {{}}")
    return properties
