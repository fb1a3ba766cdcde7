"""Tables of words and figures as live views show them: plain text, and HTML that looks alike in each of them.

Without pandas, for they are made anew twice a second. A table of data frames is `iotedge_lab.show.tables`.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Mark = tuple[str, str]
"""A sign and its colour. Signs differ in shape too; colours have a contrast of 3:1 on both of JupyterLab's themes."""

GOOD: Final[Mark] = ("●", "var(--jp-success-color1, #388e3c)")
MIDDLE: Final[Mark] = ("○", "inherit")
BAD: Final[Mark] = ("▲", "var(--jp-error-color1, #d32f2f)")

_CAPTION: Final = "caption-side:top;text-align:left;padding:0 0 2px;font-weight:600;white-space:nowrap"
_WIDE: Final = ";width:100%;table-layout:auto"  # JupyterLab's would give each column the same room
_CUT: Final = ";width:100%;max-width:0;overflow:hidden;text-overflow:ellipsis"
_NOTE: Final = "margin:2px 0 6px;line-height:1.4"


@dataclass(frozen=True, slots=True)
class Grid:
    """Rows under a head; cells are texts and are escaped.

    figures: the heads of columns that hold figures, which stand at the right. marks: a mark for the first word of a
    cell in the column `marked`; it stands before the words, which say the same. wide: the column that takes the room
    that is left, and is cut where there is none; no cell is broken into lines, so that rows stay where they are.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    figures: frozenset[str] = frozenset()
    marked: str = ""
    marks: Mapping[str, Mark] | None = None
    wide: str = ""

    def __repr__(self) -> str:
        every = [self.head, *self.rows]
        widths = [max(len(row[at]) for row in every) for at in range(len(self.head))]
        lines = [
            "  ".join(
                cell.rjust(width) if name in self.figures else cell.ljust(width)
                for cell, width, name in zip(row, widths, self.head, strict=True)
            ).rstrip()
            for row in every
        ]
        return "\n".join([self.caption, *lines] if self.caption else lines)

    def _repr_html_(self) -> str:
        caption = f"<caption style='{_CAPTION}'>{escape(self.caption)}</caption>" if self.caption else ""
        head = "".join(
            f"<th scope='col' style='{self._side(name)}'>{escape(name)}</th>" for name in self.head
        )
        body = "".join(
            f"<tr>{''.join(self._cell(name, cell) for name, cell in zip(self.head, row, strict=True))}</tr>"
            for row in self.rows
        )
        return (
            f"<div style='overflow-x:auto'><table style='margin:0 0 6px{_WIDE if self.wide else ''}'>"
            f"{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        )

    def _cell(self, name: str, cell: str) -> str:
        mark = (self.marks or {}).get(cell.partition(" ")[0]) if name == self.marked else None
        sign = f"<span aria-hidden='true' style='color:{mark[1]}'>{mark[0]}</span> " if mark else ""
        style = self._side(name) + (_CUT if name == self.wide else "")
        return f"<td style='{style}'>{sign}{escape(cell)}</td>"

    def _side(self, name: str) -> str:
        side = "right;font-variant-numeric:tabular-nums" if name in self.figures else "left"
        return f"text-align:{side};white-space:nowrap"


@dataclass(frozen=True, slots=True)
class Grids:
    """Tables below a line that says how it is in all."""

    note: str
    grids: tuple[Grid, ...]

    def __repr__(self) -> str:
        return "\n\n".join([self.note, *map(repr, self.grids)])

    def _repr_html_(self) -> str:
        tables = "".join(grid._repr_html_() for grid in self.grids)
        return f"<p style='{_NOTE}'>{escape(self.note)}</p>{tables}"
