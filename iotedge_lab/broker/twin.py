"""Twins as values: merging patches, versions, metadata, limits. No storage, no protocol.

Stands for "Understand and use device twins in IoT Hub" (learn.microsoft.com, IoT Hub,
iot-hub-devguide-device-twins): its rules for names, sizes, depth, nulls and `$metadata`. Shared by the hub and
the edge runtime, which keeps copies of its modules' twins.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any, Final

from iotedge_lab.errors import ArgumentInvalid

TAGS_LIMIT: Final = 8 * 1024
SECTION_LIMIT: Final = 32 * 1024
DEPTH_LIMIT: Final = 10
KEY_LIMIT: Final = 1024
TEXT_LIMIT: Final = 4 * 1024
_LEAST, _MOST = -(2**52), 2**52 - 1  # "-4503599627370496 to 4503599627370495"
_FORBIDDEN = frozenset(". $") | frozenset(map(chr, range(0x20))) | frozenset(map(chr, range(0x7F, 0xA0)))
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Section:
    """Desired or reported properties. `metadata` mirrors `values`, with `$lastUpdated` at each level.

    Desired properties have `$lastUpdatedVersion` there too, once they were changed.
    """

    values: Json = field(default_factory=dict)
    metadata: Json = field(default_factory=dict)
    version: int = 1

    def shown(self, *, metadata: bool) -> Json:
        """As JSON goes out: the values with `$version`, and `$metadata` where asked for."""
        made = dict(self.values)
        if metadata:
            made["$metadata"] = self.metadata
        made["$version"] = self.version
        return made


def new_section(now: str) -> Section:
    """The empty section of a twin that was just made."""
    return Section({}, {"$lastUpdated": now}, 1)


def patch_section(
    section: Section,
    patch: Mapping[str, Any],
    now: str,
    limit: int = SECTION_LIMIT,
    *,
    versioned: bool = True,
) -> Section:
    """The section after a patch: objects are merged, null deletes. Raises `ArgumentInvalid`, nothing changed.

    `now` is an ISO time. `$version` and `$metadata` in a patch are ignored, as the service does. `versioned`:
    metadata tells the version of each change, as it does for desired properties alone.
    """
    clean = _without_own(patch)
    check(clean, "the patch")
    version = section.version + 1
    stamp: Json = {"$lastUpdated": now}
    if versioned:
        stamp["$lastUpdatedVersion"] = version
    values, metadata = _merge(section.values, section.metadata, clean, stamp)
    check_size(values, limit)
    check_depth(values)
    return Section(values, metadata, version)


def replace_section(
    section: Section, values: Mapping[str, Any], now: str, limit: int = SECTION_LIMIT
) -> Section:
    """The section replaced as a whole; nulls are left out. Raises as `patch_section` does."""
    fresh = replace(section, values={}, metadata={})
    return patch_section(fresh, values, now, limit)


def patch_tags(tags: Json, patch: Mapping[str, Any]) -> Json:
    """Tags after a patch. Raises `ArgumentInvalid`."""
    check(patch, "the tags")
    merged, _ = _merge(tags, {}, patch, {})
    check_size(merged, TAGS_LIMIT)
    check_depth(merged)
    return merged


def difference(before: Json, after: Json) -> Json:
    """The patch that leads from one to the other: what a device is told when its twin was replaced."""
    patch: Json = {}
    for key in before.keys() | after.keys():
        old, new = before.get(key), after.get(key)
        if key not in after:
            patch[key] = None
        elif isinstance(old, dict) and isinstance(new, dict):
            inner = difference(old, new)
            if inner:
                patch[key] = inner
        elif key not in before or old != new:
            patch[key] = new
    return patch


def without_metadata(patch: Mapping[str, Any]) -> Json:
    """A patch without the service's own `$version` and `$metadata`."""
    return _without_own(patch)


def changed_part(section: Section, patch: Mapping[str, Any]) -> Json:
    """What a patch has changed in `section`, with its metadata and version: the body of a change event."""
    clean = _without_own(patch)
    return {**clean, "$metadata": _part(section.metadata, clean), "$version": section.version}


