"""Models on the module's disk, and which of them serve: what a restart begins with.

    <sha256>.onnx        a model, complete and checked
    <sha256>.part        one that is being fetched; the rest is fetched after a restart, too
    state.json           by slot: the release, since when it serves, and how often it was loaded without proving itself

A model proves itself by a number of live rows. One that takes the module with it before that, again and again, is not
loaded a third time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from filter_car.release import Release

if TYPE_CHECKING:
    from pathlib import Path

STATE: Final = "state.json"
MODELS: Final = 4  # that are kept: those that serve, and the latest besides
MOST_LOADS: Final = 3
STALE: Final = 86_400.0  # s after which a part is no longer waited for

log = logging.getLogger("ModuleFilterCar")


@dataclass(frozen=True, slots=True)
class Entry:
    """A model that serves. `loads`: how often it was loaded since it last proved itself, this time included."""

    release: Release
    since: str
    loads: int = 1


class Shelf:
    """The folder; it may be shared by threads, not by processes. `problem` says why it cannot be written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._guard = threading.RLock()
        self.problem: str | None = None
        self._entries = self._read()

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self._folder

    def path(self, release: Release) -> Path:
        """Of a model's file, whether there is one or not."""
        return self._folder / f"{release.sha256}.onnx"

    def part(self, release: Release) -> Path:
        """Of a model that is being fetched. Raises OSError where the folder cannot be made."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._folder / f"{release.sha256}.part"

    def has(self, release: Release) -> bool:
        """Whether the very file is there; one that was changed since is not."""
        try:
            data = self.path(release).read_bytes()
        except OSError:
            return False
        return len(data) == release.size and hashlib.sha256(data).hexdigest() == release.sha256

    def adopt(self, release: Release) -> Path:
        """A part has been fetched whole and checked: it is a model now. Raises OSError."""
        part, path = self.part(release), self.path(release)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
        return path

    def discard(self, release: Release) -> None:
        """Take away a model that is no good, and what was fetched of it."""
        with contextlib.suppress(OSError):
            self.path(release).unlink(missing_ok=True)
            self.part(release).unlink(missing_ok=True)

    # -- which of them serve ---------------------------------------------------------------------------

    def entry(self, slot: str) -> Entry | None:
        """What serves in a slot, as it was written down."""
        with self._guard:
            return self._entries.get(slot)

    def load(self, slot: str) -> Entry | None:
        """What a slot begins with after a restart, counted as loaded once more; None where there is nothing."""
        with self._guard:
            entry = self._entries.get(slot)
            if entry is None:
                return None
            entry = replace(entry, loads=entry.loads + 1)
            self.put(slot, entry)
            return entry

    def put(self, slot: str, entry: Entry | None) -> None:
        """Write down what serves in a slot; None: nothing of this shelf."""
        with self._guard:
            entries = {**self._entries, slot: entry}
            self._entries = {name: each for name, each in entries.items() if each is not None}
            self._write()

    def prove(self, slot: str) -> None:
        """The model of a slot has served its rows."""
        with self._guard:
            entry = self._entries.get(slot)
            if entry is not None and entry.loads:
                self.put(slot, replace(entry, loads=0))

    def tidy(self) -> None:
        """Remove models that are neither serving nor among the latest, and parts that nobody has gone on with."""
        with self._guard, contextlib.suppress(OSError):
            serving = {each.release.sha256 for each in self._entries.values()}
            found = sorted(self._folder.glob("*.onnx"), key=lambda path: path.stat().st_mtime, reverse=True)
            for path in [each for each in found if each.stem not in serving][MODELS - len(serving) :]:
                path.unlink(missing_ok=True)
            for path in self._folder.glob("*.part"):
                if path.stat().st_mtime < time.time() - STALE:
                    path.unlink(missing_ok=True)

    def _read(self) -> dict[str, Entry]:
        try:
            told = json.loads((self._folder / STATE).read_text(encoding="utf-8"))
            return {str(slot): _entry(each) for slot, each in told.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            # The twin says what is wanted, and it is fetched again; a module that does not start helps nobody.
            log.warning("The state of the models cannot be read, beginning without: %s", error)
            return {}

    def _write(self) -> None:
        told = {
            slot: {"release": each.release.to_dict(), "since": each.since, "loads": each.loads}
            for slot, each in self._entries.items()
        }
        path = self._folder / STATE
        draft = path.with_suffix(".new")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with draft.open("w", encoding="utf-8") as file:
                json.dump(told, file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError as error:
            if self.problem is None:
                log.error("Models cannot be kept over a restart: %s", error)  # noqa: TRY400 - the text says it all
            self.problem = (
                f"{self._folder} cannot be written ({error.strerror}): models are lost at a restart"
            )
        else:
            self.problem = None


def _entry(told: Any) -> Entry:
    return Entry(Release.read(told["release"]), str(told["since"]), int(told["loads"]))
