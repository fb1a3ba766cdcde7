"""Tables of words and figures as live views show them: plain text, and HTML that looks alike in each of them.

Without pandas, for they are made anew twice a second. A table of data frames is `iotedge_lab.show.tables`.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GOOD: Final = "var(--jp-success-color1, #388e3c)"
BAD: Final = "var(--jp-error-color1, #d32f2f)"
MIDDLE: Final = "var(--jp-warn-color1, #f57c00)"

_CAPTION: Final = "caption-side:top;text-align:left;padding:0 0 2px;font-weight:600;white-space:nowrap"
_NOTE: Final = "margin:2px 0 6px;line-height:1.4"


@dataclass(frozen=True, slots=True)
class Grid:
    """Rows under a head; cells are texts and are escaped.

    figures: the heads of columns that hold figures, which stand at the right. marks: a colour for the first word of
    a cell in the column `marked`; a dot of it stands before the words, which say the same to those who see no colours.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    figures: frozenset[str] = frozenset()
    marked: str = ""
    marks: Mapping[str, str] | None = None

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
            "<div style='overflow-x:auto'><table style='margin:0 0 6px'>"
            f"{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        )

    def _cell(self, name: str, cell: str) -> str:
        colour = (self.marks or {}).get(cell.partition(" ")[0]) if name == self.marked else None
        dot = f"<span aria-hidden='true' style='color:{colour}'>●</span> " if colour else ""
        return f"<td style='{self._side(name)}'>{dot}{escape(cell)}</td>"

    def _side(self, name: str) -> str:
        side = "right;font-variant-numeric:tabular-nums" if name in self.figures else "left"
        return f"text-align:{side}"


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
