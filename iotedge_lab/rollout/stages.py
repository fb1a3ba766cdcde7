"""One rollout: shadow, canary, fleet; at each stage on, or back.

    shadow   the canary ring runs the version beside the champion, on every live row, and answers with the champion
    canary   the ring answers with it, and runs the champion beside it
    fleet    everybody answers with it

It goes on when those edges that are connected run it and the rows speak for it; it goes back when one of them refuses
it, when the rows do not, or when nothing comes in time. Without a champion there is nothing to compare with, and the
shadow is left out. Offline edges hold nothing up: a configuration waits for them.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from iotedge_lab.errors import LabError
from iotedge_lab.rollout.compare import Comparison, Verdict
from iotedge_lab.rollout.plan import Outcome, Plan, Result, Stage, Step
from iotedge_lab.rollout.release import CANARY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from iotedge_lab.clock import Clock
    from iotedge_lab.rollout.cloud import Cloud
    from iotedge_lab.rollout.messages import Prediction
    from iotedge_lab.rollout.release import EdgeState, Release
    from iotedge_lab.rollout.targets import Targets

SOAK_BLOCKS: Final = 3
"""Blocks after which a canary may be found worse; no proof that it is better is asked for a second time."""
_SETTLE: Final = (
    10.0  # s that a withdrawal may take here; what is left then is taken out of the twins by hand
)


class _Back(Exception):
    """The version is not to go on, and why."""


class Rollout:
    """Brings one release to the edges. `run` does it, once; everything is injected.

    follow: gives predictions to a function while its context lasts. stop: once set, it goes back.
    """

    def __init__(
        self,
        cloud: Cloud,
        targets: Targets,
        release: Release,
        champion: Release | None,
        plan: Plan,
        *,
        follow: Callable[[Callable[[Prediction], object]], AbstractContextManager[object]],
        clock: Clock,
        poll: float,
        on_step: Callable[[Step], None] | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self._cloud = cloud
        self._targets = targets
        self._release = release
        self._champion = champion
        self._plan = plan
        self._follow = follow
        self._clock = clock
        self._poll = poll
        self._on_step = on_step
        self._stop = stop or threading.Event()
        self._steps: list[Step] = []
        self._stale: dict[str, str] = {}
        self._verdict: Verdict | None = None

    def run(self) -> Outcome:
        """All of it. Raises `RolloutProblem` where the hub fails; what was begun is then taken back, if it can be."""
        begun = self._clock.monotonic()
        edges: Sequence[EdgeState] = self._cloud.edges()
        self._stale = {each.device: each.pending.stamp for each in edges if each.pending is not None}
        self._tell("published", f"{self._release} lies in {self._release.blob}, {self._release.size:,} bytes")
        try:
            if self._champion is not None:
                self._targets.to_fleet(self._champion)
            if self._plan.canary is not None:
                self._targets.choose(edges, self._plan.canary, self._release)
            if self._champion is not None:
                self._shadow()
            self._canary()
            reason = self._fleet()
        except _Back as back:
            edges = self._back(str(back))
            return self._outcome("rolled back", str(back), edges, begun)
        except BaseException:
            # Whatever it was, Ctrl-C too: no edge is left with a version that nobody watches.
            with suppress(LabError):  # the hub is away, perhaps; the error at hand says so
                self._withdraw()
            raise
        edges = self._cloud.edges()
        return self._outcome("promoted", reason, edges, begun)

    # -- stages ----------------------------------------------------------------------------------------

    def _shadow(self) -> None:
        assert self._champion is not None
        release, rule = self._release, self._plan.rule
        comparison = Comparison(release.version, self._champion.version, rule)
        with self._follow(comparison.add):
            self._targets.to_canaries(None, release)
            ring = self._arrive("shadow", lambda edge: edge.shadows(release), ring=True)
            self._tell("shadow", f"{_names(ring)} run it beside {self._champion}")
            deadline = self._clock.monotonic() + self._plan.comparing
            while True:
                self._verdict = verdict = comparison.verdict()
                if verdict.finding != "too early":
                    break
                if self._clock.monotonic() > deadline:
                    raise _Back(f"no verdict within {self._plan.comparing:g} s ({verdict.reason})")
                self._wait_and_look(ring=True)
        self._tell("shadow", str(verdict))
        if verdict.finding != "better":
            raise _Back(f"not better than {self._champion}: {verdict.reason}")

    def _canary(self) -> None:
        release, champion = self._release, self._champion
        soak = replace(self._plan.rule, least_blocks=SOAK_BLOCKS, most_blocks=10**9)
        comparison = Comparison(release.version, champion.version if champion else None, soak)
        rows = _Rows(release.version)

        def take(prediction: Prediction) -> None:
            rows.add(prediction)
            comparison.add(prediction)

        with self._follow(take):
            self._targets.to_canaries(release, champion)
            ring = self._arrive("canary", lambda edge: edge.serves(release), ring=True)
            self._tell("canary", f"{_names(ring)} serve it")
            deadline = self._clock.monotonic() + self._plan.comparing
            while rows.count < self._plan.canary_rows:
                if self._clock.monotonic() > deadline:
                    raise _Back(
                        f"{rows.count} of {self._plan.canary_rows} predictions came from the canaries within "
                        f"{self._plan.comparing:g} s"
                    )
                self._wait_and_look(ring=True)
                self._check_soak(comparison)
            self._check_soak(comparison)
        error = f", {rows.error:.2f} mph off in the mean" if rows.count else ""
        self._tell("canary", f"{rows.count} predictions{error}")

    def _check_soak(self, comparison: Comparison) -> None:
        verdict = comparison.verdict()
        if verdict.finding == "worse":
            self._verdict = verdict
            raise _Back(f"worse than {self._champion} on the canaries: {verdict.reason}")

    def _fleet(self) -> str:
        release = self._release
        self._targets.to_fleet(release)
        self._targets.no_canaries()
        here = self._arrive("fleet", lambda edge: edge.serves(release), ring=False)
        self._tell("fleet", f"{_names(here)} serve it")
        return "" if self._verdict is None else self._verdict.reason

    # -- watching --------------------------------------------------------------------------------------

    def _arrive(self, stage: Stage, there: Callable[[EdgeState], bool], *, ring: bool) -> list[EdgeState]:
        """Wait until each edge that is connected runs it, and on a ring one at least; those."""
        deadline = self._clock.monotonic() + self._plan.arrival
        while True:
            edges = self._look(ring=ring)
            running = [each for each in edges if there(each)]
            missing = [each for each in edges if each.connected and not there(each)]
            if not missing and (running or not ring):
                return running
            if self._clock.monotonic() > deadline:
                if not running and not missing:
                    raise _Back(f"{_names(edges) or 'no edge'} of the canary ring: none is connected")
                told = ", ".join(f"{each.device} is {each.status}" for each in missing[:5])
                raise _Back(f"within {self._plan.arrival:g} s it did not run everywhere ({stage}): {told}")
            self._rest()

    def _wait_and_look(self, *, ring: bool) -> None:
        self._rest()
        self._look(ring=ring)

    def _look(self, *, ring: bool) -> list[EdgeState]:
        """The edges that are meant now. Raises `_Back` where one refuses, or the rollout is to stop."""
        if self._stop.is_set():
            raise _Back("it was stopped")
        edges = [each for each in self._cloud.edges() if not ring or each.ring == CANARY]
        for each in edges:
            if each.refuses(self._release) and self._stale.get(each.device) != each.stamp:
                raise _Back(f"{each.device} refuses it: {each.reason}")
        return edges

    def _rest(self) -> None:
        self._stop.wait(self._poll)

    # -- the end ---------------------------------------------------------------------------------------

    def _back(self, reason: str) -> Sequence[EdgeState]:
        self._tell("rolled back", reason)
        self._withdraw()
        deadline = self._clock.monotonic() + self._plan.arrival
        while True:
            edges = self._cloud.edges()
            still = [each for each in edges if each.connected and each.serves(self._release)]
            if not still or self._clock.monotonic() > deadline:
                instead = self._champion or "the file that the module came with"
                end = (
                    f"{_names(still)} still serve it"
                    if still
                    else f"every edge that is connected serves {instead}"
                )
                self._tell("rolled back", end)
                return edges
            # Not the stop event: it is set, perhaps, and a rollback waits all the same.
            threading.Event().wait(self._poll)

    def _withdraw(self) -> None:
        """No configuration gives it, and no twin has it."""
        if self._champion is not None:
            self._targets.to_fleet(self._champion)  # which takes the place of the release's own
        self._targets.withdraw(self._release)
        deadline = self._clock.monotonic() + _SETTLE
        while True:
            left = [
                each for each in self._cloud.edges() if self._release in (each.wanted, each.wanted_challenger)
            ]
            if not left:
                return
            if self._clock.monotonic() > deadline:
                self._targets.settle(left, self._release, self._champion)
                return
            threading.Event().wait(min(self._poll, 0.5))

    def _outcome(self, result: Result, reason: str, edges: Sequence[EdgeState], begun: float) -> Outcome:
        if result == "promoted":
            self._tell("promoted", reason or "there was no champion to compare with")
        waiting = tuple(
            each.device
            for each in edges
            if not each.connected and each.wanted is not None and not each.serves(each.wanted)
        )
        return Outcome(
            self._release,
            result,
            reason,
            tuple(edges),
            waiting,
            self._verdict,
            tuple(self._steps),
            self._clock.monotonic() - begun,
        )

    def _tell(self, stage: Stage, text: str) -> None:
        step = Step(self._clock.now(), stage, text)
        self._steps.append(step)
        if self._on_step is not None:
            self._on_step(step)


class _Rows:
    """Counts predictions of a version, and how far off they are."""

    def __init__(self, version: str) -> None:
        self._version = version
        self._judged = 0
        self._error = 0.0
        self.count = 0

    def add(self, prediction: Prediction) -> None:
        if prediction.version == self._version:
            self.count += 1
            if not prediction.warmup:
                self._judged += 1
                self._error += prediction.error

    @property
    def error(self) -> float:
        """Mean absolute error of the rows behind the warm-up, mph; 0 where there is none."""
        return self._error / self._judged if self._judged else 0.0


def _names(edges: Sequence[EdgeState]) -> str:
    names = [each.device for each in edges]
    return ", ".join(names) if len(names) <= 4 else f"{len(names)} edges"
