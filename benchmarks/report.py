"""The rows as Markdown and as JSON, and those with a target in the README, between two marks."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from benchmarks.servers import MOSQUITTO_SAID
from benchmarks.setting import Row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

BEGIN, END = "<!-- speed: `make bench` writes this -->", "<!-- end of speed -->"
_COLUMNS = "| what | hub | Mosquitto | unit | ratio | target | note |\n|---|--:|--:|---|--:|---|---|"
_APART = "apart: "  # and the title of a part that was measured in another run
_SAID = (
    "Both servers and the load that meets them share the machine, and take turns round by round; a ratio is the "
    "median of the ratios of the rounds, so it says more than the rates. The hub commits each message to its "
    "store (SQLite, WAL, synchronous=NORMAL: it survives the death of the process) before it acknowledges it."
)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def _line(row: Row) -> str:
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    met = "" if row.met is None else ("met" if row.met else "**missed**")
    target = ", ".join(part for part in (row.target, met) if part)
    cells = (row.what, _number(row.hub), _number(row.mosquitto), row.unit, ratio, target, row.note)
    return f"| {' | '.join(cells)} |"


def markdown(facts: Mapping[str, str], command: str, results: Sequence[tuple[str, Sequence[Row]]]) -> str:
    """The whole report."""
    lines = ["# How fast the hub is", "", f"Written by `{command}`.", ""]
    lines += [f"- {name}: {value}" for name, value in facts.items() if not name.startswith(_APART)]
    lines += ["", _SAID, "", f"Mosquitto: {MOSQUITTO_SAID}."]
    for title, rows in results:
        apart = facts.get(_APART + title)
        lines += ["", f"## {title}", "", *([f"Measured apart: {apart}.", ""] if apart else []), _COLUMNS]
        lines += [_line(row) for row in rows]
    return "\n".join(lines) + "\n"


def summary(facts: Mapping[str, str], command: str, results: Sequence[tuple[str, Sequence[Row]]]) -> str:
    """What the README says: the rows that have a target, and on what they were measured."""
    lines = [
        f"Measured by `{command}` on {facts['date'].partition(' ')[0]}, on {facts['machine']},",
        f"{facts['system']}, Python {facts['Python']}; beside it {facts['Mosquitto']}.",
        "The load ran on the same machine; a ratio is to Mosquitto, which took turns with the hub.",
        "[All that was measured](benchmarks/RESULTS.md)"
        + (", and what in a run of its own." if any(name.startswith(_APART) for name in facts) else "."),
        "",
        _COLUMNS,
    ]
    lines += [_line(row) for _, rows in results for row in rows if row.target]
    return "\n".join(lines)


def into(readme: str, text: str) -> str:
    """The README with `text` between its marks; ValueError if they are not there."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the README has no lines {BEGIN} and {END}, between which the figures belong")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def merged(
    before: tuple[dict[str, str], str, list[tuple[str, list[Row]]]],
    facts: Mapping[str, str],
    command: str,
    results: Sequence[tuple[str, list[Row]]],
    order: Sequence[str],
) -> tuple[dict[str, str], str, list[tuple[str, list[Row]]]]:
    """A whole run with some parts measured anew, each of which says when, under which load, and by which command.

    A part that the program has no more is left out.
    """
    told, whole, rows = before
    of = dict(rows) | dict(results)
    known = {name: value for name, value in told.items() if name.removeprefix(_APART) not in dict(results)}
    load = f"load {facts['load at the start']} before and {facts['load at the end']} after"
    apart = {_APART + title: f"{facts['date']}, {load}, by `{command}`" for title, _ in results}
    return known | apart, whole, [(title, of[title]) for title in order if title in of]


def read(folder: Path) -> tuple[dict[str, str], str, list[tuple[str, list[Row]]]]:
    """What `write` wrote to `results.json`: the facts, the command, and the rows by title."""
    told = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    results = [(title, [Row(**row) for row in rows]) for title, rows in told["results"].items()]
    return told["facts"], told["command"], results


def write(
    folder: Path,
    facts: Mapping[str, str],
    command: str,
    results: Sequence[tuple[str, Sequence[Row]]],
) -> None:
    """`RESULTS.md` and `results.json` in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "RESULTS.md").write_text(markdown(facts, command, results), encoding="utf-8")
    told = {
        "facts": dict(facts),
        "command": command,
        "results": {title: [asdict(row) for row in rows] for title, rows in results},
    }
    (folder / "results.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
