"""Where a route takes messages from and where it sends them: sources and endpoints.

Stands for "Declare routes", source and sink (learn.microsoft.com, IoT Edge, module-composition). A source is the
beginning of a path: `/messages/modules/M` and `/messages/modules/M/*` both take what module M sends through some
output or none. Case does not count. The runtime accepts any path and then matches nothing; here a path that no
message can have is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

UPSTREAM: Final = "$upstream"

SOURCES: Final = (
    "/*",
    "/messages/*",
    "/messages/events",
    "/messages/modules/*",
    "/messages/modules/{module}/*",
    "/messages/modules/{module}/outputs/*",
    "/messages/modules/{module}/outputs/{output}",
    "/twinChangeNotifications",
)
"""The sources that there are. `/messages/events` are the leaf devices' own messages."""


@dataclass(frozen=True, slots=True)
class Source:
    """The source of a route. `prefix` is the path's beginning in lower case, with a slash at its end."""

    text: str
    prefix: str

    def takes(self, path: str) -> bool:
        """Whether a message of this source path (`RoutedMessage.source`) is taken."""
        return path.lower().startswith(self.prefix)

    @property
    def module(self) -> str | None:
        """The module that is named, as written; None for a source of several."""
        parts = self.text.strip("/").split("/")
        return parts[2] if len(parts) > 2 and parts[2] != "*" else None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Upstream:
    """The IoT Hub (or the parent edge) that this edge is connected to."""

    @property
    def id(self) -> str:
        """The endpoint's name in queues and metrics, as the runtime has it."""
        return "iothub"

    def __str__(self) -> str:
        return UPSTREAM


@dataclass(frozen=True, slots=True)
class ModuleInput:
    """An input of a module on this edge."""

    module: str
    input: str

    @property
    def id(self) -> str:
        """The endpoint's name in queues and metrics."""
        return f"{self.module}/{self.input}"

    def __str__(self) -> str:
        return f'BrokeredEndpoint("/modules/{self.module}/inputs/{self.input}")'


Endpoint = Upstream | ModuleInput


def source(segments: list[str]) -> Source:
    """The source with these path segments. Raises ValueError, whose text says what is wrong."""
    text = "/" + "/".join(segments)
    named = segments[:-1] if segments[-1] == "*" else segments
    if any("*" in segment for segment in named):
        raise ValueError(f"the source {text!r} has a '*' that is not its last part.")
    lowered = [segment.lower() for segment in named]
    known = (
        not named
        or (lowered == ["twinchangenotifications"])
        or (lowered[0] == "messages" and _messages(lowered[1:]))
    )
    if not known:
        raise ValueError(f"there is no source {text!r}.")
    return Source(text, "/" + "".join(f"{segment}/" for segment in lowered))


def _messages(rest: list[str]) -> bool:
    if not rest or rest == ["events"]:
        return True
    if rest[0] != "modules" or len(rest) > 4:
        return False
    return len(rest) < 3 or rest[2] == "outputs"


def module_input(address: str) -> ModuleInput:
    """The endpoint that a BrokeredEndpoint's address names. Raises ValueError, whose text says what is wrong."""
    parts = address.strip().removeprefix("/").removesuffix("/").split("/")
    if len(parts) != 4 or not all(parts) or parts[0].lower() != "modules" or parts[2].lower() != "inputs":
        raise ValueError(f'{address!r} names no input; write "/modules/{{module}}/inputs/{{input}}".')
    return ModuleInput(parts[1], parts[3])
