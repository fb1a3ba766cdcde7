"""Interrupts during a search: the first is noted and ends it in good order, the second is raised as ever."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


@contextmanager
def listening(interrupted: threading.Event) -> Iterator[None]:
    """Let the first interrupt (a notebook's stop button, Ctrl-C) only be noted; the second is raised as ever.

    Raised at once it may be lost: XGBoost calls Python from C, where an exception ends as a line on stderr. In
    other threads than the main one, and where someone else listens already, everything stays as it is.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def note(_number: int, _frame: FrameType | None) -> None:
        interrupted.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
