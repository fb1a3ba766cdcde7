"""Which edges get which model: automatic configurations of their module twins, and the canary ring.

    models-modulefiltercar-fleet_car-speed_3-1f2e3d4c    all edges, priority 10              model
    models-modulefiltercar-canary_car-speed_4-aa00bb11   tags.ring = 'canary', priority 20   model and challenger

A configuration is never changed, as Azure allows no other content for one: each version has its own. So an edge that
is offline, or joins the fleet later, gets what holds for it when it comes. On Azure configurations are worked through
every five minutes or so; here at once.

When one is deleted, the hub sets what the next one says. What no other one says stays as it is on Azure, and is taken
away here: `Targets.settle` takes it away in any case.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.errors import UsageError
from iotedge_lab.rollout.release import CANARY, RING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iotedge_lab.rollout.cloud import Cloud
    from iotedge_lab.rollout.release import EdgeState, Release

FLEET_PRIORITY: Final = 10
CANARY_PRIORITY: Final = 20
_PREFIX: Final = "models"


class Targets:
    """The configurations of one model at a hub."""

    def __init__(self, cloud: Cloud, name: str) -> None:
        self._cloud = cloud
        self._name = name

    @property
    def everyone(self) -> str:
        """The target condition of all edges that have the module."""
        return f"FROM devices.modules WHERE moduleId = '{self._cloud.module}'"

    @property
    def canaries(self) -> str:
        """The target condition of the canary ring."""
        return f"{self.everyone} AND tags.{RING} = '{CANARY}'"

    def to_fleet(self, release: Release) -> None:
        """All edges are to serve it: from now on, and those that come later too."""
        name = self._id("fleet", release)
        content = {"properties.desired.model": release.to_dict()}
        self._cloud.configure(name, content, self.everyone, FLEET_PRIORITY, self._labels(release))
        # The older ones after the new one is there: at no moment does an edge have none.
        for each in self._cloud.configurations(self._id("fleet")):
            if each.id != name:
                self._cloud.forget(each.id)

    def to_canaries(self, model: Release | None, challenger: Release | None) -> None:
        """The canary ring is to serve `model` and to run `challenger` beside it; None: as the fleet does."""
        told = {"model": model, "challenger": challenger}
        content = {
            f"properties.desired.{key}": each.to_dict() for key, each in told.items() if each is not None
        }
        about = challenger if model is None else model
        if about is None:
            raise UsageError(
                "A canary ring without a model and a challenger is none: name at least one of them."
            )
        role = "canary" if model is not None else "shadow"
        name = self._id(role, about)
        if model is not None and challenger is not None:
            name += f"-beside-{challenger.version}"
        self._cloud.configure(name, content, self.canaries, CANARY_PRIORITY, self._labels(about))
        self._forget_rings(but=name)

    def no_canaries(self) -> None:
        """The canary ring gets what the fleet gets."""
        self._forget_rings(but="")

    def withdraw(self, release: Release) -> None:
        """No configuration gives this version any more."""
        self._cloud.forget(self._id("fleet", release))
        self.no_canaries()

    def settle(self, edges: Sequence[EdgeState], release: Release, instead: Release | None) -> list[str]:
        """Take what was withdrawn out of twins that still have it; the devices whose twins did."""
        changed = []
        for edge in edges:
            wanted: dict[str, Any] = {}
            if edge.wanted == release:
                wanted["model"] = None if instead is None else instead.to_dict()
            if edge.wanted_challenger is not None:
                wanted["challenger"] = None
            if wanted:
                self._cloud.desire(edge.device, wanted)
                changed.append(edge.device)
        return changed

    def choose(self, edges: Sequence[EdgeState], share: float, release: Release) -> list[str]:
        """Put a share of the fleet into the canary ring, and nobody else; their device ids.

        At least one, and never all of several. By lot, which the version's hash draws: a run that is begun again
        finds the same ones, and no edge has the risk each time. Edges that are connected go before others.
        Raises `UsageError` where there is no edge, or the share is none.
        """
        if not 0.0 < share <= 1.0:
            raise UsageError(f"The canary share lies above 0 and up to 1, not at {share}.")
        if not edges:
            raise UsageError(
                f"No edge of this hub has the module {self._cloud.module}: deploy it first, then roll out a model."
            )
        count = max(1, min(math.floor(share * len(edges) + 0.5), max(1, len(edges) - 1)))
        order = sorted(edges, key=lambda each: (not each.connected, _lot(release, each.device)))
        chosen = {each.device for each in order[:count]}
        for edge in edges:
            if edge.device in chosen and edge.ring != CANARY:
                self._cloud.tag(edge.device, **{RING: CANARY})
            elif edge.device not in chosen and edge.ring == CANARY:
                self._cloud.tag(edge.device, **{RING: None})
        return sorted(chosen)

    def _forget_rings(self, but: str) -> None:
        for role in ("canary", "shadow"):
            for each in self._cloud.configurations(self._id(role)):
                if each.id != but:
                    self._cloud.forget(each.id)

    def _id(self, role: str, release: Release | None = None) -> str:
        """Of a configuration: lower-case letters, digits, hyphens and underscores, which Azure takes.

        No model's name has an underscore, so that one is never taken for another whose name it begins with.
        """
        begin = f"{_PREFIX}-{self._cloud.module.lower()}-{role}_{self._name}_"
        return begin if release is None else f"{begin}{release.version}-{release.sha256[:8]}"

    def _labels(self, release: Release) -> dict[str, str]:
        return {"model": release.name, "version": release.version}


def _lot(release: Release, device: str) -> str:
    return hashlib.sha256(f"{release.sha256} {device}".encode()).hexdigest()
