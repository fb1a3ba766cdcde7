"""The checks of notebook 07: an SQL query over the lake, an alarm that is no false one, a canary ring."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.errors import LabError
from iotedge_lab.show.exercises.verdict import NotYet, Wrong, ask_bool, ask_list, check

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pandas import DataFrame

    from iotedge_lab.lake.reading import Lake

_CLOSE: Final = 1e-6
_ROUNDED: Final = 0.06
"""mph: who rounds to a tenth is right, too"""
_TABLE: Final = "predictions"
_BY_DEVICE: Final = "SELECT device, {} AS error FROM predictions GROUP BY device ORDER BY device"
_SLIPS: Final = {
    "abs(avg(error))": "too high and too low cancel each other out in a mean; take abs(error) before avg",
    "sqrt(avg(error * error))": "that is the root of the mean square (RMSE); the mean of abs(error) is wanted",
    "median(abs(error))": "that is the median; the mean is avg",
    "sum(abs(error))": "that is the sum; the mean is avg",
    "avg(abs(error)) * 1.609344": "those are kilometres an hour; the error is in mph as it stands",
}
"""What is off, and what is said of it."""


@check
def check_by_device(query: Any, lake: Lake) -> str:
    """A query that gives each device's mean absolute error."""
    if query is ... or query is None or (isinstance(query, str) and ("..." in query or not query.strip())):
        raise NotYet("write the query first, then run both cells again")
    if not isinstance(query, str):
        raise Wrong(f"a query is a text, in quotes; this is of type {type(query).__name__}")
    try:
        # Rows arrive all the time: the answer and what it is compared with are read from one version.
        now = {_TABLE: lake.version(_TABLE)}
    except LabError as error:
        raise NotYet(
            f"no prediction is in the lake yet; run this cell again in a few seconds ({error})"
        ) from error
    try:
        found = lake.sql(query, versions=now)
    except LabError as error:
        raise Wrong(f"DuckDB cannot run it: {error}") from error
    wanted = lake.sql(_BY_DEVICE.format("avg(abs(error))"), versions=now)
    _judge_columns(found)
    if len(found) != len(wanted):
        rows = "1 row" if len(found) == 1 else f"{len(found)} rows"
        raise Wrong(f"the answer has {rows}, and {len(wanted)} devices have sent; GROUP BY device")
    if wanted["error"].isna().any():
        raise NotYet("a car's predictions have no error yet; run this cell again in a few seconds")
    given, right = _errors(found), _errors(wanted)
    if set(given) != set(right):
        raise Wrong(f"the devices are {sorted(right)}, and the answer has {sorted(given)}")
    off = _off(given, right)
    if off < _ROUNDED:
        return "one line of SQL, over files that a Spark cluster would read as well"
    size = {device: abs(error) for device, error in given.items()}  # a mean with its sign is the same slip
    for slip, words in _SLIPS.items():
        if _off(size, _errors(lake.sql(_BY_DEVICE.format(slip), versions=now))) < _ROUNDED:
            raise Wrong(words)
    raise Wrong(f"the mean absolute error is off by up to {off:.2f} mph; avg(abs(error)) was expected")


def _judge_columns(found: DataFrame) -> None:
    twice = [name for name in ("device", "error") if list(found.columns).count(name) > 1]
    if twice:
        raise Wrong(f"two columns are called {twice[0]}; each once is enough")
    missing = [name for name in ("device", "error") if name not in found.columns]
    if missing:
        raise Wrong(
            f"the answer has the columns {list(found.columns)}; call them device and error (AS error)"
        )


def _errors(answer: DataFrame) -> dict[str, float]:
    """The error of each device, from an answer with these two columns."""
    errors = {}
    for device, error in zip(answer["device"], answer["error"], strict=True):
        try:
            if isinstance(error, str):
                raise TypeError  # "1.5" is no number yet
            errors[str(device)] = float(error)
        except (TypeError, ValueError):
            said = "nothing (NULL)" if error is None else repr(error)
            raise Wrong(f"the error of {device} is {said}; a number is wanted, in mph") from None
        if not math.isfinite(errors[str(device)]):
            raise Wrong(f"the error of {device} is {error}; a number is wanted, in mph")
    return errors


def _off(given: dict[str, float], right: dict[str, float]) -> float:
    return max(abs(given[device] - right[device]) for device in right)


def _blocks(*values: float) -> list[float]:
    return list(values)


