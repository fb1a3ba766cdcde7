"""The vendor's SDKs for Node in a process of their own, told what to do line by line (tests/node/)."""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

import platformdirs
import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "node"
LEAST_NODE = 20  # @azure/event-hubs 6
_INSTALL_SECONDS = 240


class NodeError(Exception):
    """The SDK raised: `name` is its class (DeviceNotFoundError), `status` that of HTTP if there was one."""

    def __init__(self, name, message, status=None):
        super().__init__(f"{name}: {message}")
        self.name = name
        self.status = status


def packages():
    """The folder with the packages of package-lock.json, installed once; skips where that cannot be done."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not (node and npm):
        pytest.skip("node and npm are not installed")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.lstrip("v").partition(".")[0]) < LEAST_NODE:
        pytest.skip(f"node is {version}; these SDKs need {LEAST_NODE} or later")
    digest = hashlib.sha256((SCRIPTS / "package-lock.json").read_bytes()).hexdigest()[:16]
    cache = platformdirs.user_cache_path("iotedge-lab-tests", appauthor=False)
    done = cache / f"node-{digest}"
    if not done.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="installing-", dir=cache) as folder:
            _install(npm, Path(folder) / "packages")
            with contextlib.suppress(OSError):  # another run was faster
                (Path(folder) / "packages").rename(done)
    return done / "node_modules"


def _install(npm, folder):
    folder.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(SCRIPTS / name, folder)
    command = [
        npm,
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--prefer-offline",
        "--fetch-retries=1",
    ]
    try:
        ran = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm ci had not ended after {_INSTALL_SECONDS} s: is a package registry reached?")
    if ran.returncode:
        words = [line for line in ran.stderr.splitlines() if "error" in line.lower()]
        pytest.skip(f"npm ci failed: {'; '.join(words[:3]) or ran.stderr[-300:]}")


class Node:
    """One Node process. `call` waits for its answer; `wait` for what comes unasked."""

    def __init__(self, env):
        self._answers = {}
        self._unasked = []
        self._news = threading.Condition()
        self._last = 0
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in `close`
        self._process = subprocess.Popen(
            [shutil.which("node"), str(SCRIPTS / "sdks.js")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            env=os.environ | env | {"NODE_PATH": str(packages())},
        )
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self):
        for line in self._process.stdout:
            said = json.loads(line)
            with self._news:
                if "id" in said:
                    self._answers[said["id"]] = said
                else:
                    self._unasked.append((said["from"], said["what"], said["value"]))
                self._news.notify_all()
        with self._news:
            self._process.wait()
            self._news.notify_all()

    def begin(self, call, /, **args):
        """Ask, without waiting; the number to give to `answer`."""
        self._last += 1
        self._process.stdin.write(json.dumps({"id": self._last, "call": call, "args": args}) + "\n")
        self._process.stdin.flush()
        return self._last

    def answer(self, number, seconds=30.0):
        """The value that a call gave; raises `NodeError`."""
        self._until(lambda: number in self._answers, seconds, f"call {number} was not answered")
        said = self._answers.pop(number)
        if "error" in said:
            raise NodeError(**said["error"])
        return said["value"]

    def call(self, call, /, *, seconds=30.0, **args):
        """Ask, and wait for the value; raises `NodeError`."""
        return self.answer(self.begin(call, **args), seconds)

    def heard(self, origin, what):
        """All that has come unasked from `origin` of the kind `what`."""
        with self._news:
            return [value for source, kind, value in self._unasked if (source, kind) == (origin, what)]

    def wait(self, origin, what, count=1, seconds=30.0, matches=lambda _: True):
        """The first `count` of these, once they have come."""
        found = lambda: [value for value in self.heard(origin, what) if matches(value)]  # noqa: E731 - asked twice
        self._until(lambda: len(found()) >= count, seconds, f"{origin}: no {what}")
        return found()[:count]

    def _until(self, holds, seconds, otherwise):
        with self._news:
            ended = lambda: self._process.poll() is not None  # noqa: E731 - asked twice
            if not (self._news.wait_for(lambda: holds() or ended(), seconds) and holds()):
                raise AssertionError(
                    f"{otherwise}; unasked: {self._unasked[-5:]}; said: {self.said()[-2000:]}"
                )

    def said(self):
        """What it wrote to standard error."""
        self._stderr.seek(0)
        return self._stderr.read()

    def close(self):
        """End the process."""
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._thread.join(10)
        self._process.stdout.close()
        self._stderr.close()
