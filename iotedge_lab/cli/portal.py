"""`portal`: the page onto the lab, in a browser."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import click

from iotedge_lab.cli.app import quiet_sdk_logs, state_option, target_lab

if TYPE_CHECKING:
    from pathlib import Path

    from iotedge_lab.lab import Lab


@click.command(short_help="Open the lab's page in a browser.")
@state_option
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Its loopback port. Default: any that is free."
)
@click.option("--no-browser", is_flag=True, help="Only print the link.")
def portal(*, state_dir: Path | None, port: int, no_browser: bool) -> None:
    """Show devices, twins, modules and live messages on a page, until Ctrl-C.

    The link carries a token, new each time: whoever has it may do what the hub's owner may. The page works on the
    local hub, and on the hub on Azure that IOTHUB_CONNECTION_STRING and EVENTHUB_CONNECTION_STRING name.
    """
    import asyncio

    quiet_sdk_logs()
    lab = target_lab(state_dir)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(lab, state_dir, port, show=not no_browser))


async def _serve(lab: Lab, state_dir: Path | None, port: int, *, show: bool) -> None:
    import asyncio
    import secrets
    import webbrowser

    from iotedge_lab.portal.server import Portal
    from iotedge_lab.serve.daemon import stop_events

    stop, _ = stop_events(asyncio.get_running_loop(), until_eof=False)
    again = lambda: target_lab(state_dir).activate()  # noqa: E731
    async with Portal(lab.activate(), again, secrets.token_urlsafe(24), port) as serving:
        click.echo(serving.link)
        click.echo("Ctrl-C ends it.", err=True)
        if show:
            await asyncio.to_thread(webbrowser.open, serving.link)
        await stop.wait()
