"""When a module is started again: the agent's rules as tables, with no process and no time."""

import itertools

import pytest

from iotedge_lab.edge.agent import restarts
from iotedge_lab.edge.agent.restarts import RuntimeStatus, after_policy, cool_off, ended_as, is_healthy
from iotedge_lab.edge.manifest import RestartPolicy

STOPPED, FAILED, BACKOFF = RuntimeStatus.STOPPED, RuntimeStatus.FAILED, RuntimeStatus.BACKOFF
NEVER, ON_FAILURE, ON_UNHEALTHY, ALWAYS = (
    RestartPolicy.NEVER, RestartPolicy.ON_FAILURE, RestartPolicy.ON_UNHEALTHY, RestartPolicy.ALWAYS,
)  # fmt: skip

ENDS = [
    # exit code (None: not started), asked to stop, what it is then
    (0, False, STOPPED),
    (1, False, FAILED),
    (137, False, FAILED),  # killed, by the kernel for its memory, say: a failure
    (143, False, FAILED),
    (None, False, FAILED),
    (0, True, STOPPED),
    (1, True, STOPPED),
    (137, True, STOPPED),
]

POLICIES = [
    # policy, how it ended, restarts so far, what becomes of it
    (NEVER, STOPPED, 0, STOPPED),
    (NEVER, FAILED, 0, FAILED),
    (ON_FAILURE, STOPPED, 0, STOPPED),
    (ON_FAILURE, FAILED, 0, BACKOFF),
    (ON_FAILURE, FAILED, 19, BACKOFF),
    (ON_FAILURE, FAILED, 20, FAILED),
    (ON_UNHEALTHY, STOPPED, 0, STOPPED),
    (ON_UNHEALTHY, FAILED, 0, BACKOFF),
    (ON_UNHEALTHY, RuntimeStatus.UNHEALTHY, 0, BACKOFF),
    (ALWAYS, STOPPED, 0, BACKOFF),
    (ALWAYS, FAILED, 0, BACKOFF),
    (ALWAYS, STOPPED, 20, FAILED),
]


@pytest.mark.parametrize(("code", "asked", "status"), ENDS)
def test_ends(code, asked, status):
    """An exit code other than 0 is a failure, unless the agent stopped the module itself."""
    assert ended_as(code, was_asked=asked) is status


@pytest.mark.parametrize(("policy", "ended", "count", "status"), POLICIES)
def test_policies(policy, ended, count, status):
    """What becomes of a module that ended is that of the table."""
    assert after_policy(ended, policy, count) is status


def test_no_policy_touches_what_runs():
    """A running module stays running under each policy."""
    for policy, count in itertools.product(RestartPolicy, (0, 20, 100)):
        assert after_policy(RuntimeStatus.RUNNING, policy, count) is RuntimeStatus.RUNNING


def test_back_off():
    """The waits double from 10 seconds to 5 minutes, and stay there."""
    assert [cool_off(n) for n in range(7)] == [10, 20, 40, 80, 160, 300, 300]
    assert cool_off(10_000) == restarts.MAX_COOL_OFF


def test_health():
    """A module is healthy again once its last exit is more than ten minutes ago."""
    assert [is_healthy(since) for since in (None, 0.0, 600.0, 600.1)] == [False, False, False, True]
