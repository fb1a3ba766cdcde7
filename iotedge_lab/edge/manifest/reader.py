"""Reading JSON with all its problems at once: a place in a document knows its path and notes what is wrong there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, Final, TypeVar

from iotedge_lab.edge.errors import INVALID_CONFIGURATION, INVALID_SCHEMA_VERSION, InvalidManifest, Problem

Json = dict[str, Any]
Choice = TypeVar("Choice", bound=StrEnum)

_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_MISSING: Final = object()


class Findings:
    """The problems and notes of one reading. A note is for the log: something that has no effect here."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.status = INVALID_CONFIGURATION

    def raise_if_any(self) -> None:
        """Raise InvalidManifest with all problems, if there are any."""
        if self.problems:
            # A place that is asked twice complains twice.
            raise InvalidManifest(dict.fromkeys(self.problems), self.status)


class Place:
    """A value in a document, with its path. Its methods note a problem and give None where it is not as asked."""

    __slots__ = ("findings", "path", "value")

    def __init__(self, findings: Findings, path: str, value: Any) -> None:
        self.findings = findings
        self.path = path
        self.value = value

    def __repr__(self) -> str:
        return f"Place({self.path})"

    @property
    def there(self) -> bool:
        """Whether there is a value; null counts as none, as it does in a twin."""
        return self.value is not _MISSING and self.value is not None

    def problem(self, message: str) -> None:
        """Note that something is wrong here."""
        self.findings.problems.append(Problem(self.path, message))

    def note(self, message: str) -> None:
        """Note something for the log."""
        self.findings.notes.append(f"{self.path}: {message}")

    def schema_problem(self, message: str) -> None:
        """Note a schema version that is not served: the agent reports it with a status of its own."""
        self.findings.status = INVALID_SCHEMA_VERSION
        self.problem(message)

    def child(self, key: str | int) -> Place:
        """The place of a member or an item, whether it is there or not."""
        if isinstance(key, int):
            items = self.value if isinstance(self.value, list) else []
            return Place(self.findings, f"{self.path}[{key}]", items[key] if key < len(items) else _MISSING)
        path = f"{self.path}.{key}" if _PLAIN.fullmatch(key) else f"{self.path}[{key!r}]"
        members = self.value if isinstance(self.value, Mapping) else {}
        return Place(self.findings, path, members.get(key, _MISSING))

    def object(self, *, required: bool = False) -> Mapping[str, Any] | None:
        """The value as an object."""
        if not self.there:
            if required:
                self.problem("is missing; it is an object.")
            return None
        if not isinstance(self.value, Mapping):
            self.problem(f"is {_kind(self.value)}, and an object belongs here.")
            return None
        return self.value

    def members(self) -> Iterator[tuple[str, Place]]:
        """Each member of an object; none where there is no object. What a twin adds itself is passed over."""
        for key in self.object() or {}:
            if key not in ("$version", "$metadata"):
                yield key, self.child(key)

    def text(self, *, required: bool = False) -> str | None:
        """The value as text."""
        if not self.there:
            if required:
                self.problem("is missing; it is a text.")
            return None
        if not isinstance(self.value, str):
            self.problem(f"is {_kind(self.value)}, and text belongs here.")
            return None
        if required and not self.value.strip():
            self.problem("is empty.")
            return None
        return self.value

    def scalar(self) -> str | None:
        """The value as an environment variable has it: text, or a number or truth value as JSON writes it."""
        value = self.value
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, (int, float)):
            return str(value)
        return self.text(required=False) if self.there else None

    def whole(self, least: int, most: int) -> int | None:
        """The value as a whole number between two."""
        if not self.there:
            return None
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.problem(f"is {_shown(value)}, and a whole number from {least} to {most} belongs here.")
            return None
        return value

    def choice(self, choices: type[Choice], default: Choice) -> Choice:
        """The value as one of several words; case and hyphens do not count, as documents write both."""
        if not self.there:
            return default
        if isinstance(self.value, str):
            plain = self.value.lower().replace("-", "")
            for one in choices:
                if plain == one.value.replace("-", ""):
                    return one
        words = ", ".join(repr(one.value) for one in choices)
        self.problem(f"is {_shown(self.value)}, and one of {words} belongs here.")
        return default

    def fixed(self, word: str, *, required: bool) -> None:
        """The value is one word and no other."""
        if (self.there or required) and self.value != word:
            shown = _shown(self.value) if self.there else "missing"
            self.problem(f"is {shown}; it has to be {word!r}.")

    def texts(self) -> tuple[str, ...] | None:
        """The value as a list of texts; one text alone stands for a list of one, as Docker reads it."""
        if not self.there:
            return None
        if isinstance(self.value, str):
            return (self.value,)
        if not isinstance(self.value, list) or not all(isinstance(item, str) for item in self.value):
            self.problem(f"is {_shown(self.value)}, and a list of texts belongs here.")
            return None
        return tuple(self.value)

    def warn_of_unknown(self, known: frozenset[str]) -> None:
        """Note members that nobody reads, with the name that was probably meant."""
        for key, place in self.members():
            if key not in known:
                near = get_close_matches(key, known, n=1)
                meant = f" Is {near[0]!r} meant?" if near else ""
                place.note(f"is not known and has no effect.{meant}")


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list) else "an object"


def _shown(value: Any) -> str:
    if isinstance(value, (str, int, float)):
        text = repr(value) if not isinstance(value, bool) else str(value).lower()
        return text if len(text) <= 60 else f"{text[:57]}..."
    return _kind(value)
