"""The series at a glance: each notebook with its promise, its minutes and its exercises."""

from __future__ import annotations

from html import escape

from iotedge_lab.progress import SERIES


class Outline:
    """A table with a link to each notebook."""

    def __repr__(self) -> str:
        return "\n".join(
            f"{each.number} {each.title:<26} {each.minutes:>3} min  {len(each.exercises)} exercises  {each.promise}"
            for each in SERIES
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td style='text-align:left'><a href='{each.name}.ipynb'>{each.number} {escape(each.title)}</a></td>"
            f"<td style='text-align:left'>{escape(each.promise)}</td><td>{each.minutes}</td>"
            f"<td>{len(each.exercises)}</td></tr>"
            for each in SERIES
        )
        total = f"<tr><td></td><td style='text-align:left'>in all</td><td>{minutes()}</td><td>{exercises()}</td></tr>"
        head = (
            "<th style='text-align:left'>Notebook</th><th style='text-align:left'>What you do</th>"
            "<th>Minutes</th><th>Exercises</th>"
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}{total}</tbody></table>"


def outline() -> Outline:
    """The series."""
    return Outline()


def minutes() -> int:
    """How long all of it takes."""
    return sum(each.minutes for each in SERIES)


def exercises() -> int:
    """How many exercises there are."""
    return sum(len(each.exercises) for each in SERIES)
