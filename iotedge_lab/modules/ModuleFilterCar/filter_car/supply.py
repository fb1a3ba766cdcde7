"""From a desired property to a model that serves: a thread for the champion's slot, and one for the challenger's.

    asking     a message says which model is wanted; it is sent again, with growing pauses, until it is answered
    fetching   an address has come by the method fetchModel
    checking   size, SHA-256, a trial in a process of its own, and the first rows
    refused    it will not serve, and why; what served before goes on

What is wanted may change at any moment: then whatever was under way is given up. A model that lies on the shelf is not
asked for.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from filter_car import fetching
from filter_car.model import Model, kept
from filter_car.shelf import MOST_LOADS, Entry
from filter_car.trial import sample
from iotedge_lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from filter_car.release import Release
    from filter_car.serving import Slot
    from filter_car.shelf import Shelf
    from filter_car.trial import Verdict

FIRST_PAUSE: Final = 5.0  # s from one asking to the next, at first
LONGEST_PAUSE: Final = 300.0
WARM_UP: Final = 20  # rows: a session's first runs are its slowest
PROOF: Final = 100  # live rows after which a model has proved itself
LOOK: Final = 5.0  # s between two looks whether it has

log = logging.getLogger("ModuleFilterCar")


@dataclass(frozen=True, slots=True)
class Pending:
    """What is reported of a model that does not serve. `turn` tells the later of two."""

    version: str
    status: str
    reason: str = ""
    turn: int = 0

    def told(self) -> dict[str, str]:
        """As it is reported."""
        return {"version": self.version, "status": self.status, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Tools:
    """What a supply works with. `swap` returns once the model serves; `rows`: how many it has served."""

    ask: Callable[[Release], None]
    swap: Callable[[Slot, Model | None], None]
    rows: Callable[[Slot], int]
    changed: Callable[[], None]
    attempt: Callable[[Path], Verdict]
    now: Callable[[], str]
    turn: Callable[[], int]


class Supply:
    """One slot. `want` and `offer` may be called on any thread."""

    def __init__(self, slot: Slot, own: Model | None, shelf: Shelf, tools: Tools) -> None:
        """own: what serves where nothing is wanted; None for a challenger."""
        self._slot, self._own, self._shelf, self._tools = slot, own, shelf, tools
        self._turn = threading.Condition()
        self._stopping = False
        self._told = False  # the twin has said what it wants
        self._wanted: Release | None = None
        self._done = True  # what is wanted serves, or was refused
        self._url: str | None = None
        self._crashed: dict[str, str] = {}  # SHA-256 to reason, of models that took the module with them
        self.pending: Pending | None = None
        self.model = self._begin()

    # -- any thread ------------------------------------------------------------------------------------

    def want(self, release: Release | None) -> None:
        """What the twin wants now; None: nothing but the module's own."""
        with self._turn:
            if self._told and release == self._wanted:
                return
            self._told, self._wanted, self._done, self._url = True, release, False, None
            self._turn.notify_all()

    def refuse(self, version: str, reason: str) -> None:
        """The twin wants what cannot be read; what serves goes on."""
        with self._turn:
            self._told, self._wanted, self._done, self._url = False, None, True, None
            self._turn.notify_all()
        self._say(version, "refused", reason)

    def offer(self, name: str, version: str, sha256: str, url: str) -> bool:
        """An address for a model; whether that one is wanted."""
        with self._turn:
            wanted = self._wanted
            if (
                self._done
                or wanted is None
                or (wanted.name, wanted.version, wanted.sha256) != (name, version, sha256)
            ):
                return False
            self._url = url
            self._turn.notify_all()
            return True

    def stop(self) -> None:
        """Give up what is under way."""
        with self._turn:
            self._stopping = True
            self._turn.notify_all()

    # -- its thread ------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until it is stopped."""
        while True:
            with self._turn:
                self._turn.wait_for(lambda: self._stopping or not self._done, LOOK)
                if self._stopping:
                    return
                idle, wanted = self._done, self._wanted
            if idle:
                self._prove()
            elif wanted is None:
                self._back()
            else:
                self._supply(wanted)

    def _begin(self) -> Model | None:
        """What served before the restart, or the module's own."""
        entry = self._shelf.load(self._slot)
        if entry is None:
            return self._own
        release = entry.release
        if entry.loads > MOST_LOADS:
            reason = f"the module ended {MOST_LOADS} times while it served"
            self._crashed[release.sha256] = reason
            log.error("The model %s is not loaded again: %s", release, reason)
        else:
            try:
                model = kept(self._shelf.path(release), release, entry.since)
            except LabError as error:
                log.error("The model %s cannot be loaded: %s", release, error)  # noqa: TRY400 - the text says it all
            else:
                log.info("The %s %s serves, as before the restart", self._slot, release)
                return model
        self._shelf.put(self._slot, None)
        self._shelf.discard(release)
        return self._own

    def _back(self) -> None:
        """Nothing is wanted: the module's own model, or no challenger."""
        if self.model is not self._own:
            self._tools.swap(self._slot, self._own)
            self.model = self._own
            self._shelf.put(self._slot, None)
            self._shelf.tidy()
            log.info("The %s is %s again", self._slot, "none" if self._own is None else "the module's own")
        if self._finish(None):
            self._quiet()

    def _supply(self, release: Release) -> None:
        serving = self.model
        if serving is not self._own and serving is not None and _same(serving, release):
            if self._finish(release):
                self._quiet()
        elif release.sha256 in self._crashed:
            self._refuse(release, self._crashed[release.sha256])
        else:
            try:
                if not self._shelf.has(release):
                    self._obtain(release)
                self._check(release)
            except fetching.Unwanted:
                return
            except fetching.Wrong as error:
                self._shelf.discard(release)
                self._refuse(release, str(error))

    def _obtain(self, release: Release) -> None:
        """Ask until there is an address, and fetch, until the file is there. Raises Unwanted, Wrong."""
        pause, reason = FIRST_PAUSE, ""
        while True:
            self._say(release.version, "asking", reason)
            self._tools.ask(release)
            log.info("Asked for the model %s", release)
            url = self._address(release, pause)
            pause = min(2.0 * pause, LONGEST_PAUSE)
            if url is None:
                continue
            self._say(release.version, "fetching")
            try:
                fetching.fetch(
                    release, url, self._shelf.part(release), self._pause, lambda: self._wants(release)
                )
                self._say(release.version, "checking")
                self._shelf.adopt(release)
                return
            except fetching.Unfetched as error:
                reason = str(error)
            except OSError as error:
                reason = f"{self._shelf.folder} cannot be written: {error.strerror or error}"
            log.warning("The model %s was not fetched, asking again: %s", release, reason)
            self._say(release.version, "asking", reason)
            # An address may have come meanwhile; else a moment, lest a storage that is down is asked without end.
            if not self._address_there():
                self._pause(min(pause, FIRST_PAUSE))

    def _check(self, release: Release) -> None:
        """Try it, load it, run it, and let it serve."""
        self._say(release.version, "checking")
        path = self._shelf.path(release)
        verdict = self._tools.attempt(path)
        if not self._wants(release):
            return
        if verdict.reason:
            raise fetching.Wrong(verdict.reason)
        model = self._loaded(path, release)
        # Written down before it serves: if it ends this process, the next one counts it.
        before = self._shelf.entry(self._slot)
        self._shelf.put(self._slot, Entry(release, model.since))
        if not self._wants(release):
            self._shelf.put(self._slot, before)
            return
        self._tools.swap(self._slot, model)
        self.model = model
        log.info("The %s %s serves; a row takes it %.3f ms", self._slot, release, verdict.milliseconds)
        if self._finish(release):
            self._quiet()
        self._shelf.tidy()

    def _loaded(self, path: Path, release: Release) -> Model:
        try:
            model = kept(path, release, self._tools.now())
            warm = model.predictor.for_another_car()
            for row in sample(WARM_UP):
                warm.predict(row)
        except Exception as error:  # the runtime's errors share no class
            raise fetching.Wrong(str(error)[:400]) from error
        return model

    def _refuse(self, release: Release, reason: str) -> None:
        log.error("The model %s is refused: %s", release, reason)
        if self._finish(release):
            self._say(release.version, "refused", reason)

    def _prove(self) -> None:
        entry = self._shelf.entry(self._slot)
        if entry is not None and entry.loads and self._tools.rows(self._slot) >= PROOF:
            self._shelf.prove(self._slot)

    # -- small things ----------------------------------------------------------------------------------

    def _wants(self, release: Release) -> bool:
        with self._turn:
            return not self._stopping and self._wanted == release

    def _finish(self, release: Release | None) -> bool:
        """What was wanted is done with, if it is still what is wanted."""
        with self._turn:
            if self._wanted != release:
                return False
            self._done = True
            self._url = None
            return True

    def _address(self, release: Release, seconds: float) -> str | None:
        """The address that came, at once or within so long. Raises Unwanted."""
        with self._turn:
            self._turn.wait_for(
                lambda: self._stopping or self._wanted != release or self._url is not None, seconds
            )
            if self._stopping or self._wanted != release:
                raise fetching.Unwanted
            url, self._url = self._url, None
            return url

    def _address_there(self) -> bool:
        with self._turn:
            return self._url is not None

    def _pause(self, seconds: float) -> None:
        with self._turn:
            wanted = self._wanted
            self._turn.wait_for(
                lambda: self._stopping or self._wanted != wanted or self._url is not None, seconds
            )

    def _say(self, version: str, status: str, reason: str = "") -> None:
        before = self.pending
        if before is None or (before.version, before.status, before.reason) != (version, status, reason):
            self.pending = Pending(version, status, reason, self._tools.turn())
        self._tools.changed()

    def _quiet(self) -> None:
        self.pending = None
        self._tools.changed()


def _same(model: Model, release: Release) -> bool:
    """Whether it is that very release: the same file under another version is loaded again, and tells its version."""
    return (model.name, model.version, model.sha256) == (release.name, release.version, release.sha256)


def latest(supplies: Any) -> Pending | None:
    """What is reported as pending: of several slots the one that changed last."""
    found = [each.pending for each in supplies if each.pending is not None]
    return max(found, key=lambda each: each.turn, default=None)
