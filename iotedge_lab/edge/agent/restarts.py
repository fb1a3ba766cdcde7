"""When a module that is not running is started again: restart policies and back-off, as plain rules.

Stands for the edge agent's RestartPolicyManager and HealthRestartPlanner (Azure/iotedge, edge-agent,
Microsoft.Azure.Devices.Edge.Agent.Core): waits of 10, 20, 40, 80, 160 and then 300 seconds; given up after 20
restarts; counted from 0 again once a module runs and its last exit is 10 minutes ago. Where that code and the
documented meaning of on-failure differ (the code starts a module again that ended well), the documentation holds.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from iotedge_lab.edge.manifest.model import RestartPolicy

COOL_OFF: Final = 10.0  # seconds before the first restart
MAX_COOL_OFF: Final = 300.0
MAX_RESTARTS: Final = 20
INTENSIVE_CARE: Final = 600.0  # seconds since the last exit after which a running module counts as healthy

#: Exit codes of a process that a signal ended, as a container reports them: 128 and the signal's number.
SIGNAL_BASE: Final = 128


class RuntimeStatus(StrEnum):
    """How a module is, in the words of the reported property `runtimeStatus`."""

    UNKNOWN = "unknown"  # the agent has not looked yet, or is shutting down
    RUNNING = "running"
    STOPPED = "stopped"  # it was to stop, or ended with exit code 0
    FAILED = "failed"  # it ended with another exit code, or was given up
    BACKOFF = "backoff"  # it ended and is going to be started again
    UNHEALTHY = "unhealthy"  # its health check fails; health checks are not run here, so it does not occur


def ended_as(exit_code: int | None, *, was_asked: bool = False) -> RuntimeStatus:
    """What a module is after it has ended, before its restart policy is looked at.

    `exit_code` None: it could not be started. `was_asked`: the agent stopped it, so no exit code is a failure.
    """
    return RuntimeStatus.STOPPED if was_asked or exit_code == 0 else RuntimeStatus.FAILED


def after_policy(status: RuntimeStatus, policy: RestartPolicy, restarts: int) -> RuntimeStatus:
    """What becomes of a module that is to run and is in `status`, having been restarted `restarts` times."""
    if status is RuntimeStatus.RUNNING or policy is RestartPolicy.NEVER:
        return status
    failed = status in (RuntimeStatus.FAILED, RuntimeStatus.UNHEALTHY)
    if policy is not RestartPolicy.ALWAYS and not failed:
        return status
    return RuntimeStatus.BACKOFF if restarts < MAX_RESTARTS else RuntimeStatus.FAILED


def cool_off(restarts: int) -> float:
    """Seconds between a module's end and its next start, after `restarts` restarts so far."""
    return float(min(COOL_OFF * 2 ** min(restarts, MAX_RESTARTS), MAX_COOL_OFF))


def is_healthy(since_last_exit: float | None) -> bool:
    """Whether a running module's restarts are forgotten. None: it has never ended."""
    return since_last_exit is not None and since_last_exit > INTENSIVE_CARE
