"""Has the model grown old? The live error against what it was on drives that were held out.

The reference is measured where the model is tested: the errors of whole drives that it has not learned from, taken
together by blocks of 20 s as in `compare`: their mean, how far blocks scatter, and how far the means of drives scatter.
Live rows are taken together likewise; the mean over the last blocks is then compared with the reference:

    limit = mean + z * sqrt(blocks' variance / blocks + drives' variance * (1 / drives + 1 / drives held out))

Measured with generated drives (40 of each car, a reference of three drives, z 3.5, 15 blocks): 0.03 false alarms an
hour of driving, and the other car found each time, after 60 s of four cars or 300 s of one.

The second part matters: some roads are harder than others, and one hard drive is no drift. Above the limit, and by a
share that is worth a training, it is an alarm. What this cannot tell is why: a car that changed, another season, a
sensor that fails; and the reference is as good as the drives that were held out. A drift of one car in a large fleet
drowns in the mean: watch it with a detector of its own. And where edges send only what is far off (ModuleFilterCar's
`threshold`), the mean is of those rows: let them send each so manieth row (`everyNth`) and no threshold.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from iotedge_lab.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from numpy.typing import NDArray

    from iotedge_lab.rollout.messages import Prediction

BLOCK: Final = 20.0
"""Seconds of driving in a block."""
LEAST_SCATTER: Final = 0.25
"""How far the means of drives scatter at least, as a share of their mean."""
_LEAST_ROWS: Final = 5
_LATE: Final = 5.0  # s by which a row may be overtaken; one that lies further back begins its drive anew
_NAMES: Final = {
    "mean": "reference mean",
    "block_sd": "reference sd of blocks",
    "drive_sd": "reference sd of drives",
    "blocks": "reference blocks",
    "drives": "reference drives",
}


@dataclass(frozen=True, slots=True)
class Reference:
    """A model's error on drives that it has not seen; mph."""

    mean: float
    block_sd: float
    drive_sd: float
    blocks: int
    drives: int

    @classmethod
    def measure(
        cls,
        drives: NDArray[Any],
        seconds: NDArray[np.float64],
        error: NDArray[np.float64],
        block: float = BLOCK,
    ) -> Reference:
        """From rows of drives that were held out: each row's drive, its seconds, and how far off it was.

        A few drives tell little of how drives scatter: three of 40 showed half of what all showed. So a quarter of
        the mean is taken at least, which is what all showed. Raises `UsageError` for fewer than 3 blocks.
        """
        means: list[float] = []
        by_drive: list[float] = []
        for drive in np.unique(drives):
            here = drives == drive
            place = np.floor(seconds[here] / block).astype(np.int64)
            off = np.abs(error[here])
            whole = [off[place == each] for each in np.unique(place)]
            found = [float(each.mean()) for each in whole if len(each) >= _LEAST_ROWS]
            means += found
            if found:
                by_drive.append(math.fsum(found) / len(found))
        if len(means) < 3:
            raise UsageError(
                f"The rows held out make {len(means)} blocks of {block:g} s; a reference takes 3 at least. Record more."
            )
        mean = math.fsum(means) / len(means)
        drive_sd = max(float(np.std(by_drive, ddof=1)) if len(by_drive) > 1 else 0.0, LEAST_SCATTER * mean)
        return cls(mean, float(np.std(means, ddof=1)), drive_sd, len(means), len(by_drive))

    def to_metrics(self) -> dict[str, float]:
        """For the registry; `from_metrics` reads it."""
        return {name: float(getattr(self, key)) for key, name in _NAMES.items()}

    @classmethod
    def from_metrics(cls, metrics: Mapping[str, float]) -> Reference | None:
        """What the registry has of a version; None where it was registered without."""
        if not all(name in metrics for name in _NAMES.values()):
            return None
        values = {key: metrics[name] for key, name in _NAMES.items()}
        return cls(
            values["mean"],
            values["block_sd"],
            values["drive_sd"],
            int(values["blocks"]),
            int(values["drives"]),
        )


