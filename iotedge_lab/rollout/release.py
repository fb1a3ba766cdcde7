"""What a module twin says of a model, and what an edge reports of itself: the contract with ModuleFilterCar.

Desired, `model` and `challenger` (never a URL, never a signature of one: it would end while an edge is offline, and
a twin is no place for a secret):

    {"name": "car-speed", "version": "3", "sha256": "<64 hex>", "size": 12345, "blob": "models/car-speed/3/model.onnx"}

Reported: `model` and `challenger` {"name", "version", "sha256", "status": "serving", "since"}, `pending` null or
{"version", "status": "asking"|"fetching"|"checking"|"refused", "reason"}, and `health`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

MODULE: Final = "ModuleFilterCar"
"""The module that runs models on live rows."""
RING: Final = "ring"
"""The tag of a module's twin that says in which ring it is."""
CANARY: Final = "canary"

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Release:
    """A version of a model, published: what the desired property of an edge names."""

    name: str
    version: str
    sha256: str
    size: int
    """bytes"""
    blob: str
    """container/path"""

    def to_dict(self) -> dict[str, Any]:
        """The desired property."""
        return {
            "name": self.name,
            "version": self.version,
            "sha256": self.sha256,
            "size": self.size,
            "blob": self.blob,
        }

    @classmethod
    def read(cls, told: Any) -> Release | None:
        """The release in a desired property; None where it is none (absent, or written by hand and wrong)."""
        if not isinstance(told, Mapping):
            return None
        name, version, sha256, blob = (told.get(key) for key in ("name", "version", "sha256", "blob"))
        size = told.get("size")
        if not all(isinstance(each, str) and each for each in (name, version, sha256, blob)):
            return None
        if not _SHA256.fullmatch(str(sha256)) or not isinstance(size, int) or isinstance(size, bool):
            return None
        return cls(str(name), str(version), str(sha256), size, str(blob))

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True, slots=True)
class Running:
    """A model that an edge says it runs."""

    version: str
    sha256: str
    since: str

    @classmethod
    def read(cls, told: Any) -> Running | None:
        """From a reported property; None where nothing of the kind is reported."""
        if (
            not isinstance(told, Mapping)
            or told.get("status", "serving") != "serving"
            or "version" not in told
        ):
            return None
        return cls(str(told["version"]), str(told.get("sha256", "")), str(told.get("since", "")))


@dataclass(frozen=True, slots=True)
class Pending:
    """What an edge is about with a model that it does not run yet."""

    version: str
    status: str
    """asking, fetching, checking, refused"""
    reason: str
    stamp: str = field(default="", compare=False)
    """when the hub took this report: tells a new refusal from an old one of the same version"""

    @property
    def refused(self) -> bool:
        """Whether the edge will not run it."""
        return self.status == "refused"


@dataclass(frozen=True, slots=True)
class EdgeState:
    """One edge's model, as its module twin says."""

    device: str
    module: str
    connected: bool
    ring: str = ""
    wanted: Release | None = None
    wanted_challenger: Release | None = None
    model: Running | None = None
    """None: the file that the module came with, or nothing reported yet"""
    challenger: Running | None = None
    pending: Pending | None = None
    health: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, twin: Mapping[str, Any]) -> EdgeState:
        """From a module twin as the REST API has it."""
        properties = twin.get("properties") or {}
        desired, reported = properties.get("desired") or {}, properties.get("reported") or {}
        pending = reported.get("pending")
        stamp = ((reported.get("$metadata") or {}).get("pending") or {}).get("$lastUpdated", "")
        health = reported.get("health")
        return cls(
            device=str(twin.get("deviceId", "")),
            module=str(twin.get("moduleId", "")),
            connected=twin.get("connectionState") == "Connected",
            ring=str((twin.get("tags") or {}).get(RING, "")),
            wanted=Release.read(desired.get("model")),
            wanted_challenger=Release.read(desired.get("challenger")),
            model=Running.read(reported.get("model")),
            challenger=Running.read(reported.get("challenger")),
            pending=Pending(
                str(pending.get("version", "")),
                str(pending.get("status", "")),
                str(pending.get("reason") or ""),
                str(stamp),
            )
            if isinstance(pending, Mapping)
            else None,
            health=dict(health) if isinstance(health, Mapping) else {},
        )

    def serves(self, release: Release) -> bool:
        """Whether this very file answers live rows there."""
        return self.model is not None and _same(self.model, release)

    def shadows(self, release: Release) -> bool:
        """Whether this very file runs beside the one that serves."""
        return self.challenger is not None and _same(self.challenger, release)

    def refuses(self, release: Release) -> bool:
        """Whether it reports that it will not run this version; perhaps since an earlier try (`stamp`)."""
        return self.pending is not None and self.pending.refused and self.pending.version == release.version

    @property
    def stamp(self) -> str:
        """When the hub took what it reports as pending; empty where it reports nothing."""
        return self.pending.stamp if self.pending is not None else ""

    @property
    def reason(self) -> str:
        """Why it refuses, or what else it says of what is pending."""
        return (self.pending.reason if self.pending is not None else "") or "no reason given"

    @property
    def status(self) -> str:
        """In a word: serving, asking, fetching, checking, refused; offline where it is not connected."""
        if (
            self.pending is not None
            and self.wanted is not None
            and self.pending.version == self.wanted.version
        ):
            word = self.pending.status
        elif self.wanted is None or self.serves(self.wanted):
            word = "serving"
        else:
            word = "waiting"
        return word if self.connected else f"offline ({word})"


def _same(running: Running, release: Release) -> bool:
    return running.sha256 == release.sha256 if running.sha256 else running.version == release.version
