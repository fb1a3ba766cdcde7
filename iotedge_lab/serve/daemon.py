"""What the lab's background processes share: files, logs, signals, and the one line that says they are ready.

A process is started by `launch`, as `python -m iotedge_lab.hub` or `.edge`. It tells its parent that it is ready, or
why it cannot be, in one line of JSON on a copy of its standard output, and after that says everything in its log.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import logging.handlers
import os
import signal
import sys
import threading
from typing import IO, TYPE_CHECKING, Any, Protocol

from iotedge_lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

log = logging.getLogger(__name__)


def import_aiohttp() -> None:
    """Import aiohttp without the machine's certificates, which it reads for clients that we are not.

    It does so while it is imported, and that is a tenth of a second and more of the time to the first message.
    """
    kept = {name: os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")}
    os.environ.update(dict.fromkeys(kept, os.devnull))
    try:
        import aiohttp.web  # noqa: F401 - for its side effect: it is in sys.modules then
    finally:
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def allow_many_files() -> None:
    """A connection is an open file: raise the limit as far as this user may, for a thousand devices and more."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def ready_line() -> IO[str]:
    """Where the parent waits for one line; standard output itself goes nowhere from now on."""
    ready = os.fdopen(os.dup(1), "w", encoding="utf-8")
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    return ready


def tell(ready: IO[str], said: dict[str, object]) -> None:
    """Say it to the parent, who may have gone."""
    with contextlib.suppress(OSError, ValueError):
        ready.write(json.dumps(said) + "\n")
        ready.flush()


def serve_in(
    folder: ServedFolder, serve: Callable[[], Coroutine[Any, Any, None]], who: str, ready: IO[str]
) -> int:
    """A process's frame: hold the folder, log into it, serve until that is over; the exit status.

    What cannot be is said on `ready` and in the log, as the library's error of that name, with its words.
    """
    try:
        folder.prepare()
        folder.lock()
    except LabError as error:
        tell(ready, {"error": _kind(error), "message": str(error)})
        return 1
    try:
        with logging_to(folder.log_file):
            try:
                run_loop(serve())
            except LabError as error:
                log.error("%s", error)  # noqa: TRY400 - a message for a person; no traceback helps
                tell(ready, {"error": _kind(error), "message": str(error)})
                return 1
            except Exception:
                log.exception("%s ended", who)
                raise
            return 0
    finally:
        folder.unlock()


def _kind(error: LabError) -> str:
    """The name by which the parent finds the class again (`launch.spawn`): of `iotedge_lab.errors`."""
    return next(each.__name__ for each in type(error).__mro__ if each.__module__ == LabError.__module__)


class ServedFolder(Protocol):
    """A folder that a process holds (`held.HeldFolder`), with a log."""

    @property
    def log_file(self) -> Path:
        """What the process did."""
        ...

    def prepare(self) -> None:
        """Make it."""
        ...

    def lock(self) -> None:
        """Hold it."""
        ...

    def unlock(self) -> None:
        """Let go of it."""
        ...


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop where it is installed."""
    try:
        import uvloop

        uvloop.run(main)
    except ImportError:
        asyncio.run(main)


def stop_events(loop: asyncio.AbstractEventLoop, *, until_eof: bool) -> tuple[asyncio.Event, asyncio.Event]:
    """When to stop, and whether it is because the parent has gone (`until_eof`: standard input has ended)."""
    stop, orphaned = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    if until_eof:

        def wait() -> None:
            sys.stdin.read()
            loop.call_soon_threadsafe(orphaned.set)
            loop.call_soon_threadsafe(stop.set)

        threading.Thread(target=wait, name="until-eof", daemon=True).start()
    return stop, orphaned


def keep_errors(file: Path) -> None:
    """What is still written to standard error (a crash of the interpreter) goes to a file."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(descriptor, 2)
    os.close(descriptor)


@contextlib.contextmanager
def logging_to(file: Path) -> Iterator[None]:
    """Log into a file, rotated, inside the block."""
    handler = logging.handlers.RotatingFileHandler(file, maxBytes=2_000_000, backupCount=2, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.getLogger("aiohttp").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.server").addFilter(_is_our_fault)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()


def _is_our_fault(record: logging.LogRecord) -> bool:
    """A client that does not speak HTTP was answered 400: it needs no traceback in the log."""
    from aiohttp.http_exceptions import HttpProcessingError

    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError)
