"""`iotedge-lab`: the lab from a terminal.

One module holds each group of commands; they import the library only when they run, so that `--help` and
shell completion answer at once.
"""

from __future__ import annotations

import click

from iotedge_lab import __version__
from iotedge_lab.cli import (
    capture,
    checkup,
    demo,
    devices,
    edge,
    fleet,
    groups,
    lifecycle,
    models,
    monitor,
    portal,
    simulator,
    solution,
    workbooks,
)
from iotedge_lab.cli.app import LabGroup

__all__ = ["main"]


@click.group(cls=LabGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="iotedge-lab", message="%(prog)s %(version)s")
def main() -> None:
    """A local Azure IoT Hub for the official SDKs, and workbooks that teach IoT Edge with it.

    \b
    Start a hub, let this shell's programs find it, watch what arrives:
      iotedge-lab up
      eval "$(iotedge-lab env)"
      iotedge-lab device create car1
      iotedge-lab device connection-string car1
      iotedge-lab monitor

    The commands device, fleet, monitor and reset work on a hub on Azure too: set IOTHUB_CONNECTION_STRING (and
    EVENTHUB_CONNECTION_STRING for monitor) to it. --state always means the local hub of that folder.

    Something does not work? 'iotedge-lab doctor' finds out what, and says how to mend it.

    Exit status: 0 done, 1 not done (standard error says why), 2 wrong command line, 130 Ctrl-C.
    """  # noqa: D301 - click wants the character itself


for _command in (
    lifecycle.up,
    lifecycle.down,
    lifecycle.status,
    lifecycle.env,
    lifecycle.reset,
    monitor.monitor,
    capture.capture,
    devices.device,
    edge.edge,
    simulator.simulator,
    solution.solution,
    groups.consumer_group,
    checkup.doctor,
    workbooks.lab,
    portal.portal,
    demo.demo,
    fleet.fleet,
    models.models,
):
    main.add_command(_command)
