"""The checks of notebook 03, the car simulator: data rates, a property, reading from a given place."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from iotedge_lab.car.rows import CarRow
from iotedge_lab.show.exercises.verdict import NotYet, Wrong, ask, check

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HARD_BRAKING = -0.2
"""From this acceleration (g) down, a row is worth an alert."""

_DAY = 86_400  # s
_CALM = CarRow("2026-01-01 08:00:00.000000", 12.0, 30.2, -97.7, 0.1, 24.0, 3.0, 11.0, 1290.0, 0.01, 0.02)


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
def check_to_message(to_message: Callable[[CarRow], Any]) -> str:
    """A row becomes a JSON message; hard braking, and nothing else, carries the property alert=braking."""
    braking = replace(_CALM, acceleration_gs=-0.35)
    calm_message, alert_message = ask(to_message, _CALM), ask(to_message, braking)
    for row, message in ((_CALM, calm_message), (braking, alert_message)):
        _judge_envelope(row, message)
    alert = alert_message.custom_properties.get("alert")
    if alert is ...:
        raise NotYet("replace the ... : no property 'alert' has a value yet")
    if alert is None:
        if _alert_of(to_message, 0.35) is not None:
            raise Wrong("speeding up carries the alert, braking does not; braking is negative")
        raise NotYet(f"a row of {braking.acceleration_gs} g carries no property 'alert' yet")
    if not isinstance(alert, str):
        raise Wrong(f"the value {alert!r} is of type {type(alert).__name__}; a property's value is text")
    if alert != "braking":
        raise Wrong(f"the property's value is {alert!r}; write 'braking'")
    if _alert_of(to_message, _CALM.acceleration_gs) is not None:
        raise Wrong("a calm row carries the alert too; set it under an if")
    if _alert_of(to_message, 0.35) is not None:
        raise Wrong("speeding up carries the alert too; braking is negative, so compare without abs()")
    if _alert_of(to_message, HARD_BRAKING) is None:
        raise Wrong(f"a row of exactly {HARD_BRAKING} g carries no alert; 'at or below' is <=")
    if _alert_of(to_message, HARD_BRAKING + 0.01) is not None:
        raise Wrong(
            f"a row of {HARD_BRAKING + 0.01:.2f} g carries the alert; it is milder than {HARD_BRAKING} g"
        )
    return "hard braking carries alert=braking, calm rows carry none"


def _alert_of(to_message: Callable[[CarRow], Any], acceleration: float) -> object:
    message = ask(to_message, replace(_CALM, acceleration_gs=acceleration))
    return message.custom_properties.get("alert")


def _judge_envelope(row: CarRow, message: Any) -> None:
    """Body and content type, which the stub had right and an answer may have lost."""
    from azure.iot.device import Message

    if not isinstance(message, Message):
        raise Wrong(f"to_message gave {type(message).__name__}; give the Message back")
    if message.data != row.to_json():
        raise Wrong("the body is no longer row.to_json(); only the properties were to change")
    if (message.content_type, message.content_encoding) != ("application/json", "utf-8"):
        raise Wrong(
            "content_type and content_encoding are gone; without them the hub cannot look into the body"
        )


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
        raise Wrong(f"a list of events was expected, read_after gave {type(answer).__name__}") from None
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
    return f"after event {seen} come {len(got)} events, none twice and none left out"
