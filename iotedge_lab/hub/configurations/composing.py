"""What the configurations that target a twin make of it, and how to get there. No store, no protocol.

Rules of the documents (iot-hub-automatic-device-management; IoT Edge, module-deployment-monitoring):

- The higher priority wins; of two with the same, the one that was made later.
- Automatic configurations of one twin are merged, and at the same path the one that wins has its say. One of which a
  part counts is Applied.
- Of the base deployments of a device the winner alone is Applied. Layers with a higher priority than it are Applied on
  top, and what two set at the same path is the winner's. All others are Targeted.
- What a configuration has set is taken back when it no longer applies. What a deployment has set is not, unless
  another takes its place.

Where they are silent: a value is set at its path, in place of what a lower one has set there; properties that somebody
else has set below the same path stay, unless `properties.desired` is set as a whole.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from iotedge_lab.hub.configuration_content import TwinContent
    from iotedge_lab.hub.configurations.configuration import Configuration

Json = dict[str, Any]
APPLIED: Final = "Applied"
TARGETED: Final = "Targeted"


@dataclass(frozen=True, slots=True)
class Composed:
    """Desired properties that configurations set: as a whole, or as a patch."""

    desired: Json
    whole: bool

    def to_json(self) -> Json:
        """As it is kept."""
        return {"desired": self.desired, "whole": self.whole}

    @classmethod
    def from_json(cls, kept: Json | None) -> Composed | None:
        """What `to_json` gave; None for nothing."""
        return None if kept is None else cls(kept["desired"], kept["whole"])


@dataclass(frozen=True, slots=True)
class Deployment:
    """What the deployments of one edge device come to.

    `modules`: each module that is to be there, with what its twin is told (an empty patch for nothing); None where no
    base applies.
    """

    statuses: Mapping[str, str]
    modules: Mapping[str, Composed] | None


def ranked(configurations: Sequence[Configuration]) -> list[Configuration]:
    """From the one that gives way to all to the one that wins."""
    return sorted(configurations, key=lambda one: (one.priority, one.serial))


def configure(configurations: Sequence[Configuration]) -> tuple[dict[str, str], Composed | None]:
    """The statuses of automatic configurations that target a twin, and what they set."""
    order = ranked(configurations)
    contents = [one.content.twins[""] for one in order]
    over = _Over()
    statuses = {}
    for one, content in zip(reversed(order), reversed(contents), strict=True):
        statuses[one.id] = APPLIED if over.leaves_some_of(content) else TARGETED
        over.add(content)
    return statuses, compose(contents)


def deploy(configurations: Sequence[Configuration]) -> Deployment:
    """The deployments that target an edge device."""
    order = ranked(configurations)
    statuses = dict.fromkeys((one.id for one in order), TARGETED)
    bases = [one for one in order if not one.content.layered]
    if not bases:
        return Deployment(statuses, None)
    base = bases[-1]
    applied = [base, *(one for one in order if one.content.layered and one.priority > base.priority)]
    statuses |= dict.fromkeys((one.id for one in applied), APPLIED)
    modules = {}
    for name in dict.fromkeys(name for one in applied for name in one.content.twins):
        said = [one.content.twins[name] for one in applied if name in one.content.twins]
        modules[name] = compose(said) or Composed({}, whole=False)
    return Deployment(statuses, modules)


def compose(contents: Sequence[TwinContent]) -> Composed | None:
    """One after another, the winner last; None if none of them says anything."""
    desired: Json = {}
    whole = said = False
    for content in contents:
        for path, value in content.settings:
            said = True
            if path:
                _assign(desired, path, copy.deepcopy(value))
            else:
                desired, whole = copy.deepcopy(value), True
    return Composed(desired, whole) if said else None


def _assign(values: Json, path: Sequence[str], value: Any) -> None:
    for name in path[:-1]:
        inner = values.get(name)
        if not isinstance(inner, dict):
            inner = values[name] = {}
        values = inner
    values[path[-1]] = value


class _Over:
    """The paths at which those that win have their say."""

    def __init__(self) -> None:
        self._set: set[tuple[str, ...]] = set()
        self._above: set[tuple[str, ...]] = set()  # what they lead through

    def add(self, content: TwinContent) -> None:
        """Add a content."""
        for path, _ in content.settings:
            self._set.add(path)
            self._above.update(path[:length] for length in range(len(path)))

    def leaves_some_of(self, content: TwinContent) -> bool:
        """Whether a part of a content is left when they have had their say."""
        return any(
            not self._hides(leaf, value)
            for path, given in content.settings
            for leaf, value in _leaves(path, given)
        )

    def _hides(self, path: tuple[str, ...], value: Any) -> bool:
        if not isinstance(value, dict) and path in self._above:
            return True
        return any(path[:length] in self._set for length in range(len(path) + 1))


def _leaves(path: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All that a value holds which has nothing below it, with its path."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves((*path, name), inner)
    else:
        yield path, value


# -- how to get there ----------------------------------------------------------------------------------


def patch_to(current: Json, before: Composed | None, after: Composed | None) -> Json:
    """The patch that sets `after` (not as a whole) and takes back what `before` set beside it."""
    back = (
        {} if before is None else _taken_back(current, before.desired, {} if after is None else after.desired)
    )
    return _merged(back, {} if after is None else after.desired)


def _taken_back(current: Json, old: Json, new: Json) -> Json:
    """Nulls for what `old` set and `new` does not, and for objects that would be left empty."""
    patch: Json = {}
    for name, value in old.items():
        there = current.get(name)
        if name not in current or (name in new and not isinstance(new[name], dict)):
            continue
        if isinstance(value, dict) and isinstance(there, dict):
            wanted = new.get(name)
            inner = _taken_back(there, value, wanted if isinstance(wanted, dict) else {})
            emptied = all(key in inner and inner[key] is None for key in there)
            if name not in new and emptied:
                patch[name] = None
            elif inner:
                patch[name] = inner
        elif name not in new:
            patch[name] = None
    return patch


def _merged(first: Json, second: Json) -> Json:
    """Two patches in one; at the same place the second counts."""
    made = dict(first)
    for name, value in second.items():
        inner = made.get(name)
        made[name] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return made
