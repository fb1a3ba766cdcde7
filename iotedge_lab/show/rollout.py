"""Pictures and tables of a rollout: the error over time with the versions marked, and which edge serves what.

rollout.error_over_time(service.errors.frame())
rollout.edges(service.edges())
rollout.versions(registry.versions("car-speed"))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.errors import DataError
from iotedge_lab.registry.version import CHAMPION
from iotedge_lab.show.picture import Picture, figure, picture
from iotedge_lab.show.tables import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas import DataFrame

    from iotedge_lab.registry.version import Version
    from iotedge_lab.rollout.release import EdgeState

POINTS: Final = 60
"""Over how many spans of time the error is averaged: a single row's error says little."""
BUNDLED: Final = "the bundled file"
"""The model that a module came with."""
_EDGES: Final = ("edge", "ring", "version", "status", "beside it", "refused because")
_COLUMNS: Final = ("time", "version", "error")


def error_over_time(frame: DataFrame, *, reference: float | None = None, title: str = "") -> Picture:
    """The mean error in mph over time, a line a version, with a mark where each begins to answer.

    frame: one row a prediction with `time`, `version` and `error` (mph), as `LiveErrors.frame` gives it; rows of the
    warm-up are left out where `warmup` tells them. reference: the error on drives held out, drawn as a grey line.
    Raises `DataError` where there is nothing to draw.
    """
    missing = [name for name in _COLUMNS if name not in frame.columns]
    if missing:
        raise DataError(f"the frame lacks the columns {missing}; take service.errors.frame()")
    rows = frame[~frame["warmup"].astype(bool)] if "warmup" in frame.columns else frame
    if rows.empty:
        raise DataError(
            "there is no prediction yet, so there is nothing to draw; wait until the edges have sent some"
        )
    rows = rows.sort_values("time", kind="stable")
    minutes = (rows["time"] - rows["time"].iloc[0]).dt.total_seconds() / 60.0
    span = max(float(minutes.iloc[-1]), 1e-9) / POINTS
    place = (minutes // span).clip(upper=POINTS - 1)
    versions = list(dict.fromkeys(rows["version"].astype(str)))
    with figure() as drawn:
        axes = drawn.subplots()
        for at, version in enumerate(versions):
            here = rows["version"].astype(str) == version
            mean = rows["error"][here].abs().groupby(place[here]).mean()
            begin = float(minutes[here].iloc[0])
            axes.plot((mean.index + 0.5) * span, mean.to_numpy(), marker=".", linewidth=1.4, color=f"C{at}")
            axes.axvline(begin, color=f"C{at}", linewidth=0.9, linestyle="--")
            axes.annotate(
                f"version {version}", (begin, 1.0), xycoords=("data", "axes fraction"), xytext=(3, -10 - 11 * (at % 3)),
                textcoords="offset points", color=f"C{at}", fontsize=8.5,
            )  # fmt: skip
        if reference is not None:
            axes.axhline(reference, color="0.5", linewidth=0.9)
            axes.annotate(
                "held out", (1.0, reference), xycoords=("axes fraction", "data"), color="0.35", fontsize=8.5
            )
        axes.set(xlabel="time (min)", ylabel="mean error (mph)", title=title, ylim=(0, None))
        axes.margins(x=0.01)
        return picture(drawn, _told(rows, versions, minutes, reference))


def _told(rows: DataFrame, versions: Sequence[str], minutes: Any, reference: float | None) -> str:
    """What the picture shows, in numbers."""
    parts = [
        f"Lines: the mean error of predictions over {float(minutes.iloc[-1]):.1f} minutes, {len(rows)} rows."
    ]
    for version in versions:
        error = rows["error"][rows["version"].astype(str) == version].abs().to_numpy()
        quarter = max(1, len(error) // 4)
        first, last = error[:quarter].mean(), error[-quarter:].mean()
        way = (
            f"from {first:.1f} to {last:.1f}"
            if abs(last - first) > 0.2 * max(first, last)
            else f"at {error.mean():.1f}"
        )
        parts.append(f"Version {version}: {way} mph.")
    if reference is not None:
        parts.append(f"A grey line at {reference:.1f} mph is the error on drives held out.")
    return " ".join(parts)


def edges(states: Sequence[EdgeState]) -> Table:
    """One line an edge: which version answers, how it is about another, the ring, and what it says of its health."""
    import pandas as pd

    head, lines = edge_lines(states)
    return Table(pd.DataFrame(lines, columns=list(head)), served(states), words=True)


def edge_lines(states: Sequence[EdgeState]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The head and the lines of `edges`; why one refuses has a column where one does."""
    lines = [
        (
            each.device,
            each.ring or "-",
            BUNDLED if each.model is None else each.model.version,
            each.status,
            "-" if each.challenger is None else each.challenger.version,
            each.pending.reason if each.pending is not None and each.pending.refused else "",
        )
        for each in states
    ]
    shown = len(_EDGES) - (not any(line[-1] for line in lines))
    return _EDGES[:shown], [line[:shown] for line in lines]


def served(states: Sequence[EdgeState]) -> str:
    """How many edges serve what was rolled out to them."""
    count = sum(each.wanted is not None and each.serves(each.wanted) for each in states)
    return f"{count} of {len(states)} edges serve what they are to serve."


def versions(known: Sequence[Version]) -> Table:
    """One line a version, as the registry has it: the version of the table that it learned from, its fate, and why."""
    import pandas as pd

    lines = [
        (
            each.version,
            "not told" if each.lineage.table_version is None else f"version {each.lineage.table_version}",
            each.fate or "none yet",
            each.reason or "-",
        )
        for each in known
    ]
    shown = pd.DataFrame(lines, columns=["model", "learned from the table's", "fate", "because"])
    serving = next((each.version for each in known if CHAMPION in each.aliases), None)
    note = "None of them serves." if serving is None else f"Version {serving} is the champion."
    return Table(shown, note, words=True)
