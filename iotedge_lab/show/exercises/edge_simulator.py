"""The checks of notebook 01, the edge simulator: what a module makes of a reading, and of what is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.show.exercises.verdict import NotYet, Wrong, ask, check, run

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT: Final = 50
"""Miles an hour; above it a car is speeding."""

# What comes one day to an input that expects {"speed": 30}.
UNFIT: Final[dict[str, Any]] = {
    "a word in place of a reading": "hello",
    "a number in place of a reading": 12,
    "a list": [{"speed": 60}],
    "nothing at all (None)": None,
    "a reading without a speed": {"rpm": 1290},
    "a speed that is a word": {"speed": "fast"},
    "a speed that is null": {"speed": None},
}


@check
def check_judge(judge: Callable[[Any], dict[str, Any] | None]) -> str:
    """(reading) -> an alert with the speed above 50 mph, None otherwise."""
    _judge_readings(judge)
    return f"readings above {LIMIT} mph become an alert, and no others do"


@check
def check_judge_safely(judge_safely: Callable[[Any], dict[str, Any] | None]) -> str:
    """As `check_judge`, and what is no reading gives None."""
    _judge_readings(judge_safely)
    for words, what in UNFIT.items():
        answer = run(judge_safely, what)
        if answer is not None:
            raise Wrong(f"{words} is nobody's speed: None, not {answer!r}")
    return f"readings are judged as before, and {len(UNFIT)} kinds of what is none are passed over"


def _judge_readings(judge: Callable[[Any], dict[str, Any] | None]) -> None:
    answer = ask(judge, {"speed": 60})
    name = getattr(judge, "__name__", "your function")
    if not isinstance(answer, dict):
        raise Wrong(f'for 60 mph {{"alert": "speeding", "speed": 60}} was expected, {name} gave {answer!r}')
    if ... in answer.values():
        raise NotYet("replace the ... in it and run both cells again")
    if answer.get("alert") != "speeding":
        raise Wrong(f'the alert is {answer.get("alert")!r}; write "alert": "speeding"')
    if answer.get("speed") == "60":
        raise Wrong(f"for 60 mph {name} gave {answer!r}: the speed has become text; leave it a number")
    if answer != {"alert": "speeding", "speed": 60}:
        raise Wrong(f"for 60 mph {name} gave {answer!r}; take the speed from the reading, and nothing more")
    other = run(judge, {"speed": 80.5})
    if other != {"alert": "speeding", "speed": 80.5}:
        raise Wrong(f"right for 60 mph, and for 80.5 mph {name} gave {other!r}")
    for speed in (30, 0):
        if run(judge, {"speed": speed}) is not None:
            raise Wrong(f"{speed} mph is no speeding: None, so that nothing is sent")
    if run(judge, {"speed": LIMIT}) is not None:
        raise Wrong(f"{LIMIT} mph is allowed; above is >")
