"""`doctor`: the findings of `iotedge_lab.doctor`, printed."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import click

from iotedge_lab.cli.app import state_option

if TYPE_CHECKING:
    from pathlib import Path

_COLOURS = {"OK": "green", "WARN": "yellow", "FAIL": "red"}


@click.command(short_help="Find out what is wrong.")
@state_option
@click.option("--json", "as_json", is_flag=True, help="One JSON array, for programs.")
@click.pass_context
def doctor(ctx: click.Context, state_dir: Path | None, as_json: bool) -> None:
    """Examine this machine, the state folder, the hub and this shell's variables.

    Each line says OK, WARN or FAIL, what was examined and what was found; below it stands what to do. WARN:
    something does not work, and the rest does. FAIL: the lab does not work until this is mended. Nothing is
    changed.

    Exit status: 0, or 1 if there is any FAIL.
    """
    from iotedge_lab.doctor import Level, examine
    from iotedge_lab.hub.state import StateFolder

    findings = examine(StateFolder(state_dir), os.environ)
    failed = sum(each.level is Level.FAIL for each in findings)
    if as_json:
        click.echo(json.dumps([each.to_json() for each in findings], indent=2))
        ctx.exit(1 if failed else 0)
    width = max(len(each.name) for each in findings)
    for each in findings:
        word = each.level.value.ljust(4)
        shown = word if "NO_COLOR" in os.environ else click.style(word, fg=_COLOURS[each.level.value])
        click.echo(f"{shown}  {each.name.ljust(width)}  {each.said}")
        if each.fix:
            click.echo(f"{'':{4 + 2 + width + 2}}-> {each.fix}")
    warned = sum(each.level is Level.WARN for each in findings)
    click.echo(f"\n{len(findings)} checks: {failed} FAIL, {warned} WARN.")
    ctx.exit(1 if failed else 0)
