"""The content of a configuration: of exactly one kind, for devices, modules or edge devices.

    {"deviceContent":  {"properties.desired.chiller": {"temperature": 38}}}     device twins
    {"moduleContent":  {"properties.desired.chiller": {"temperature": 38}}}     module twins
    {"modulesContent": {"$edgeAgent": {...}, ...}}                              the modules of an edge device

A deployment whose `$edgeAgent` has a whole `properties.desired` is a base; one that has paths below it alone
(`properties.desired.modules.filter`) is a layer.

On Azure a mix of them is 400402 InvalidConfigurationContent, and so is modulesContent without `$edgeAgent` (seen of a
live hub in 2026). Names, sizes and depth are checked here as those of a twin are, so that what is accepted can be set.
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from iotedge_lab.broker.twin import new_section, patch_section
from iotedge_lab.errors import ArgumentInvalid, InvalidConfigurationContent
from iotedge_lab.hub.configuration_content import AGENT, ConfigurationContent, TwinContent

if TYPE_CHECKING:
    from collections.abc import Mapping

Json = dict[str, Any]


class Kind(enum.Enum):
    """What a configuration is for; the value is the name of its content."""

    DEVICE = "deviceContent"
    MODULE = "moduleContent"
    EDGE = "modulesContent"


@dataclass(frozen=True, slots=True)
class Content:
    """A content, read. `given` is it as it came; `twins` by module id, '' for what a device or module is told."""

    kind: Kind
    given: Json
    twins: Mapping[str, TwinContent] = field(compare=False)

    @classmethod
    def read(cls, body: object) -> Self:
        """From the body's `content`. Raises `InvalidConfigurationContent`."""
        if not isinstance(body, dict):
            raise InvalidConfigurationContent(
                "content is missing; it has deviceContent, moduleContent or modulesContent, with each update too."
            )
        kinds = [kind for kind in Kind if body.get(kind.value) not in (None, {})]
        if len(kinds) != 1:
            has = f"it has {' and '.join(kind.value for kind in kinds)}" if kinds else "it has none"
            raise InvalidConfigurationContent(
                f"content has exactly one of deviceContent, moduleContent and modulesContent, and {has}."
            )
        kind = kinds[0]
        given = {kind.value: body[kind.value]}
        if kind is Kind.EDGE:
            twins = dict(ConfigurationContent.read(given).modules)
        else:
            twins = {"": TwinContent.read(given[kind.value], kind.value)}
        for module, twin in twins.items():
            _check(twin, f"{kind.value}, {module}" if module else kind.value)
        return cls(kind, given, twins)

    @property
    def layered(self) -> bool:
        """Whether it is a deployment that lies on top of a base."""
        return self.kind is Kind.EDGE and not self.twins[AGENT].whole

    def same(self, other: Content) -> bool:
        """Whether both say the same, byte for byte as JSON with its names in order."""
        return _canonical(self.given) == _canonical(other.given)


_NOW: Final = "2000-01-01T00:00:00Z"  # of a twin that is thrown away


def _check(twin: TwinContent, where: str) -> None:
    """Whether a twin could take it."""
    if twin.desired is None:
        return
    try:
        patch_section(new_section(_NOW), twin.desired, _NOW)
    except ArgumentInvalid as error:
        raise InvalidConfigurationContent(f"{where}: {error.message}") from error


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
