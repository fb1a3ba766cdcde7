"""Placeholders of a `deployment.template.json`: `${MODULES.Name.amd64}`, `${MODULEDIR<path>.amd64}`, `${NAME}`.

A module's placeholder stands for the image that building the module would make; nothing is built here, so it
becomes the module's name, which the image table knows. Any other name comes from a mapping that the caller gives
(the solution's `.env`, the environment). `$NAME` without braces is replaced where the mapping has it and left alone
where not: `$upstream` and `$edgeAgent` look just like it. Registry credentials are not read at all.

Stands for the templates of the IoT Edge Dev Tool (Azure/iotedgedev, docs/environment-setup, deployment templates).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from iotedge_lab.edge.manifest.reader import Place

_BRACED: Final = re.compile(r"\$\{([^${}]*)\}")
_BARE: Final = re.compile(r"\$([A-Z_][A-Z0-9_]*)(?![A-Za-z0-9_])")
_MODULE: Final = re.compile(r"MODULES\.([A-Za-z0-9_-]+)(?:\.[A-Za-z0-9_.-]*)?")
_MODULE_FOLDER: Final = re.compile(r"MODULEDIR<([^<>]+)>(?:\.[A-Za-z0-9_.-]*)?")

CREDENTIALS: Final = "registryCredentials"


def resolved(place: Place, values: Mapping[str, str]) -> Any:
    """A copy of the place's value with its placeholders replaced; those without a value are noted as problems."""
    value = place.value
    if isinstance(value, Mapping):
        if value.get(CREDENTIALS):
            place.child(CREDENTIALS).note("is not used and not kept here: no registry is asked.")
        return {
            key: resolved(place.child(key), values) for key in value if key != CREDENTIALS
        }  # without the credentials: they open registries, and no registry is asked
    if isinstance(value, list):
        return [resolved(place.child(number), values) for number in range(len(value))]
    if isinstance(value, str) and "$" in value:
        return _text(place, value, values)
    return value


def _text(place: Place, text: str, values: Mapping[str, str]) -> str:
    def braced(match: re.Match[str]) -> str:
        name = match[1].strip()
        if name in values:
            return values[name]
        module = _MODULE.fullmatch(name)
        if module:
            return module[1]
        folder = _MODULE_FOLDER.fullmatch(name)
        if folder:
            return re.split(r"[\\/]", folder[1].rstrip("\\/"))[-1]
        place.problem(
            f"the placeholder {match[0]} has no value; set {name or 'it'} in the solution's .env file or in the "
            "environment."
        )
        return match[0]

    made = _BRACED.sub(braced, text)
    return _BARE.sub(lambda match: values.get(match[1], match[0]), made)
