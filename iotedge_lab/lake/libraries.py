"""deltalake, imported where it is needed, with a word on how to get it; and what its errors mean."""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.errors import EnvironmentProblem, LabError

if TYPE_CHECKING:
    from types import ModuleType

_NO_ROOM: Final = {errno.ENOSPC, errno.EFBIG} | ({errno.EDQUOT} if hasattr(errno, "EDQUOT") else set())
_DECORATION: Final = re.compile(r"\x1b\[[0-9;]*m|\u21b3")  # colours and arrows of a terminal
_OS_ERROR: Final = re.compile(r"\(os error (\d+)\)")


def delta() -> ModuleType:
    """The module `deltalake`. Raises `EnvironmentProblem` that says how to get it."""
    try:
        import deltalake
    except ImportError as error:
        raise missing("deltalake", error) from error
    return deltalake


def missing(package: str, error: ImportError) -> EnvironmentProblem:
    """The error to raise where a package of the extra `lake` cannot be imported."""
    return EnvironmentProblem(
        f"The lake needs {package}, and it cannot be imported ({error}): pip install {package}; the extra 'lake' has "
        "all that it needs."
    )


def is_no_room(error: BaseException) -> bool:
    """Whether the disk (or the quota, or the size that files may have) is used up."""
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return True
    return any(int(number) in _NO_ROOM for number in _OS_ERROR.findall(str(error)))


def failed(what: str, error: BaseException) -> LabError:
    """What deltalake raised, in the lab's words. `what`: what was tried ('writing to ...')."""
    said = told(error)
    if is_no_room(error):
        return EnvironmentProblem(
            f"The disk is full: {what} failed ({said}). Free some space and start the capture again; nothing is lost "
            "that the hub still keeps."
        )
    return EnvironmentProblem(f"{what[:1].upper()}{what[1:]} failed: {said}")


def told(error: Any) -> str:
    """An error on one line, for a log or a status."""
    plain = _DECORATION.sub(" ", str(error))
    return " ".join(plain.split())[:300] or type(error).__name__