def _part(metadata: Json, patch: Mapping[str, Any]) -> Json:
    part = {key: value for key, value in metadata.items() if key.startswith("$")}
    for key, value in patch.items():
        if key in metadata:
            part[key] = _part(metadata[key], value if isinstance(value, dict) else {})
    return part


def _without_own(patch: Mapping[str, Any]) -> Json:
    return {key: value for key, value in patch.items() if key not in ("$version", "$metadata")}


def _merge(values: Json, metadata: Json, patch: Mapping[str, Any], stamp: Json) -> tuple[Json, Json]:
    merged, meta = dict(values), dict(metadata) | stamp
    for key, new in patch.items():
        if new is None:
            merged.pop(key, None)
            meta.pop(key, None)
        elif isinstance(new, dict):
            old = merged.get(key)
            inner_meta = meta.get(key)
            merged[key], meta[key] = _merge(
                old if isinstance(old, dict) else {},
                inner_meta if isinstance(old, dict) and isinstance(inner_meta, dict) else {},
                new,
                stamp,
            )
        else:
            merged[key] = new
            meta[key] = dict(stamp)
    return merged, meta


# -- limits --------------------------------------------------------------------------------------------


def check(patch: Mapping[str, Any], what: str) -> None:
    """Names, values and depth of a patch; raises `ArgumentInvalid` naming the path."""
    if not isinstance(patch, Mapping):
        raise ArgumentInvalid(f"{what} is a JSON object, not {json.dumps(patch)[:40]}.")
    _check_level(patch, "", 1)


def _check_level(level: Mapping[str, Any], path: str, depth: int) -> None:
    if depth > DEPTH_LIMIT:
        raise ArgumentInvalid(f"{path!r} is more than {DEPTH_LIMIT} levels deep.")
    for key, value in level.items():
        where = f"{path}.{key}" if path else key
        if not key or not _FORBIDDEN.isdisjoint(key) or _bytes(key, where) > KEY_LIMIT:
            raise ArgumentInvalid(
                f"{where[:80]!r} is no name for a property: 1 to {KEY_LIMIT} bytes without '.', '$', blanks and "
                "control characters."
            )
        _check_value(value, where, depth)


def _check_value(value: Any, where: str, depth: int) -> None:
    if isinstance(value, dict):
        _check_level(value, where, depth + 1)
    elif isinstance(value, list):
        if depth + 1 > DEPTH_LIMIT:
            raise ArgumentInvalid(f"{where!r} is more than {DEPTH_LIMIT} levels deep.")
        for number, item in enumerate(value):
            _check_value(item, f"{where}[{number}]", depth + 1)
    elif isinstance(value, str):
        if _bytes(value, where) > TEXT_LIMIT:
            raise ArgumentInvalid(f"{where!r} holds a text of over {TEXT_LIMIT} bytes.")
    elif isinstance(value, int) and not isinstance(value, bool) and not _LEAST <= value <= _MOST:
        raise ArgumentInvalid(f"{where!r} is out of range: whole numbers go from {_LEAST} to {_MOST}.")
    elif isinstance(value, float) and not isfinite(value):
        raise ArgumentInvalid(f"{where!r} is {value}, which JSON does not know.")


def _bytes(text: str, where: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:  # JSON can write half a surrogate pair; UTF-8 cannot
        raise ArgumentInvalid(f"{where[:80]!a} holds half a surrogate pair, which is no text.") from None


def check_depth(values: Json) -> None:
    """A merge cannot be deeper than its parts, save by nesting: checked once more on the whole."""
    _check_level(values, "", 1)


def check_size(values: Json, limit: int) -> None:
    """Raises `ArgumentInvalid` (400004) when a section is over its limit."""
    size = size_of(values)
    if size > limit:
        raise ArgumentInvalid(f"it would come to {size} bytes, and {limit} is the most.")


def size_of(value: Any) -> int:
    """Bytes as IoT Hub counts them: names and texts in UTF-8, 8 for a number, 4 for a truth value."""
    if isinstance(value, dict):
        return sum(len(key.encode()) + size_of(inner) for key, inner in value.items())
    if isinstance(value, list):
        return sum(size_of(item) for item in value)
    if isinstance(value, bool):
        return 4
    if isinstance(value, int | float):
        return 8
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    return 0
