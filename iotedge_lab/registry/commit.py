"""The git commit of the code that trains: a model's lineage names it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import os

_SECONDS: Final = 20.0
CHANGES: Final = "+changes"


def current(folder: str | os.PathLike[str] | None = None) -> str:
    """The commit of the repository around `folder` (this package's by default), or '' where there is none.

    `+changes` follows where tracked files differ from it: that code cannot be fetched again by the commit alone.
    """
    place = Path(folder) if folder is not None else Path(__file__).parent
    head = _git(place, "rev-parse", "HEAD")
    # A package installed into a repository of somebody else's is no part of that one's commits.
    if not head or not _git(place, "ls-files", "."):
        return ""
    # Files that git does not track (outputs, notes) do not count: they are in no commit anyway.
    changed = _git(place, "status", "--porcelain", "--untracked-files=no")
    return head + CHANGES if changed else head


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - git is where PATH has it
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
