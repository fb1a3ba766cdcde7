"""The doctor: what stands in the way on this machine, and how to mend it.

    for finding in examine(StateFolder(), os.environ):
        ...                       # finding.level, finding.said, finding.fix

It stands for what the portal's "Diagnose and solve problems" does for a hub on Azure, for the troubles that a
local hub has instead: ports, certificates, environment variables, wheels. It reads and never changes anything,
and prints nothing. The checks lie in one module each for Python, the state folder, the hub, the edge runtime, the
storage account and the variables.

Left out: the firewall (loopback passes it), and devices that are refused for their own reasons (the hub's log).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iotedge_lab.doctor import edge, folder, hub, python, storage, variables
from iotedge_lab.doctor.finding import Finding, Level
from iotedge_lab.doctor.situation import Situation
from iotedge_lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from iotedge_lab.hub.state import StateFolder

__all__ = ["Finding", "Level", "Situation", "diagnose", "examine"]

#: In the order in which one would mend: what comes later often follows from what comes first.
CHECKS: tuple[tuple[str, Callable[[Situation], Iterable[Finding]]], ...] = (
    *python.CHECKS,
    *folder.CHECKS,
    *hub.CHECKS,
    *edge.CHECKS,
    *storage.CHECKS,
    *variables.CHECKS,
)


def examine(state: StateFolder, environ: Mapping[str, str]) -> list[Finding]:
    """What is found on this machine for the hub of `state`, in a shell with the variables `environ`."""
    return diagnose(Situation.look(state, environ))


def diagnose(situation: Situation) -> list[Finding]:
    """What every check says to `situation`, in order. A check that fails is a finding itself, never an error."""
    findings: list[Finding] = []
    for name, check in CHECKS:
        try:
            findings.extend(check(situation))
        except (OSError, LabError) as error:
            findings.append(
                Finding(
                    name,
                    Level.FAIL,
                    f"this could not be examined: {error}",
                    "Mend that first (a folder's rights, mostly), then run the doctor again.",
                )
            )
    return findings
