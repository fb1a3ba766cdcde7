"""The story on a terminal: steps as they happen, beside them the numbers that move; plain lines where it is none."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iotedge_lab.cli.story import Numbers, Step

ARROWS = ("", "receive", "store", "train", "register", "push", "send")


class Teller(Protocol):
    """Where a story is told."""

    def step(self, step: Step) -> None:
        """Something has happened."""
        ...

    def end(self, facts: list[tuple[str, str]]) -> None:
        """What came of it."""
        ...


class PlainTeller:
    """Lines, for a file, a pipe, or a terminal without rich."""

    def step(self, step: Step) -> None:
        """A line."""
        arrow = f"{step.arrow} {ARROWS[step.arrow]}" if step.arrow else "-"
        click.echo(f"{step.seconds:5.0f} s  {arrow:<10}  {step.text}")

    def end(self, facts: list[tuple[str, str]]) -> None:
        """A line each."""
        width = max((len(name) for name, _ in facts), default=0)
        click.echo()
        for name, value in facts:
            click.echo(f"{name:<{width}}  {value}")


class RichTeller:
    """Steps above, and a line of numbers below that is kept up to date."""

    def __init__(self, console: Any, status: Any, numbers: Numbers) -> None:
        self._console = console
        self._status = status
        self.numbers = numbers

    def step(self, step: Step) -> None:
        """A line above the numbers."""
        from rich.text import Text

        line = Text(f"{step.seconds:5.0f} s  ", style="dim")
        if step.arrow:
            line.append(f" {step.arrow} ", style="bold white on dark_orange3")
            line.append(f" {ARROWS[step.arrow]:<9} ", style="bold")
        else:
            line.append(" " * 14)
        line.append(step.text)
        self._console.print(line)
        self._status.update(self._line())

    def _line(self) -> str:
        now = self.numbers
        error = "-" if math.isnan(now.error) else f"{now.error:.1f} mph"
        return (
            f"{now.messages:,} messages at the hub, {now.rows:,} rows in the lake, "
            f"model {now.version or 'as it came'}, live error {error}"
        )

    def end(self, facts: list[tuple[str, str]]) -> None:
        """A table."""
        from rich.table import Table

        table = Table(show_header=False, box=None, padding=(0, 2))
        for name, value in facts:
            table.add_row(name, f"[bold]{value}[/bold]")
        self._status.stop()
        self._console.print()
        self._console.print(table)


@contextmanager
def teller(numbers: Numbers) -> Iterator[Teller]:
    """The one that fits where the output goes."""
    try:
        from rich.console import Console
    except ImportError:
        yield PlainTeller()
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        yield PlainTeller()
        return
    with console.status("") as status:
        yield RichTeller(console, status, numbers)
