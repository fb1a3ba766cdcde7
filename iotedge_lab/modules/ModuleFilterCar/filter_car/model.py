"""A model that has been loaded, and what is reported of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from iotedge_lab.car.predictor import Predictor
from iotedge_lab.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from filter_car.release import Release

NAME: Final = "car-speed"
BUNDLED: Final = "0"
"""The version of the file that the module comes with."""
LOCAL: Final = "local"
"""The version of a file that FILTER_MODEL names."""


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """One model; `since`: when it began to serve here, ISO 8601 in UTC."""

    name: str
    version: str
    sha256: str
    predictor: Predictor
    since: str

    def told(self) -> dict[str, str]:
        """What is reported of one that serves."""
        return {
            "name": self.name,
            "version": self.version,
            "sha256": self.sha256,
            "status": "serving",
            "since": self.since,
        }


def own(path: Path, version: str, since: str) -> Model:
    """The model that the module came with. Raises DataError, EnvironmentProblem."""
    data = _read(path)
    return Model(NAME, version, hashlib.sha256(data).hexdigest(), Predictor(data), since)


def kept(path: Path, release: Release, since: str) -> Model:
    """A model from the shelf; its file must be the one that the release names. Raises DataError, EnvironmentProblem."""
    data = _read(path)
    found = hashlib.sha256(data).hexdigest()
    if found != release.sha256:
        raise DataError(
            f"The file of {release} has another SHA-256 than when it was kept; it is fetched again."
        )
    return Model(release.name, release.version, found, Predictor(data), since)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"The model {path} cannot be read: {error.strerror}; check the path.") from error
