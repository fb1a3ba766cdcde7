"""The doctor's findings in a notebook: a line each, OK or what to do."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING

from iotedge_lab.doctor import Finding, Level, examine
from iotedge_lab.hub.state import StateFolder

if TYPE_CHECKING:
    from iotedge_lab.lab import Lab

_MARKS = {Level.OK: "✓", Level.WARN: "!", Level.FAIL: "✗"}
# At the edge, as a verdict has it: no one colour is readable as text on both of JupyterLab's themes.
_COLOURS = {
    Level.OK: "var(--jp-success-color1, #2e7d32)",
    Level.WARN: "var(--jp-warn-color1, #ef6c00)",
    Level.FAIL: "var(--jp-error-color1, #c62828)",
}


@dataclass(frozen=True, slots=True)
class Checks:
    """What was found. `in_the_way` is what must be mended before the workbooks run."""

    findings: tuple[Finding, ...]

    @property
    def in_the_way(self) -> list[str]:
        """What to do, for each finding that stops the lab; empty when all is well."""
        return [f"{each.name}: {each.fix}" for each in self.findings if each.level is Level.FAIL]

    def __repr__(self) -> str:
        lines = []
        for each in self.findings:
            lines.append(f"{each.level.value:<4} {each.name}: {each.said}")
            if each.fix:
                lines.append(f"     -> {each.fix}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = ""
        for each in self.findings:
            fix = f"<br><b>Do this:</b> {escape(each.fix)}" if each.fix else ""
            word = f"{_MARKS[each.level]} {each.level.value}"
            rows += (
                f"<tr><td style='text-align:left;white-space:nowrap;border-left:4px solid {_COLOURS[each.level]}'>"
                f"<b>{word}</b></td>"
                f"<td style='text-align:left'>{escape(each.name)}</td>"
                f"<td style='text-align:left'>{escape(each.said)}{fix}</td></tr>"
            )
        head = "".join(f"<th style='text-align:left'>{each}</th>" for each in ("", "checked", "found"))
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def checks(lab: Lab) -> Checks:
    """Examine this machine for the lab's hub, in this kernel's environment; nothing is changed.

    Where all is well the state folder is not spelled out: a notebook is often shown to others. A fix is left as it is.
    """
    found = examine(StateFolder(lab.state_dir), os.environ)
    here = str(lab.state_dir)
    return Checks(
        tuple(
            replace(each, said=each.said.replace(here, "the state folder"))
            if each.level is Level.OK
            else each
            for each in found
        )
    )
