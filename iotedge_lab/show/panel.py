"""A car's panel: its speed, engine, gear and alerts at the last row, and the speed of the rows before, as one image.

The image is an SVG in an `<img>`: a screen reader gets its alt text, JupyterLab shows it in untrusted notebooks too,
and equal rows make equal text. It brings its own dark ground, so that it is readable on both of JupyterLab's themes.
"""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final

from iotedge_lab.car.powertrain import RPM_PER_MPH
from iotedge_lab.car.rows import COLUMNS, CarRow
from iotedge_lab.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WIDTH: Final = 720
HEIGHT: Final = 190
KEPT: Final = 60
"""Rows that the trace shows."""

NEAR: Final = 0.03
"""How far from a gear's ratio engine and road speed may lie."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 250, WIDTH - 14, 16, HEIGHT - 42
_GROUND, _TEXT, _DIM, _LINE, _ALERT = "#1b2430", "#e8ebf0", "#aab4c2", "#7cb1ff", "#ff9a90"
# Each of the four has a contrast of more than 7:1 to the ground.


@dataclass(frozen=True, slots=True)
class Shown:
    """A row, and the alerts that its message carried."""

    row: CarRow
    alerts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Panel:
    """The panel at one moment; the value of a cell."""

    alt: str
    svg: str = field(repr=False)
    width: ClassVar[int] = WIDTH
    height: ClassVar[int] = HEIGHT

    def __repr__(self) -> str:
        return f"<Panel: {self.alt}>"

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.svg.encode()).decode("ascii")
        return (
            f'<img alt="{html.escape(self.alt)}" src="data:image/svg+xml;base64,{data}" '
            f'width="{WIDTH}" height="{HEIGHT}" style="max-width:100%;height:auto">'
        )


def gear(row: CarRow) -> int | None:
    """The gear whose line the row lies on; None while the car stands, starts off or shifts."""
    if row.speed < 1.0:
        return None
    ratio = row.engine_rpm / row.speed
    near = min(RPM_PER_MPH, key=lambda each: abs(ratio / each - 1))
    return RPM_PER_MPH.index(near) + 1 if abs(ratio / near - 1) < NEAR else None


def panel(rows: Sequence[CarRow | Shown]) -> Panel:
    """The panel after these rows: the last one in numbers, and the speed of the last sixty as a line.

    Raises `DataError` if there are none.
    """
    if not rows:
        raise DataError("there are no rows yet, so the panel has nothing to show; wait for the first message")
    shown = [each if isinstance(each, Shown) else Shown(each) for each in rows[-KEPT:]]
    last = shown[-1].row
    speeds = [each.row.speed for each in shown]
    top = max(20.0, -(-max(speeds) // 10) * 10)
    found = gear(last)
    held = f"gear {found}" if found else "no gear held"
    words = [
        f"{last.speed:.0f} mph, {last.engine_rpm:.0f} revolutions a minute, {held}.",
        f"Line: over the last {len(shown)} rows the speed lay between {min(speeds):.0f} and {max(speeds):.0f} mph.",
    ]
    if shown[-1].alerts:
        words.insert(1, f"Alert: {', '.join(shown[-1].alerts)}.")
    ground = f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="{_GROUND}"/>'
    parts = [ground, *_numbers(shown[-1], found), *_axes(top, len(shown)), *_trace(speeds, top)]
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="system-ui,sans-serif" font-size="13" fill="{_TEXT}">{"".join(parts)}</svg>'
    )
    return Panel(f"Panel: {' '.join(words)}", svg)


def read(body: str, properties: Mapping[str, str] | None = None) -> Shown:
    """A message of ModuleSimulatorCar, in JSON or as a line of CSV. Raises `DataError` for another body."""
    carried = properties or {}
    alerts = tuple(name for name in ("braking", "speeding") if carried.get(name) == "true")
    if body.lstrip().startswith("{"):
        return Shown(CarRow.from_json(body), alerts)
    names = [each.name for each in COLUMNS]
    cells = body.split(",")
    if len(cells) < len(names):
        raise DataError(
            f"a message has {len(cells)} values and a row has {len(names)}: {body[:60]!r} is no row of a car; "
            "take the messages of ModuleSimulatorCar alone"
        )
    try:
        return Shown(CarRow(cells[0], *map(float, cells[1 : len(names)])), alerts)
    except ValueError as error:
        raise DataError(f"{body[:60]!r} is no row of a car: {error}") from error


def _numbers(last: Shown, found: int | None) -> list[str]:
    row = last.row
    speed = f'{row.speed:.0f}<tspan font-size="18" dx="8">mph</tspan>'
    parts = [
        f'<text x="16" y="66" font-size="56" font-weight="300">{speed}</text>',
        _label(16, 100, f"{row.engine_rpm:.0f} 1/min, {f'gear {found}' if found else 'no gear held'}"),
        _label(16, 122, f"throttle {row.throttle_position:.0f} %, {row.acceleration_gs:+.2f} g"),
        _label(16, 144, f"{row.distance:.2f} miles, {row.time[11:19]}"),
    ]
    if last.alerts:
        parts.append(_label(16, 172, f"⚠ {', '.join(last.alerts)}", colour=_ALERT, weight=600))
    return parts


def _axes(top: float, count: int) -> list[str]:
    parts = []
    for speed in (0.0, top / 2, top):
        y = _height(speed, top)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{_RIGHT}" stroke="{_DIM}" stroke-opacity=".35"/>')
        parts.append(_label(_LEFT - 8, y + 4, f"{speed:.0f}", anchor="end", size=11))
    middle = (_LEFT + _RIGHT) / 2
    parts.append(
        _label(middle, HEIGHT - 8, f"the last {count} rows, the newest on the right", anchor="middle")
    )
    turned = f"translate({_LEFT - 38} {(_TOP + _BOTTOM) / 2:.1f}) rotate(-90)"
    parts.append(f'<text transform="{turned}" text-anchor="middle" fill="{_DIM}">speed (mph)</text>')
    return parts


def _trace(speeds: Sequence[float], top: float) -> list[str]:
    step = (_RIGHT - _LEFT) / (KEPT - 1)
    begin = _RIGHT - step * (len(speeds) - 1)
    points = [(begin + step * at, _height(speed, top)) for at, speed in enumerate(speeds)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    x, y = points[-1]
    return [
        f'<polyline points="{line}" fill="none" stroke="{_LINE}" stroke-width="2"/>',
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{_LINE}"/>',
    ]


def _height(speed: float, top: float) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * speed / top


def _label(
    x: float,
    y: float,
    text: str,
    *,
    size: int = 13,
    anchor: str = "start",
    weight: int = 400,
    colour: str = _DIM,
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}" fill="{colour}">'
        f"{html.escape(text)}</text>"
    )
