"""How far a learner is: which exercises of the series are solved, kept in the state folder.

    lab.progress()                # a table, a line for each notebook
    lab.progress().certificate()  # at the end of the series

A check that says OK notes it: as the learner's own, or, where the folded solution was run, as that. A later solution
of one's own counts; a later run of the folded one takes nothing away. It stays through `lab.reset()`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final, Literal

from filelock import FileLock, Timeout

from iotedge_lab.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

FILE: Final = "progress.json"
By = Literal["you", "solution"]


@dataclass(frozen=True, slots=True)
class Notebook:
    """A notebook of the series."""

    name: str
    """its file, without `.ipynb`"""
    title: str
    promise: str
    minutes: int
    exercises: tuple[str, ...] = ()
    """`module.name` of each, in order: `check_<name>` of `iotedge_lab.show.exercises.<module>`"""

    @property
    def number(self) -> str:
        """Its two digits."""
        return self.name[:2]


def _named(module: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{module}.{name}" for name in names)


SERIES: Final = (
    Notebook(
        "00_start_here",
        "Start here",
        "the story, the checks, how it all works",
        10,
        _named("start_here", "greeting"),
    ),
    Notebook(
        "01_edge_simulator",
        "The edge simulator",
        "debug one module before shipping it: post to it, read what it sends, break it",
        25,
        _named("edge_simulator", "judge", "judge_safely"),
    ),
    Notebook(
        "02_iot_hub_setup",
        "IoT Hub setup",
        "register an edge device, deploy a module by manifest, cut the link and lose nothing",
        60,
        (
            *_named("iot_hub_setup", "next_interval", "answer", "send_order"),
            *_named("edge_deployment", "add_module", "route", "sail"),
        ),
    ),
    Notebook(
        "03_car_simulator",
        "The car simulator",
        "a drive becomes CAN frames, a module reads the bus, its rows come back live",
        60,
        _named("car_simulator", "gigabytes_per_day", "add_signal", "read_after", "set_rate", "fast_route"),
    ),
    Notebook(
        "04_camera_simulator",
        "The camera simulator",
        "a road is filmed, and video travels through a shared folder, not by message",
        45,
        _named("camera_simulator", "metered", "one_a_second", "mount"),
    ),
    Notebook(
        "05_automl_car_model",
        "AutoML on the car's data",
        "a model that looks perfect and is not, an honest one, and its prediction on the edge",
        60,
        _named("automl_car_model", "prepare", "my_feature", "small_model"),
    ),
    Notebook(
        "06_camera_filter",
        "The camera filter",
        "a detector on the edge sends what it has seen, and no picture",
        45,
        _named("camera_filter", "unprotected", "choose", "inside"),
    ),
    Notebook(
        "07_closing_the_loop",
        "Closing the loop",
        "store, train, register, roll out, notice drift, and again",
        60,
        _named("closing_the_loop", "by_device", "canaries", "alarm"),
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Progress:
    """What was solved, by exercise: `you` or `solution`."""

    solved: dict[str, By]

    @property
    def own(self) -> int:
        """How many exercises the learner has solved."""
        return sum(by == "you" for by in self.solved.values())

    @property
    def rows(self) -> list[tuple[str, str, int, int, int]]:
        """By notebook: number, title, how many exercises, how many solved by the learner, by the folded solution."""
        return [
            (
                each.number,
                each.title,
                len(each.exercises),
                sum(self.solved.get(name) == "you" for name in each.exercises),
                sum(self.solved.get(name) == "solution" for name in each.exercises),
            )
            for each in SERIES
        ]

    def __repr__(self) -> str:
        lines = [
            f"{number} {title:<28} {own} of {count} solved"
            + (f", {shown} by the folded solution" if shown else "")
            for number, title, count, own, shown in self.rows
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head = "".join(f"<th style='text-align:left'>{each}</th>" for each in ("Notebook", "Exercises", ""))
        body = ""
        for number, title, count, own, shown in self.rows:
            marks = "●" * own + "◐" * shown + "○" * (count - own - shown)
            said = f"{own} of {count}" + (f", {shown} by the folded solution" if shown else "")
            body += (
                f"<tr><td style='text-align:left'>{number} {escape(title)}</td>"
                f"<td style='text-align:left'><span aria-hidden='true'>{marks}</span></td>"
                f"<td style='text-align:left'>{said}</td></tr>"
            )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def certificate(self, name: str = "") -> Certificate:
        """What there is to show at the end of the series; `name` is the learner's, if they like."""
        return Certificate(name, self)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A page to be pleased with: who, which parts, how many exercises by oneself."""

    name: str
    progress: Progress

    @property
    def _facts(self) -> str:
        count = sum(len(each.exercises) for each in SERIES)
        done = sum(
            1 for _, _, exercises, own, shown in self.progress.rows if exercises and own + shown == exercises
        )
        parts = sum(1 for each in SERIES if each.exercises)
        return f"{self.progress.own} of {count} exercises solved, {done} of {parts} notebooks complete"

    def __repr__(self) -> str:
        who = self.name or "You"
        return f"IoT Edge Lab: {who}. {self._facts}."

    def _repr_html_(self) -> str:
        who = escape(self.name) or "You"
        colour = "var(--jp-brand-color1, #1a5ba6)"
        return (
            f"<div style='border:3px double {colour};border-radius:12px;padding:18px 26px;"
            "max-width:560px;text-align:center'>"
            "<div style='letter-spacing:.12em'>IoT EDGE LAB</div>"
            f"<div style='font-size:1.6em;margin:.4em 0'>{who}</div>"
            "<div>built an IoT Edge deployment, from the first device to the loop that closes:</div>"
            f"<div style='margin-top:.6em'><b>{self._facts}</b></div></div>"
        )


def read(state: Path) -> Progress:
    """What is noted in a state folder; nothing where nothing is, or where the file is damaged."""
    known = {name for each in SERIES for name in each.exercises}
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        found = json.loads((state / FILE).read_text(encoding="utf-8"))
        return Progress(
            {name: by for name, by in found["solved"].items() if name in known and by in ("you", "solution")}
        )
    return Progress({})


def note(state: Path, exercise: str, by: By) -> None:
    """Note that an exercise is solved. A folder that cannot be written is only said in the log.

    Raises `UsageError` for an exercise that the series does not have.
    """
    if not any(exercise in each.exercises for each in SERIES):
        raise UsageError(
            f"{exercise!r} is no exercise of the series; its notebook's line in SERIES names them."
        )
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(state / f"{FILE}.lock", timeout=5, mode=0o600):
            solved = read(state).solved
            if solved.get(exercise) in (by, "you"):
                return
            beside = state / f"{FILE}.{os.getpid()}"
            beside.write_text(json.dumps({"solved": solved | {exercise: by}}, indent=2), encoding="utf-8")
            beside.replace(state / FILE)
    except (OSError, Timeout) as error:
        log.warning("%s cannot be written (%s): this exercise is not noted", state / FILE, error)


def forget(state: Path) -> None:
    """Begin anew."""
    (state / FILE).unlink(missing_ok=True)
