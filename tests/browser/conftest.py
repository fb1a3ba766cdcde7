"""A real browser and a real JupyterLab, as `iotedge-lab lab` starts it.

The browser can reach nothing but this machine, so what passes here works offline.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from notebooks.source.make.execute import isolated_lab, start_lab_apart
from notebooks.source.make.source import NOTEBOOKS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

ROOT = NOTEBOOKS.parent
ARTIFACTS = ROOT / "artifacts"
TOKEN = "t0ken"

BROWSERS = ("chromium", "google-chrome", "google-chrome-stable", "chromium-browser")
CHROMIUM = os.environ.get("IOTEDGE_LAB_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)

NEEDED = pytest.mark.skipif(
    CHROMIUM is None,
    reason=f"there is no {' and no '.join(BROWSERS)}; install one or set IOTEDGE_LAB_CHROMIUM to its path",
)


def lab_command(port: int, prefix: str = "") -> list[str]:
    """What `make lab` runs, with a port of the test's and without opening a window."""
    return [
        sys.executable,
        "-m",
        "iotedge_lab",
        "lab",
        "--no-browser",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        f"--ServerApp.base_url={prefix}/",
        f"--IdentityProvider.token={TOKEN}",
        "--LabApp.expose_app_in_browser=True",  # window.jupyterapp, by which the test asks for Run All
    ]


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_it_answers(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + 120
    while time.monotonic() < give_up:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/api/status?token={TOKEN}", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"JupyterLab did not answer at {url}:\n{log.read_text()[-3000:]}")


@dataclass(frozen=True, slots=True)
class JupyterServer:
    """A JupyterLab that runs: its address, the folder with its copies of the notebooks, and its lab's state."""

    url: str
    notebooks: Path
    state: Path

    def call(self, method: str, path: str) -> Any:
        """Call Jupyter's REST API: what it answers, None without a body. An error is urllib's."""
        asked = urllib.request.Request(
            f"{self.url}/api/{path}", method=method, headers={"Authorization": f"token {TOKEN}"}
        )
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return json.loads(answer.read() or "null")

    def end_kernels(self) -> None:
        """End all kernels that browsers have left, and wait until they are gone."""
        for session in self.call("GET", "sessions"):
            self.call("DELETE", f"sessions/{session['id']}")


@pytest.fixture(scope="module")
def prefix() -> str:
    """What JupyterLab's addresses begin with; a file of tests may have its own, such as "/user/x-1"."""
    return ""


@pytest.fixture(scope="module")
def jupyter_server(tmp_path_factory: pytest.TempPathFactory, prefix: str) -> Iterator[JupyterServer]:
    """A JupyterLab on a copy of the notebooks: autosave must not touch the committed ones.

    One for all tests of a file, since its start takes seconds; so is the lab that its kernels share, as an attendee's
    kernels do.
    """
    folder = tmp_path_factory.mktemp("jupyterlab")
    root = folder / "copy"
    shutil.copytree(
        NOTEBOOKS, root / "notebooks", ignore=shutil.ignore_patterns("source", "conftest.py", ".*")
    )
    shutil.copytree(ROOT / "data", root / "data")
    port = _free_port()
    url = f"http://127.0.0.1:{port}{prefix}"
    log = folder / "jupyterlab.log"
    with isolated_lab(folder) as environment, log.open("wb") as sink:
        environment |= {
            "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        }
        # An attendee's kernel does not turn warnings into errors, and neither does this one.
        environment.pop("PYTHONWARNINGS")
        state = Path(environment["IOTEDGE_LAB_STATE"])
        start_lab_apart(state)
        process = subprocess.Popen(
            lab_command(port, prefix), cwd=root, env=environment, stdout=sink, stderr=sink
        )
        try:
            _wait_until_it_answers(url, process, log)
            yield JupyterServer(url, root / "notebooks", state)
        finally:
            process.send_signal(signal.SIGTERM)  # SIGINT would ask a question
            process.wait(30)


@pytest.fixture
def jupyterlab(jupyter_server: JupyterServer) -> Iterator[str]:
    """JupyterLab's address; what runs in it at the end of a test is ended, so that no test meets another's kernel."""
    yield jupyter_server.url
    jupyter_server.end_kernels()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Headless Chromium that can resolve no host but this machine."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"],
        )
        yield launched
        launched.close()


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """The same, without a page at the start and at the end of a test: each `new_page` has cookies of its own."""
    yield chromium
    for context in chromium.contexts:
        context.close()
