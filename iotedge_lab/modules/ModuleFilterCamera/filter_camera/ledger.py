"""Which videos were read, and all that was found in them acknowledged: a restart does not tell them again.

Kept in a small file beside the pictures. Where it cannot be written or read that is said, and the module goes on:
what it costs is that videos which are still there are told a second time after a restart, under the same ids.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from iotedge_lab.camera.video import State

NAME: Final = ".read.json"
LONGEST: Final = 10_000_000  # bytes


class Ledger:
    """The file. `problem` says what is wrong with it, None where nothing is."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self.problem: str | None = None

    def read(self) -> dict[str, State]:
        """The videos by name. What is no ledger is as good as none."""
        try:
            if self._path.stat().st_size > LONGEST:
                return {}
            told: Any = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return {}
        found: dict[str, State] = {}
        for name, state in told.items() if isinstance(told, dict) else ():
            if isinstance(state, list) and len(state) == 3 and all(isinstance(each, int) for each in state):
                found[name] = (state[0], state[1], state[2])
        return found

    def write(self, videos: Mapping[str, State]) -> None:
        """These, and no others."""
        part = self._path.with_name(f"{NAME}.part")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(videos), encoding="utf-8")
            part.replace(self._path)
        except OSError as error:
            self.problem = (
                f"{self._path} cannot be written: {error.strerror}. Make room; until then a restart tells again "
                "what is still in the folder."
            )
        else:
            self.problem = None
