"""What the registry knows of one version of a model."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

CHAMPION: Final = "champion"
"""The alias of the version that serves."""
CHALLENGER: Final = "challenger"
"""The alias of the version that is to replace it."""

# A name is also a folder of the blob container and a part of a configuration's id, which has no upper case.
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?")


def check_name(name: str) -> str:
    """The name, if it can be one. Raises `UsageError`."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name for a model here: lower-case letters, digits and inner hyphens, at most 48, such as "
            "'car-speed'."
        )
    return name


@dataclass(frozen=True, slots=True)
class Field:
    """One input or output of a model."""

    name: str
    unit: str


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes, in its order, and what it gives; all of them single-precision numbers."""

    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]

    def __repr__(self) -> str:
        return f"Signature({len(self.inputs)} inputs, {', '.join(each.name for each in self.outputs)})"


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a model comes from. An empty text or None: not told."""

    table: str = ""
    """the Delta table that it was trained on: a path or a URL"""
    table_version: int | None = None
    """the version of that table, to travel back to"""
    data_sha256: str = ""
    """the fingerprint of the rows that it learned from (`Dataset.sha256`)"""
    commit: str = ""
    """the git commit of the code; with `+changes` where files differed from it"""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a model, as the registry has it. Immutable but for its aliases and its fate."""

    name: str
    version: str
    sha256: str
    size: int
    """bytes of the ONNX file"""
    created: datetime
    """UTC"""
    run_id: str
    aliases: tuple[str, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict, repr=False)
    """mph, unless the name says otherwise"""
    params: Mapping[str, str] = field(default_factory=dict, repr=False)
    lineage: Lineage = field(default_factory=Lineage, repr=False)
    fate: str = ""
    """`promoted`, `rejected`, or nothing yet"""
    reason: str = field(default="", repr=False)
    """why so"""

    def __repr__(self) -> str:
        marks = "".join(f", {alias}" for alias in self.aliases)
        return f"Version({self.name} {self.version}{marks})"

    def _repr_html_(self) -> str:
        lines: list[tuple[str, Any]] = [
            ("version", f"{self.name} {self.version}"),
            ("aliases", ", ".join(self.aliases) or "none"),
            ("file", f"{self.size:,} bytes, SHA-256 {self.sha256[:12]}..."),
            *((name, f"{value:.4g}") for name, value in sorted(self.metrics.items())),
            ("table", self.lineage.table or "not told"),
            (
                "table version",
                "not told" if self.lineage.table_version is None else self.lineage.table_version,
            ),
            ("git commit", self.lineage.commit[:19] or "not told"),
        ]
        cells = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th><td style='text-align:left'>"
            f"{html.escape(str(value))}</td></tr>"
            for name, value in lines
        )
        return f"<table>{cells}</table>"
