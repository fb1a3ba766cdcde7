"""A module that runs here, as an ordinary program, against the simulator.

What `env $(iotedge-lab simulator modulecred | xargs) python main.py` does in a terminal, for a notebook or a test.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Final, Self

from iotedge_lab.errors import EnvironmentProblem, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_STOP_SECONDS: Final = 10.0  # as a container gets them
_KEPT: Final = 5000  # lines of output


class RunningModule:
    """`python -u main.py` in the module's folder, its output kept. Leaving the `with` block stops it.

    Its environment is as bare as on an edge device: what the module is given, and no key of a service's.
    """

    def __init__(self, folder: Path, credentials: Mapping[str, str], env: Mapping[str, str]) -> None:
        from iotedge_lab.edge.agent.environment import PASSED_ON

        if not (folder / "main.py").is_file():
            raise UsageError(f"{folder} is no module: it has no main.py.")
        self.name = folder.absolute().name
        passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-u", "main.py"],
                cwd=folder,
                env={**passed, **env, **credentials},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,  # Ctrl-C in a notebook means the cell, not the module
            )
        except OSError as error:
            raise EnvironmentProblem(f"{folder} cannot be run: {error.strerror}.") from error
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, name=f"output-{self.name}", daemon=True)
        self._reader.start()
        atexit.register(self.stop)

    # -- what it says --------------------------------------------------------------------------------------

    @property
    def output(self) -> str:
        """What it has written so far, to standard output and standard error."""
        with self._news:
            return "\n".join(self._lines)

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def wait_for(self, text: str, *, timeout: float = 30.0) -> str:
        """Wait for a line with `text` in it, and return it. Raises UsageError where it ends without, or in time."""
        deadline = time.monotonic() + timeout
        seen = 0
        with self._news:
            while True:
                for line in self._lines[seen:]:
                    if text in line:
                        return line
                seen = len(self._lines)
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    break
                self._news.wait(left)
        how = f"it has ended with exit code {self.exit_code}" if self._ended else f"{timeout:g} s are over"
        raise UsageError(
            f"{self.name} has not written {text!r}, and {how}. It wrote:\n{self.output or '(nothing)'}"
        )

    def wait(self, *, timeout: float = 30.0) -> int:
        """Wait for its end; the exit code. Raises UsageError where it runs on."""
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise UsageError(f"{self.name} still runs after {timeout:g} s; module.stop() ends it.") from None
        self._reader.join(_STOP_SECONDS)
        return code

    # -- its end -------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """SIGTERM, and SIGKILL where it has not ended in ten seconds, as a container's engine does. Again: nothing."""
        atexit.unregister(self.stop)
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join(_STOP_SECONDS)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                with self._news:
                    self._lines.append(line.rstrip("\n"))
                    del self._lines[:-_KEPT]
                    self._news.notify_all()
        self._process.wait()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        code = self.exit_code
        return f"RunningModule({self.name}, {'running' if code is None else f'ended with exit code {code}'})"
