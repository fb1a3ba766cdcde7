"""The checks of notebook 07: an SQL query over the lake, an alarm that is no false one, a canary ring."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.errors import LabError
from iotedge_lab.show.exercises.verdict import NotYet, Wrong, ask, check

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pandas import DataFrame

    from iotedge_lab.lake.reading import Lake

_CLOSE: Final = 1e-6
_ROUNDED: Final = 0.06
"""mph: who rounds to a tenth is right, too"""
_TABLE: Final = "predictions"
_TRUTH: Final = "SELECT device, avg(abs(error)) AS error FROM predictions GROUP BY device ORDER BY device"


@check
def check_by_device(query: Any, lake: Lake) -> str:
    """A query that gives each device's mean absolute error."""
    if query is ... or query is None or (isinstance(query, str) and not query.strip(" .")):
        raise NotYet("write the query first, then run both cells again")
    if not isinstance(query, str):
        raise Wrong(f"a query is a text; this is {query!r}")
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
    wanted = lake.sql(_TRUTH, versions=now)
    missing = [name for name in ("device", "error") if name not in found.columns]
    if missing:
        raise Wrong(
            f"the answer has the columns {list(found.columns)}; call them device and error (AS error)"
        )
    if len(found) != len(wanted):
        raise Wrong(f"the answer has {len(found)} rows, and {len(wanted)} devices have sent; GROUP BY device")
    both = found.merge(wanted, on="device", suffixes=("", "_wanted"))
    if len(both) != len(wanted):
        raise Wrong(
            f"the devices are {sorted(wanted['device'])}, and the answer has {sorted(found['device'].astype(str))}"
        )
    signed = lake.sql("SELECT device, avg(error) AS signed FROM predictions GROUP BY device", versions=now)
    off = (both["error"].astype(float) - both["error_wanted"]).abs().max()
    if not off < _ROUNDED:
        plain = found.merge(signed, on="device")
        if (plain["error"].astype(float).abs() - plain["signed"].abs()).abs().max() < _ROUNDED:
            raise Wrong("too high and too low cancel each other out in a mean; take abs(error) before avg")
        raise Wrong(f"the mean absolute error is off by up to {off:.2f} mph; avg(abs(error)) was expected")
    return "one line of SQL, over files that a Spark cluster would read as well"


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
    (_blocks(*[8.0] * 12), 6.0, False, "what is a rise depends on what is usual; do not compare with a fixed number"),
)  # fmt: skip


@check
def check_alarm(alarm: Callable[[list[float], float], bool]) -> str:
    """The last twelve blocks are more than half above the usual error."""
    for errors, usual, wanted, why in _ALARMS:
        answer = ask(alarm, list(errors), usual)
        if (
            not isinstance(answer, bool)
            and type(answer).__name__ != "bool_"
            and type(answer).__name__ != "bool"
        ):
            raise Wrong(f"alarm gave {answer!r}; True or False was expected")
        if bool(answer) is not wanted:
            raise Wrong(f"{why}; alarm({_short(errors)}, {usual:g}) gave {bool(answer)}")
    return "no false alarm, and none missed"


def _short(errors: list[float]) -> str:
    shown = ", ".join(f"{each:g}" for each in errors[-4:])
    return f"[..., {shown}]" if len(errors) > 4 else f"[{shown}]"


_FLEETS: Final = ((4, 0.25), (4, 0.5), (10, 0.25), (3, 0.1), (1, 0.5), (100, 0.05), (7, 1.0))


@check
def check_canaries(canaries: Callable[[Sequence[str], float], Sequence[str]]) -> str:
    """A share of the fleet, rounded up, the same each time, and never all but at a share of 1."""
    for count, share in _FLEETS:
        fleet = [f"car-{number}" for number in range(1, count + 1)]
        chosen = ask(canaries, list(fleet), share)
        if isinstance(chosen, str) or not hasattr(chosen, "__iter__"):
            raise Wrong(f"canaries gave {chosen!r}; a list of cars was expected")
        chosen = list(chosen)
        strangers = [each for each in chosen if each not in fleet]
        if strangers:
            raise Wrong(f"{strangers[0]!r} is not in the fleet; choose from the cars that are given")
        if len(set(chosen)) != len(chosen):
            raise Wrong(f"a car was chosen twice in {chosen}")
        wanted = max(1, math.ceil(share * count - _CLOSE))
        if len(chosen) != wanted:
            raise Wrong(
                f"{share:g} of {count} cars are {wanted} (round up, and take one at least); {len(chosen)} were chosen"
            )
        if list(ask(canaries, list(fleet), share)) != chosen:
            raise Wrong("asked again, other cars were chosen; a ring that changes compares nothing")
    return "a ring, the same one each time"


def truth(lake: Lake) -> DataFrame:
    """What `check_by_device` expects, for who is curious."""
    return lake.sql(_TRUTH)
