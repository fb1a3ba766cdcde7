"""A module's settings as a table: each one by a desired property of its twin, or by an environment variable.

A desired property goes before the variable; null takes it back. What cannot be used is refused: the old value stays,
and the reported property `errors` says why.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from _typeshed import DataclassInstance

LONGEST_TEXT: Final = 1024

Values = TypeVar("Values", bound="DataclassInstance")
"""A frozen dataclass with a field for each setting."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. `read` gives its value, or raises ValueError with what belongs there."""

    name: str
    field: str
    variable: str
    read: Callable[[object], Any]


class Table(Generic[Values]):
    """All settings of a module. `made` is the dataclass that holds their values, and has their defaults."""

    def __init__(self, made: Callable[[], Values], settings: Sequence[Setting]) -> None:
        self._made = made
        self._settings = tuple(settings)
        self._names = [each.name for each in settings]

    def from_environment(self, environment: Mapping[str, str]) -> Values:
        """The settings by their variables. Raises ValueError that names the variable."""
        found = {}
        for each in self._settings:
            value = environment.get(each.variable)
            if value is None:
                continue
            try:
                found[each.field] = each.read(value)
            except ValueError as error:
                raise ValueError(f"{each.variable} is {value[:100]!r}; {error} belongs there.") from error
        return replace(self._made(), **found)

    def desired(
        self, base: Values, before: Values, desired: Mapping[str, Any]
    ) -> tuple[Values, dict[str, str]]:
        """The settings that the twin asks for, over `base`; and what is wrong, by name.

        What is wrong leaves the value of `before`, which is in force.
        """
        values: dict[str, Any] = {}
        errors: dict[str, str] = {}
        for name in desired:
            if name not in self._names and not name.startswith("$"):
                errors[name] = f"is no setting of this module, which has {', '.join(self._names)}"
        for each in self._settings:
            value = desired.get(each.name)
            if value is None:
                values[each.field] = getattr(base, each.field)
                continue
            try:
                values[each.field] = each.read(value)
            except ValueError as error:
                errors[each.name] = f"is {str(value)[:100]!r}; {error} belongs there"
                values[each.field] = getattr(before, each.field)
        return replace(before, **values), errors

    def differing(self, one: Values, other: Values) -> list[str]:
        """The names of the properties in which two settings differ."""
        return [
            each.name for each in self._settings if getattr(one, each.field) != getattr(other, each.field)
        ]

    def told(self, values: Values) -> dict[str, Any]:
        """The settings by the names of their properties, for the report; tuples become lists."""
        found = {each.name: getattr(values, each.field) for each in self._settings}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


def number(low: float, high: float, unit: str = "") -> Callable[[object], float]:
    """A number between two others; text is read, as a variable's value is text."""

    def read(value: object) -> float:
        found = math.nan
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            try:
                found = float(value)
            except (ValueError, OverflowError):
                found = math.nan
        if not low <= found <= high:
            raise ValueError(f"a number{unit} from {low:g} to {high:g}")
        return found

    return read


def whole(low: int, high: int) -> Callable[[object], int]:
    """A whole number between two others."""
    some = number(low, high)

    def read(value: object) -> int:
        try:
            found = some(value)
        except ValueError:
            found = 0.5
        if found != int(found):
            raise ValueError(f"a whole number from {low} to {high}")
        return int(found)

    return read


def text(longest: int = LONGEST_TEXT) -> Callable[[object], str]:
    """A line of text, not empty."""

    def read(value: object) -> str:
        if not isinstance(value, str) or len(value) > longest or not value.isprintable() or not value.strip():
            raise ValueError(f"a text of 1 to {longest} characters")
        return value.strip()

    return read


def one_of(words: Sequence[str]) -> Callable[[object], str]:
    """One of some words."""

    def read(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError(" or ".join(words))
        return value

    return read


def flag(value: object) -> bool:
    """True or false, as words too."""
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value.lower())
    if not isinstance(value, bool):
        raise ValueError("true or false")  # noqa: TRY004 - told as every other value that does not fit
    return value


def names(known: Sequence[str]) -> Callable[[object], tuple[str, ...]]:
    """Some of the known names, as a list, or with commas between them; at least one."""

    def read(value: object) -> tuple[str, ...]:
        parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
        if not isinstance(parts, list) or not parts or any(part not in known for part in parts):
            raise ValueError(f"a list with some of {', '.join(known)}")
        return tuple(dict.fromkeys(parts))

    return read


def structure(value: object) -> object:
    """What a variable's text says as JSON; a desired property is a structure already."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def merged(desired: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Desired properties after a patch: null takes a property back, and objects are merged member by member."""
    both = dict(desired)
    for name, value in patch.items():
        old = both.get(name)
        if isinstance(value, Mapping):
            both[name] = merged(old if isinstance(old, Mapping) else {}, value)
        else:
            both[name] = value
    return {name: value for name, value in both.items() if value is not None}
