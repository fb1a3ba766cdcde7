"""One module's process: started so that it dies with the runtime, awaited by an event, ended for sure.

A process is the leader of a session and process group of its own: a signal to the group reaches what it started.
On Linux the kernel kills it when the thread that started it ends (PR_SET_PDEATHSIG, prctl(2)), so it is started in
the loop's own thread. The request is made by a few lines of Python that then become the module (execve keeps it):
`preexec_fn` would run Python between fork and exec of a process with threads, which may hang.

Its end comes as an event of its pidfd (pidfd_open(2)), or from a waiting thread where there is none. Left out:
Windows, which has neither process groups nor SIGTERM.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from iotedge_lab.edge.agent.logs import STREAMS
from iotedge_lab.edge.agent.restarts import SIGNAL_BASE
from iotedge_lab.errors import EnvironmentProblem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from iotedge_lab.edge.agent.logs import ModuleLog

log = logging.getLogger(__name__)

_CHUNK: Final = 64 * 1024  # bytes read of a stream in one turn of the loop: the size of a pipe
_LAST_CHUNKS: Final = 16  # read after the end, in case that something else still writes

# The runtime may have been killed before the request was made; then this process has another parent already.
_BECOME: Final = """
import os, sys
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):
        os._exit(137)
try:
    os.execvp(sys.argv[2], sys.argv[2:])
except OSError as error:
    sys.stderr.write(f"{sys.argv[2]} cannot be run: {error.strerror}\\n")
    sys.stderr.flush()
    os._exit(127 if isinstance(error, FileNotFoundError) else 126)
"""


class ModuleProcess:
    """A running process. Made by `start`; `ended` gives its exit code once it and its group are gone."""

    def __init__(self, process: subprocess.Popen[bytes], output: ModuleLog) -> None:
        self.pid = process.pid
        self._process = process
        self._log = output
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = self._loop.create_future()
        assert process.stdout is not None
        assert process.stderr is not None
        self._streams = dict(zip(STREAMS, (process.stdout, process.stderr), strict=True))
        for name, stream in self._streams.items():
            os.set_blocking(stream.fileno(), False)
            self._loop.add_reader(stream.fileno(), self._read, name)
        self._pidfd: int | None = None
        self._watch()

    @classmethod
    def start(
        cls, command: Sequence[str], *, folder: Path, environment: Mapping[str, str], output: ModuleLog
    ) -> ModuleProcess:
        """Start a command in `folder`, with exactly this environment; its output goes to `output`.

        To be called in the loop's thread. Raises EnvironmentProblem where no process can be made. A command that
        is not there ends at once with exit code 127, as in a shell.
        """
        output.forget_last()
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _BECOME, str(os.getpid()), *command],
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise EnvironmentProblem(f"The process cannot be started: {reason}.") from error
        return cls(process, output)

    async def ended(self) -> int:
        """Wait for the end; the exit code as a container has it (128 and the number of a signal that ended it)."""
        return await asyncio.shield(self._ended)

    async def stop(self, patience: float) -> int:
        """SIGTERM, and SIGKILL where it has not ended within `patience` seconds; the exit code."""
        self.signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(self.ended(), patience)
        except TimeoutError:
            self.kill()
            return await self.ended()

    def signal(self, number: int) -> None:
        """Send a signal to the process itself, as a container's engine does; nothing where it has ended."""
        if not self._ended.done():
            self._process.send_signal(number)

    def kill(self) -> None:
        """Kill the process and all of its group."""
        if not self._ended.done():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.kill()

    def abandon(self) -> None:
        """Kill it and see to its end at once, without the loop: for a loop that is about to end."""
        if not self._ended.done():
            self.kill()
            self._stop_watching()
            self._finish()

    # -- its end ---------------------------------------------------------------------------------------

    def _watch(self) -> None:
        if sys.platform == "linux":
            try:
                descriptor = os.pidfd_open(self.pid)
            except OSError:
                pass  # no descriptor left, or a kernel before 5.3
            else:
                self._pidfd = descriptor
                self._loop.add_reader(descriptor, self._pidfd_readable)
                return
        threading.Thread(target=self._wait, name=f"wait-{self.pid}", daemon=True).start()

    def _pidfd_readable(self) -> None:
        self._stop_watching()
        self._finish()

    def _stop_watching(self) -> None:
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None

    def _wait(self) -> None:
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with suppress(RuntimeError):  # the loop is closed: no one waits any more
            self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if self._ended.done():
            return
        # The leader is a zombie still, so its number cannot be another group's.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        code = self._process.wait()
        for name in tuple(self._streams):
            for _ in range(_LAST_CHUNKS):
                if not self._read(name):
                    break
            self._close(name)
        if not self._ended.cancelled():
            self._ended.set_result(SIGNAL_BASE - code if code < 0 else code)

    # -- its output ------------------------------------------------------------------------------------

    def _read(self, name: str) -> bool:
        """Take what a stream has; whether there may be more at once."""
        stream = self._streams.get(name)
        if stream is None:
            return False
        try:
            data = os.read(stream.fileno(), _CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if data:
            self._log.write(name, data)
            return True
        self._close(name)
        return False

    def _close(self, name: str) -> None:
        stream = self._streams.pop(name, None)
        if stream is not None:
            self._loop.remove_reader(stream.fileno())
            stream.close()
            self._log.end(name)
