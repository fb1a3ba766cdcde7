"""The cloud side of models on edges, in one object: it listens, answers, and rolls out.

    with Service(lab.service_connection_string, lab.events_connection_string, lab.storage_connection_string,
                 registry) as service:
        outcome = service.roll_out(registry.register("car-speed", path))

While it is open, edges that ask for a model get it, those too that come back after a day. It keeps nothing of its own:
what is wanted stands in the hub's configurations, what there is in the registry, so another process may go on.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Self

from iotedge_lab.clock import Clock, SystemClock
from iotedge_lab.errors import LabError, UsageError
from iotedge_lab.registry.version import CHALLENGER
from iotedge_lab.rollout.answering import Answered, Answering
from iotedge_lab.rollout.cloud import Cloud
from iotedge_lab.rollout.listener import Listener
from iotedge_lab.rollout.live import LiveErrors
from iotedge_lab.rollout.plan import Outcome, Plan, Step
from iotedge_lab.rollout.problems import RolloutProblem
from iotedge_lab.rollout.publisher import Publisher
from iotedge_lab.rollout.release import MODULE, EdgeState, Release
from iotedge_lab.rollout.stages import Rollout
from iotedge_lab.rollout.targets import Targets
from iotedge_lab.serve.addresses import is_loopback
from iotedge_lab.wire.connection_string import ConnectionString

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    from iotedge_lab.registry.registry import Registry
    from iotedge_lab.registry.version import Version
    from iotedge_lab.rollout.messages import Prediction

POLL_HERE: Final = 0.25  # s between two looks at the twins of a hub on this machine
POLL_AZURE: Final = 5.0  # of one on Azure, which takes 20 queries a minute
_ANSWERS: Final = 1_000


class Service:
    """Everything that a rollout needs, by connection strings. Use it as a context, or `start` and `close` it."""

    def __init__(
        self,
        hub: str,
        events: str,
        storage: str,
        registry: Registry,
        *,
        name: str = "car-speed",
        module: str = MODULE,
        consumer_group: str = "$Default",
        eventhub_name: str | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        clock: Clock | None = None,
        poll: float | None = None,
    ) -> None:
        """hub, events, storage: connection strings of the hub's policy, of its built-in endpoint, of the account.

        name: of the model in the registry; module: that runs it. ca_file: whom to trust for the storage account. poll:
        seconds between two looks at the twins.
        """
        self._clock = clock or SystemClock()
        self._registry = registry
        self._name = name
        self.cloud = Cloud(hub, module=module)
        self.publisher = Publisher(storage, ca_file=ca_file, clock=self._clock)
        self.targets = Targets(self.cloud, name)
        self.answers: deque[Answered] = deque(maxlen=_ANSWERS)
        self.errors = LiveErrors()
        self._answering = Answering(self.cloud, self.publisher, on_answer=self.answers.append)
        self._listener = Listener(
            events,
            on_prediction=self._heard,
            on_request=self._answering.ask,
            eventhub_name=eventhub_name,
            consumer_group=consumer_group,
        )
        host = (ConnectionString.parse(hub).host_name or "").partition(":")[0]
        self.poll = poll if poll is not None else POLL_HERE if is_loopback(host) else POLL_AZURE
        self._followers: list[Callable[[Prediction], object]] = []
        self._lock = threading.Lock()
        self._one_rollout = threading.Lock()

    def __repr__(self) -> str:
        return f"Service({self._name} on {self.cloud.module})"

    def start(self) -> Self:
        """Listen and answer from now on. Raises `HubNotRunning`."""
        self._listener.start()
        return self

    def close(self) -> None:
        """Listen and answer no more."""
        self._listener.close()
        self._answering.close()
        self.publisher.close()
        self.cloud.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def name(self) -> str:
        """The model that it rolls out."""
        return self._name

    @property
    def trouble(self) -> str:
        """Why nothing is heard from the edges; empty while all is well."""
        return self._listener.trouble

    @contextmanager
    def follow(self, take: Callable[[Prediction], object]) -> Iterator[None]:
        """Give each prediction to a function, on the listener's thread, while this lasts."""
        with self._lock:
            self._followers.append(take)
        try:
            yield
        finally:
            with self._lock:
                self._followers.remove(take)

    def _heard(self, prediction: Prediction) -> None:
        self.errors.add(prediction)
        with self._lock:
            followers = list(self._followers)
        for each in followers:
            each(prediction)

    # -- what is asked for -----------------------------------------------------------------------------

    def edges(self) -> list[EdgeState]:
        """Every edge with the module: which version it serves, and how it is about others."""
        return self.cloud.edges()

    def publish(self, version: Version) -> Release:
        """Put a version's file where edges fetch it."""
        return self.publisher.publish(version, self._registry.content(version))

    def roll_out(
        self,
        version: Version,
        plan: Plan | None = None,
        *,
        on_step: Callable[[Step], None] | None = None,
        stop: threading.Event | None = None,
    ) -> Outcome:
        """Bring a version to the fleet, if it is better there than the champion; else back.

        The registry says which the champion is; at the end it says how it went: the version is its champion, or
        rejected. on_step hears of each step, in this thread, which is held up until the end. Raises `UsageError`
        where a rollout runs already or there is no edge, `RolloutProblem` where hub or storage fail.
        """
        champion = self._champion_beside(version)
        with self._alone():
            release = self.publish(version)
            before = self.publish(champion) if champion is not None else None
            self._registry.mark(version, CHALLENGER)
            outcome = Rollout(
                self.cloud,
                self.targets,
                release,
                before,
                plan or Plan(),
                follow=self.follow,
                clock=self._clock,
                poll=self.poll,
                on_step=on_step,
                stop=stop,
            ).run()
            if outcome.promoted:
                self._registry.promote(version, outcome.reason)
            else:
                self._registry.reject(version, outcome.reason)
            return outcome

    def serve(self, version: Version, seconds: float = 60.0) -> list[EdgeState]:
        """Give a version to the whole fleet at once, compared with nothing; the edges, once those connected serve it.

        For the first version of all, and for going back by hand. The registry calls it the champion. Raises
        `RolloutProblem` where an edge refuses it or does not serve it in time; the fleet then gets the registry's
        champion again, if there is one.
        """
        champion = self._registry.champion(self._name)
        if champion is not None and champion.version == version.version:
            champion = None
        with self._alone():
            before = self.publish(champion) if champion is not None else None
            release = self.publish(version)
            stale = {each.device: each.pending.stamp for each in self.edges() if each.pending is not None}
            try:
                self.targets.to_fleet(release)
                self.targets.no_canaries()
                edges = self._served(release, stale, seconds)
            except BaseException:
                with suppress(LabError):  # the error at hand is the one to be told of
                    self._take_back(release, before)
                raise
            self._registry.promote(version, "given to the fleet by hand")
            return edges

    def _served(self, release: Release, stale: dict[str, str], seconds: float) -> list[EdgeState]:
        deadline = self._clock.monotonic() + seconds
        while True:
            edges = self.edges()
            missing = [each for each in edges if each.connected and not each.serves(release)]
            if not missing:
                return edges
            for each in missing:
                if each.refuses(release) and stale.get(each.device) != each.stamp:
                    raise RolloutProblem(
                        f"{each.device} refuses {release}: {each.reason} It serves what it served."
                    )
            if self._clock.monotonic() > deadline:
                told = ", ".join(f"{each.device} is {each.status}" for each in missing[:5])
                raise RolloutProblem(f"Within {seconds:g} s {release} was not served everywhere: {told}.")
            threading.Event().wait(self.poll)

    def _take_back(self, release: Release, instead: Release | None) -> None:
        if instead is not None:
            self.targets.to_fleet(instead)
        self.targets.withdraw(release)
        self.targets.settle(self.edges(), release, instead)

    def _champion_beside(self, version: Version) -> Version | None:
        if version.name != self._name:
            raise UsageError(f"This service rolls out {self._name!r}, and {version!r} is another model.")
        champion = self._registry.champion(self._name)
        if champion is not None and champion.version == version.version:
            raise UsageError(f"{version!r} is the champion already; `serve` gives it to the fleet again.")
        return champion

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._one_rollout.acquire(blocking=False):
            raise UsageError("A rollout runs already; wait for its end, or stop it.")
        try:
            yield
        finally:
            self._one_rollout.release()