@dataclass(frozen=True, slots=True)
class Watch:
    """How closely to look."""

    window: int = 15
    """blocks over which the live error is taken; 15 are five minutes of one car, or one of five"""
    sigmas: float = 3.5
    rise: float = 0.15
    """the share by which the error must have risen at least"""
    block_seconds: float = BLOCK
    least_rows: int = _LEAST_ROWS
    """in a block, else it does not count"""

    def __post_init__(self) -> None:
        if self.window < 3 or self.least_rows < 1:
            raise UsageError("A window has at least 3 blocks, and a block at least one row.")
        if self.sigmas <= 0.0 or self.rise < 0.0 or self.block_seconds <= 0.0:
            raise UsageError("`sigmas` and `block_seconds` lie above 0, `rise` is 0 or more.")


@dataclass(frozen=True, slots=True)
class Drift:
    """An alarm."""

    version: str
    error: float
    """mph, the mean over the window"""
    reference: float
    """mph, what it was on drives held out"""
    limit: float
    since: datetime
    """when the first row of the window reached the hub"""
    noticed: datetime
    """when the last one did"""
    blocks: int

    def __str__(self) -> str:
        return (
            f"version {self.version} is {self.error:.2f} mph off over {self.blocks} blocks, where {self.reference:.2f} "
            f"is its own and {self.limit:.2f} the limit"
        )


@dataclass(slots=True)
class _Open:
    """The block that a car is in."""

    number: int
    begun: datetime
    last: datetime
    latest: float
    """seconds of its latest row"""
    rows: int = 0
    error: float = 0.0


@dataclass(frozen=True, slots=True)
class _Closed:
    drive: tuple[str, str]
    begun: datetime
    last: datetime
    error: float


class Detector:
    """Watches the live error of one version; `add` may be called from any thread."""

    def __init__(self, version: str, reference: Reference, watch: Watch | None = None) -> None:
        self.version = version
        self.reference = reference
        self.watch = watch or Watch()
        self._open: dict[tuple[str, str], _Open] = {}
        self._closed: deque[_Closed] = deque(maxlen=self.watch.window)
        self._lock = threading.Lock()

    def add(self, prediction: Prediction) -> None:
        """Take a row, unless it is of another version, of the warm-up, or late for a block that is past."""
        if prediction.version != self.version or prediction.warmup or not math.isfinite(prediction.error):
            return
        key = (prediction.sender.device, prediction.drive)
        number = math.floor(prediction.seconds / self.watch.block_seconds)
        with self._lock:
            block = self._open.get(key)
            if block is not None and number < block.number and block.latest - prediction.seconds <= _LATE:
                return
            if block is None or number != block.number:
                if block is not None:
                    self._close(key, block)
                block = _Open(number, prediction.enqueued, prediction.enqueued, prediction.seconds)
                self._open[key] = block
            block.rows += 1
            block.error += prediction.error
            block.last = prediction.enqueued
            block.latest = max(block.latest, prediction.seconds)

    def _close(self, key: tuple[str, str], block: _Open) -> None:
        if block.rows >= self.watch.least_rows:
            self._closed.append(_Closed(key, block.begun, block.last, block.error / block.rows))

    @property
    def blocks(self) -> int:
        """How many blocks are in the window; an alarm takes a full one."""
        return len(self._closed)

    @property
    def error(self) -> float:
        """The mean over the window, mph; nan before the first block has ended."""
        with self._lock:
            closed = list(self._closed)
        return math.fsum(each.error for each in closed) / len(closed) if closed else math.nan

    def limit(self, blocks: int, drives: int) -> float:
        """What the mean over so many blocks of so many drives may be, mph."""
        one = self.reference
        scatter = one.block_sd**2 / blocks + one.drive_sd**2 * (1.0 / drives + 1.0 / max(1, one.drives))
        return max(one.mean + self.watch.sigmas * math.sqrt(scatter), one.mean * (1.0 + self.watch.rise))

    def check(self) -> Drift | None:
        """An alarm, if there is reason for one now."""
        with self._lock:
            closed = list(self._closed)
        if len(closed) < self.watch.window:
            return None
        error = math.fsum(each.error for each in closed) / len(closed)
        limit = self.limit(len(closed), len({each.drive for each in closed}))
        if error <= limit:
            return None
        return Drift(
            self.version,
            error,
            self.reference.mean,
            limit,
            min(each.begun for each in closed),
            max(each.last for each in closed),
            len(closed),
        )

    def forget(self) -> None:
        """Begin anew: an alarm that was dealt with is not raised again by the rows that raised it."""
        with self._lock:
            self._open.clear()
            self._closed.clear()
