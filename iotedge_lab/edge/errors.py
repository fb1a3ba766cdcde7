"""What an edge runtime refuses of a deployment, each with the status that `lastDesiredStatus` shows for it.

    UsageError
    +-- RouteError        a route that cannot be read: text, column, what was expected
    +-- InvalidManifest   a deployment manifest with one or more problems, each named by its JSON path
    +-- UnknownImage      an image that no local module stands for
    +-- MountRefused      a mount that cannot be made here

And what stands between an edge device and its IoT Hub:

    EnvironmentProblem
    +-- UpstreamAway        the hub cannot be reached, or has no time, now: what failed may be tried again
    |   +-- UpstreamOffline the link was taken away on purpose
    +-- UpstreamUntrusted   something answers there, with a certificate that is not trusted
    ServiceError
    +-- UpstreamRefused     the hub said no, with a status that has no class of its own in `iotedge_lab.errors`

Stands for the codes of "EdgeAgent reported properties" (learn.microsoft.com, IoT Edge, module-edgeagent-edgehub):
400 invalid configuration, 412 invalid schema version, 417 empty desired properties.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from iotedge_lab.errors import EnvironmentProblem, ServiceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

INVALID_CONFIGURATION: Final = 400
INVALID_SCHEMA_VERSION: Final = 412
EMPTY_CONFIGURATION: Final = 417

_WINDOW: Final = 100  # characters of a route that an error shows


class RouteError(UsageError):
    """A route that cannot be used. `str()` shows the route with a caret under the place.

    `text` is the route, `position` the character it fails at (from 0), `column` the same from 1, `reason` one
    sentence, `expected` what could have stood there (empty where the fault is not one of grammar).
    """

    def __init__(self, text: str, position: int, reason: str, expected: Iterable[str] = ()) -> None:
        self.text = text
        self.position = max(0, min(position, len(text)))
        self.column = self.position + 1
        self.reason = reason
        self.expected = tuple(expected)
        super().__init__(f"{self.summary}\n{self._picture()}")

    @property
    def summary(self) -> str:
        """The error in one line, without the picture: for a log or a reported property."""
        wanted = f" Expected {_any_of(self.expected)}." if self.expected else ""
        return f"column {self.column}: {self.reason}{wanted}"

    def _picture(self) -> str:
        # A route is one line to the eye, whatever white space it holds: else the caret stands under nothing.
        line = "".join(c if c.isprintable() else " " for c in self.text)
        first = max(0, self.position - _WINDOW // 2)
        shown = line[first : first + _WINDOW]
        before = "..." if first else ""
        after = "..." if first + _WINDOW < len(line) else ""
        return f"  {before}{shown}{after}\n  {' ' * (len(before) + self.position - first)}^"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a manifest. `path` is where, as a JSON path from `$`."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class InvalidManifest(UsageError):
    """A deployment manifest that cannot be applied; all its problems at once, in the order of the document.

    `status` is what the agent reports as `lastDesiredStatus.code`.
    """

    def __init__(self, problems: Iterable[Problem], status: int = INVALID_CONFIGURATION) -> None:
        self.problems = tuple(problems)
        self.status = status
        count = len(self.problems)
        head = f"The deployment manifest has {count} problem{'s' if count != 1 else ''}; nothing was changed."
        super().__init__("\n".join([head, *(f"  {problem}" for problem in self.problems)]))


class UnknownImage(UsageError):
    """No local module stands for an image. `image` is the reference, `known` the names that there are."""

    def __init__(self, image: str, known: Iterable[str]) -> None:
        self.image = image
        self.known = tuple(known)
        names = ", ".join(self.known) if self.known else "none"
        super().__init__(
            f"No local module stands for the image {image!r}. Known modules: {names}. "
            "Name the module's folder as the image is named, or map the image to a folder."
        )


class MountRefused(UsageError):
    """A mount that has no place in this runtime. `mount` is the mount as text, `reason` one sentence."""

    def __init__(self, mount: str, reason: str) -> None:
        self.mount = mount
        self.reason = reason
        super().__init__(f"The mount {mount}: {reason}")


class UpstreamAway(EnvironmentProblem):
    """The hub cannot be reached, did not answer in time, or is too busy: nothing is wrong with what was asked.

    Whether a call that ended so was carried out is not known. `retry_after`: as many seconds the hub asked to be
    left alone, None where it said nothing.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UpstreamOffline(UpstreamAway):
    """The link to the hub was taken away on purpose (`Gate.close`)."""


class UpstreamUntrusted(EnvironmentProblem):
    """What answers at the hub's address has a certificate that this machine does not trust."""


class UpstreamRefused(ServiceError):
    """The hub's refusal of a status that has no class of its own. `http_status` and `error` are its answer."""

    def __init__(self, http_status: int, error: str, message: str) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.error = error


def _any_of(words: tuple[str, ...]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
