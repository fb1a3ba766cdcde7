"""The live error over time, as edges report it: for pictures, and for whoever watches a model grow old."""

from __future__ import annotations

import math
import threading
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pandas as pd

    from iotedge_lab.rollout.messages import Prediction

KEPT: Final = 100_000
_COLUMNS: Final = ("time", "device", "drive", "seconds", "version", "error", "warmup")
_VERSION, _ERROR, _WARMUP = (_COLUMNS.index(name) for name in ("version", "error", "warmup"))


class LiveErrors:
    """The latest predictions' errors; `add` may be called from any thread."""

    def __init__(self, kept: int = KEPT) -> None:
        self._rows: deque[tuple[Any, ...]] = deque(maxlen=kept)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, prediction: Prediction) -> None:
        """Keep one."""
        row = (
            prediction.enqueued,
            prediction.sender.device,
            prediction.drive,
            prediction.seconds,
            prediction.version,
            prediction.error,
            prediction.warmup,
        )
        with self._lock:
            self._rows.append(row)

    def recent(self, count: int, version: str | None = None) -> tuple[float, int]:
        """The mean error of the latest `count` predictions beyond the warm-up, mph, and how many that were.

        version: of that one alone. nan and 0 where there are none. Looks no further back than it must.
        """
        with self._lock:
            rows = list(self._rows)
        found = (
            float(row[_ERROR])
            for row in reversed(rows)
            if not row[_WARMUP] and version in (None, row[_VERSION])
        )
        errors = list(islice(found, count))
        return (math.fsum(errors) / len(errors) if errors else math.nan), len(errors)

    def frame(self) -> pd.DataFrame:
        """One line a prediction: time (UTC), device, drive, seconds, version, error (mph), warmup; as they came."""
        import pandas as pd

        with self._lock:
            rows = list(self._rows)
        return pd.DataFrame(rows, columns=list(_COLUMNS))
