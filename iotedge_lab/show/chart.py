"""Charts that move: a few lines, dots and bands over one axis, as one SVG image, made in a millisecond.

For what is redrawn while it happens (a search, predictions that arrive), where a plotting library takes too long.
It looks like the car's panel, brings its own dark ground, and equal data make equal text. A screen reader gets the
alt text. Colours have a contrast of more than 6:1 to the ground, and lines differ in dashes and dots in shape too.
"""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass, field
from math import ceil, floor, log10
from typing import TYPE_CHECKING, ClassVar, Final, Literal, TypeAlias

from iotedge_lab.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WIDTH: Final = 720
HEIGHT: Final = 250

BLUE, ORANGE, GREEN, ROSE = "#7cb1ff", "#ffb454", "#7ee0a5", "#ff9a90"
_GROUND, _TEXT, _DIM = "#1b2430", "#e8ebf0", "#aab4c2"
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, WIDTH - 16, 40, HEIGHT - 46

Point: TypeAlias = "tuple[float, float]"
Shape = Literal["circle", "square", "triangle"]


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis shows: words with a unit, and its two ends."""

    label: str
    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise UsageError(
                f"an axis goes from a lower to a higher number, not from {self.low} to {self.high}"
            )

    def ticks(self, most: int = 6) -> list[float]:
        """Round numbers between the ends, at most so many."""
        rough = (self.high - self.low) / most
        unit = 10.0 ** floor(log10(rough))
        step = next(unit * each for each in (1, 2, 5, 10) if unit * each >= rough * (1 - 1e-9))
        first, last = ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]

    def share(self, value: float) -> float:
        """Where a value lies between the ends, 0 to 1; what lies beyond is put at the end."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))


@dataclass(frozen=True, slots=True)
class Line:
    """Points joined by a line; with `name` it stands in the legend."""

    points: Sequence[Point]
    colour: str
    name: str = ""
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Dots:
    """A mark at each point."""

    points: Sequence[Point]
    colour: str
    name: str = ""
    shape: Shape = "circle"


@dataclass(frozen=True, slots=True)
class Band:
    """The area between two rows of points over the same places, each (x, low, high)."""

    points: Sequence[tuple[float, float, float]]
    colour: str
    name: str = ""


Mark: TypeAlias = "Line | Dots | Band"


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart at one moment; the value of a cell."""

    alt: str
    svg: str = field(repr=False)
    width: ClassVar[int] = WIDTH
    height: ClassVar[int] = HEIGHT

    def __repr__(self) -> str:
        return f"<Chart: {self.alt}>"

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.svg.encode()).decode("ascii")
        return (
            f'<img alt="{html.escape(self.alt)}" src="data:image/svg+xml;base64,{data}" '
            f'width="{WIDTH}" height="{HEIGHT}" style="max-width:100%;height:auto">'
        )


def chart(alt: str, x: Axis, y: Axis, marks: Iterable[Mark], title: str = "") -> Chart:
    """Draw the marks, the first lowest. `title`: a short finding above. Raises `UsageError` without alt text."""
    if not alt.strip():
        raise UsageError("a chart without alt text; say in a sentence what it shows")
    drawn = [each for each in marks if each.points]
    parts = [f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="{_GROUND}"/>', *_axes(x, y)]
    for mark in drawn:
        parts += _mark(mark, x, y)
    if title:
        parts.append(_label(_LEFT, 24, title, colour=_TEXT))
    parts += _legend([each for each in drawn if each.name])
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="system-ui,sans-serif" font-size="13" fill="{_TEXT}">{"".join(parts)}</svg>'
    )
    return Chart(alt, svg)


def _axes(x: Axis, y: Axis) -> list[str]:
    parts = []
    for value in y.ticks(5):
        at = _BOTTOM - (_BOTTOM - _TOP) * y.share(value)
        parts.append(f'<path d="M{_LEFT} {at:.1f}H{_RIGHT}" stroke="{_DIM}" stroke-opacity=".3"/>')
        parts.append(_label(_LEFT - 8, at + 4, f"{value:g}", anchor="end", size=11))
    for value in x.ticks():
        at = _LEFT + (_RIGHT - _LEFT) * x.share(value)
        parts.append(_label(at, _BOTTOM + 17, f"{value:g}", anchor="middle", size=11))
    parts.append(_label((_LEFT + _RIGHT) / 2, HEIGHT - 10, x.label, anchor="middle"))
    turned = f"translate(16 {(_TOP + _BOTTOM) / 2:.1f}) rotate(-90)"
    parts.append(
        f'<text transform="{turned}" text-anchor="middle" fill="{_DIM}">{html.escape(y.label)}</text>'
    )
    return parts


def _mark(mark: Mark, x: Axis, y: Axis) -> list[str]:
    def place(across: float, up: float) -> tuple[float, float]:
        return _LEFT + (_RIGHT - _LEFT) * x.share(across), _BOTTOM - (_BOTTOM - _TOP) * y.share(up)

    if isinstance(mark, Band):
        above = [place(across, high) for across, _, high in mark.points]
        below = [place(across, low) for across, low, _ in reversed(mark.points)]
        return [f'<polygon points="{_joined(above + below)}" fill="{mark.colour}" fill-opacity=".22"/>']
    if isinstance(mark, Line):
        dashes = ' stroke-dasharray="6 4"' if mark.dashed else ""
        points = _joined([place(*each) for each in mark.points])
        return [f'<polyline points="{points}" fill="none" stroke="{mark.colour}" stroke-width="2"{dashes}/>']
    return [_dot(*place(*each), mark.colour, mark.shape) for each in mark.points]


def _joined(points: Sequence[Point]) -> str:
    return " ".join(f"{across:.1f},{up:.1f}" for across, up in points)


def _dot(x: float, y: float, colour: str, shape: Shape) -> str:
    if shape == "square":
        return f'<rect x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7" fill="{colour}"/>'
    if shape == "triangle":
        corners = _joined([(x, y - 5.0), (x - 4.5, y + 3.5), (x + 4.5, y + 3.5)])
        return f'<polygon points="{corners}" fill="{colour}"/>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'


def _legend(named: Sequence[Mark]) -> list[str]:
    """At the top, from the right on: a sample and a name each."""
    parts, right = [], float(_RIGHT)
    for mark in reversed(named):
        right -= 7.0 * len(mark.name)
        parts.append(_label(right, 24, mark.name, size=12))
        right -= 24.0
        if isinstance(mark, Dots):
            parts.append(_dot(right + 9, 20, mark.colour, mark.shape))
        elif isinstance(mark, Line):
            dashes = ' stroke-dasharray="6 4"' if mark.dashed else ""
            parts.append(f'<path d="M{right:.1f} 20h18" stroke="{mark.colour}" stroke-width="2"{dashes}/>')
        else:
            parts.append(
                f'<rect x="{right:.1f}" y="14" width="18" height="11" fill="{mark.colour}" fill-opacity=".35"/>'
            )
        right -= 14.0
    return parts


def _label(
    x: float, y: float, text: str, *, size: int = 13, anchor: str = "start", colour: str = _DIM
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}">'
        f"{html.escape(text)}</text>"
    )
