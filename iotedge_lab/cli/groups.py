"""`consumer-group`: who reads the built-in endpoint independently of whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from iotedge_lab.cli.app import local_lab, not_empty, state_option
from iotedge_lab.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


@click.group("consumer-group", short_help="Create, list, delete consumer groups.")
def consumer_group() -> None:
    """Make, list and delete consumer groups of the local hub's built-in endpoint.

    Each reader of its own kind (a monitor, a data lake, a dashboard) takes a group of its own. On Azure make
    them in the portal, or with: az iot hub consumer-group create.
    """


@consumer_group.command("create")
@state_option
@click.argument("name", callback=not_empty)
def create(state_dir: Path | None, name: str) -> None:
    """Make the consumer group NAME; if it is there, nothing changes."""
    local_lab(state_dir).create_consumer_group(name)
    click.echo(f"consumer group {name} is there")


@consumer_group.command("list")
@state_option
def list_(state_dir: Path | None) -> None:
    """List the consumer groups, $Default first."""
    for name in local_lab(state_dir).rest().call("GET", "/lab/consumer-groups"):
        click.echo(name)


@consumer_group.command("delete")
@state_option
@click.argument("name", callback=not_empty)
def delete(state_dir: Path | None, name: str) -> None:
    """Delete the consumer group NAME. $Default stays."""
    from iotedge_lab.rest import RestError, quote

    try:
        local_lab(state_dir).rest().call("DELETE", f"/lab/consumer-groups/{quote(name)}")
    except RestError as error:
        if error.http_status != 404:
            raise
        raise UsageError(
            f"there is no consumer group {name!r}; 'iotedge-lab consumer-group list' names those there are."
        ) from error
    click.echo(f"deleted consumer group {name}")
