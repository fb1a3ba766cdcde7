"""A session as mybinder.org starts it: the entry point, JupyterLab under a base address, one core.

The arguments are those that BinderHub gives to the server, with a port of ours.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
import urllib.request
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.rehearsal.image import Image

TOKEN: Final = "t0ken"
BASE: Final = "/user/x-1/"
NAME: Final = "binder.test"
"""What the browser calls the server, as it has another name on mybinder.org: what trusts localhost shows."""
LIMITS: Final = {"MEM_LIMIT": str(2 * 1024**3), "CPU_LIMIT": "1.0"}
"""What JupyterHub tells a session of mybinder.org."""


@dataclass(frozen=True, slots=True)
class Session:
    """A server that runs; `url` ends with its base address, without a slash. `seconds`: from nothing to an answer."""

    url: str
    seconds: float

    @property
    def page(self) -> str:
        """The same address as the browser has it."""
        return self.url.replace("127.0.0.1", NAME)

    def get(self, path: str) -> Any:
        """What Jupyter's REST API answers."""
        asked = urllib.request.Request(f"{self.url}/api/{path}", headers={"Authorization": f"token {TOKEN}"})
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return json.loads(answer.read())

    def kernels(self) -> dict[str, str]:
        """Each kernel's id, and the notebook that has it."""
        return {
            each["kernel"]["id"]: each["path"].rsplit("/", 1)[-1].removesuffix(".ipynb")
            for each in self.get("sessions")
        }


def free_port() -> int:
    """A port of loopback that nothing has now."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def started(image: Image, log: Path, *, core: int | None = 0) -> Iterator[Session]:
    """Start it, wait until it answers, and end it and all that the user has left running."""
    port = free_port()
    words = [
        "env",
        *(f"{name}={value}" for name, value in LIMITS.items()),
        "binder/start",
        "jupyter-lab",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        "--no-browser",
        f"--NotebookApp.base_url={BASE}",
        f"--NotebookApp.token={TOKEN}",
        "--NotebookApp.trust_xheaders=True",
        "--ServerApp.allow_remote_access=True",  # as --ip=0.0.0.0 means it there; here it stays on loopback
        "--LabApp.expose_app_in_browser=True",  # window.jupyterapp, by which the rehearsal asks for Run All
    ]
    begun = time.monotonic()
    with log.open("wb") as sink:
        process = subprocess.Popen(image.command(words, core=core), stdout=sink, stderr=sink)
        session = Session(f"http://127.0.0.1:{port}{BASE.rstrip('/')}", 0.0)
        try:
            while True:
                try:
                    session.get("status")
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() - begun > 120:
                        raise RuntimeError(f"JupyterLab did not answer:\n{log.read_text()[-3000:]}") from None
                    time.sleep(0.1)
            yield Session(session.url, time.monotonic() - begun)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
            subprocess.run(image.command(["pkill", "-KILL", "-u", image.user]), check=False)
