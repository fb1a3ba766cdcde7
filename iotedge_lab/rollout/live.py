"""The live error over time, as edges report it: for pictures, and for whoever watches a model grow old."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pandas as pd

    from iotedge_lab.rollout.messages import Prediction

KEPT: Final = 100_000


class LiveErrors:
    """The latest predictions' errors; `add` may be called from any thread."""

    def __init__(self, kept: int = KEPT) -> None:
        self._rows: deque[tuple[object, ...]] = deque(maxlen=kept)
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

    def frame(self) -> pd.DataFrame:
        """One line a prediction: time (UTC), device, drive, seconds, version, error (mph), warmup; as they came."""
        import pandas as pd

        with self._lock:
            rows = list(self._rows)
        names = ["time", "device", "drive", "seconds", "version", "error", "warmup"]
        return pd.DataFrame(rows, columns=names)