_ALARMS: Final[tuple[tuple[list[float], float, bool, str], ...]] = (
    (_blocks(*[2.0] * 12), 2.0, False, "twelve blocks as usual are no alarm"),
    (_blocks(*[4.0] * 12), 2.0, True, "twelve blocks of twice the usual error are one"),
    (_blocks(9.0, *[2.0] * 11), 2.0, False, "one hard block among twelve is a hard road, no drift: take the mean"),
    (_blocks(*[4.0] * 3), 2.0, False, "three blocks are too few to say anything; ask for twelve"),
    (_blocks(*[30.0] * 11), 2.0, False, "eleven blocks are fewer than twelve, however high they are"),
    ([], 2.0, False, "without a block there is nothing to say"),
    (_blocks(*[9.0] * 30, *[2.0] * 12), 2.0, False, "what was long ago is over: take the last twelve blocks"),
    (_blocks(*[2.0] * 30, *[4.0] * 12), 2.0, True, "the last twelve blocks have risen; earlier ones do not count"),
    (_blocks(*[2.8] * 12), 2.0, False, "a rise by less than half is within what roads differ by"),
    (_blocks(*[3.0] * 12), 2.0, False, "a rise by just half is not yet more than half"),
    (_blocks(*[3.2] * 12), 2.0, True, "a rise by more than half is an alarm"),
    (_blocks(*[2.0] * 7, *[5.0] * 5), 2.0, True, "the mean of the twelve counts, not how many of them are high"),
    (_blocks(*[2.0] * 11, 9.0), 2.0, False, "one hard block is no drift, the latest neither: take the mean of twelve"),
    (_blocks(2.0, 2.0, *[3.1] * 10), 2.0, False, "all of the last twelve blocks count, and their mean is below 3"),
    (_blocks(*[2.0] * 11, 20.0), 2.0, True, "the latest of the twelve blocks counts, too: their mean is 3.5"),
    (_blocks(30.0, *[2.0] * 12), 2.0, False, "the block before the last twelve is one too many"),
    (_blocks(*[8.0] * 12), 6.0, False, "what is a rise depends on what is usual; do not compare with a fixed number"),
)  # fmt: skip


@check
def check_alarm(alarm: Callable[[list[float], float], bool]) -> str:
    """The last twelve blocks are more than half above the usual error."""
    for errors, usual, wanted, why in _ALARMS:
        given = list(errors)
        answer = ask_bool(alarm, given, usual)
        if answer is not wanted:
            raise Wrong(f"{why}; alarm({_short(errors)}, {usual:g}) gave {answer}")
        if given != errors:
            raise Wrong(
                "the errors that were handed over are others afterwards; leave them as they are: errors[-12:]"
            )
    return "no false alarm, and none missed"


def _short(errors: list[float]) -> str:
    shown = ", ".join(f"{each:g}" for each in errors[-4:])
    return f"[..., {shown}]" if len(errors) > 4 else f"[{shown}]"


_FLEETS: Final = (
    (4, 0.25),
    (4, 0.5),
    (10, 0.25),
    (3, 0.1),
    (1, 0.5),
    (100, 0.05),
    (7, 1.0),
    (5, 0.4),
    (4, 0.0),
)


@check
def check_canaries(canaries: Callable[[Sequence[str], float], Sequence[str]]) -> str:
    """A share of the fleet, rounded up, one at least, and the same each time."""
    for count, share in _FLEETS:
        fleet = [f"car-{number}" for number in range(1, count + 1)]
        given = list(fleet)
        chosen = ask_list(canaries, "cars", given, share)
        strangers = [each for each in chosen if not isinstance(each, str) or each not in fleet]
        if strangers:
            raise Wrong(f"{strangers[0]!r} is not in the fleet; choose from the cars that are given")
        if len(set(chosen)) != len(chosen):
            raise Wrong(f"a car was chosen twice in {chosen}")
        wanted = max(1, math.ceil(share * count - _CLOSE))
        if len(chosen) != wanted:
            raise Wrong(
                f"{share:g} of {count} cars {'is' if wanted == 1 else 'are'} {wanted} (round up, take one at least); "
                f"{len(chosen)} {'was' if len(chosen) == 1 else 'were'} chosen"
            )
        if sorted(given) != sorted(fleet):
            raise Wrong(
                f"the fleet that was handed over had {count} cars, and has {len(given)} now; leave it as it is"
            )
        if ask_list(canaries, "cars", list(fleet), share) != chosen:
            raise Wrong("asked again, other cars were chosen; a ring that changes compares nothing")
    return "a ring, the same one each time"
