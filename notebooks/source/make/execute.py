"""Run a notebook from top to bottom in a kernel and a lab of its own, and keep what is stable of it.

What is taken away before storing: widget state and widget views (their ids are random), the times of the
cells, the kernel's version. The loopback address of the maker's hub, which depends on what else ran on that
machine, becomes `localhost`. What stays differs between two runs in times, ids and pictures' bytes only, which
`tests/notebooks/sanitize.cfg` hides from nbval.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from notebooks.source.make.source import METADATA, NOTEBOOKS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SANITIZE = NOTEBOOKS.parent / "tests" / "notebooks" / "sanitize.cfg"

CELL_TIMEOUT = 120
"""Seconds that one cell may take; the same number stands in the nbval command."""

# pytest's filters do not reach a kernel, this variable does. Warnings are errors there too, but for four:
# azure-iot-device 2.14 asks for TLS 1.2 by its deprecated name, at each connection; ipykernel 7.4 warns about
# its own shutdown method, which then fails to end the kernel in good order, and from Python 3.12 on starts in a
# way that asyncio warns of; and paho-mqtt 1.6 leaves a pair of sockets to the collector at each new connection
# (Python hides that warning from learners by itself).
WARNINGS = (
    "error,"
    "ignore:ssl.PROTOCOL_TLSv1_2:DeprecationWarning,"
    "ignore:For consistency across implementations:PendingDeprecationWarning,"
    "ignore:There is no current event loop:DeprecationWarning,"
    "ignore::ResourceWarning"
)

LOCALHOST = "localhost"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def isolated_environment(folder: Path, base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables for a kernel that must meet neither this user's lab nor this user's Jupyter settings.

    `folder` is a temporary folder; state and settings go below it. Connection strings of the caller's are
    dropped: a test never runs against somebody's real hub by accident.
    """
    kept = {name: value for name, value in base.items() if name not in _CONNECTIONS}
    return kept | {
        "IOTEDGE_LAB_STATE": str(folder / "lab"),
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "MPLCONFIGDIR": str(folder / "matplotlib"),
        "PYTHONWARNINGS": WARNINGS,
    }


_ADDRESSES = 100
_CONNECTIONS = frozenset({"IOTHUB_CONNECTION_STRING", "EVENTHUB_CONNECTION_STRING"})


@contextmanager
def isolated_lab(folder: Path) -> Iterator[dict[str, str]]:
    """The environment above; at the end what a notebook has left running in it is stopped."""
    environment = isolated_environment(folder)
    try:
        yield environment
    finally:
        stop_lab(Path(environment["IOTEDGE_LAB_STATE"]))


def start_lab_apart(state: Path) -> None:
    """Start a hub on this state folder, on an address that other hubs do not come to.

    A hub takes the first loopback address that is free. Where hubs of other tests start all the time, one of
    them would take the address of a hub that a notebook kills, before it is back. macOS has one address only;
    there the notebook's own hub must do.
    """
    if sys.platform == "darwin":
        return
    from iotedge_lab import launch
    from iotedge_lab.errors import PortTaken
    from iotedge_lab.hub.state import StateFolder

    first = os.getpid()
    for number in range(first, first + _ADDRESSES):
        settings = launch.Settings(host=f"127.0.0.{100 + number % _ADDRESSES}")
        try:
            launch.attach_or_start(StateFolder(state), settings)
        except PortTaken:  # by another run of the tests
            continue
        return
    raise PortTaken(f"127.0.0.100 to 127.0.0.{99 + _ADDRESSES} are all taken; end what runs there.")


def stop_lab(state: Path) -> None:
    """Stop the hub that runs on this state folder, and its edge devices, simulator and capture, if there are any."""
    if not state.exists():  # no cell has opened a lab
        return
    from iotedge_lab import launch
    from iotedge_lab.capture import Capture
    from iotedge_lab.edges import Runtime
    from iotedge_lab.hub.state import StateFolder
    from iotedge_lab.simulation import Simulator

    Simulator(state).stop()
    Capture(state).stop()
    runtime = Runtime.find(state)
    if runtime is not None:
        runtime.stop()
    folder = StateFolder(state)
    if (told := folder.read()) is not None:
        launch.stop(folder, told)


def execute(notebook: NotebookNode, environment: Mapping[str, str], cwd: Path = NOTEBOOKS) -> NotebookNode:
    """A copy of the notebook with the outputs of one clean run. A cell's error is raised as nbclient's."""
    executed = deepcopy(notebook)
    client = NotebookClient(
        executed,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        record_timing=False,
        extra_arguments=["--IPKernelApp.log_level=40"],  # no word about TCP for each notebook
        coalesce_streams=True,
        resources={"metadata": {"path": str(cwd)}},
    )
    client.execute(env=dict(environment), cwd=str(cwd))
    return clean(executed)


def clean(notebook: NotebookNode) -> NotebookNode:
    """Take away what differs from run to run and says nothing: widget ids, the kernel's version."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        for output in cell.outputs:
            output.get("data", {}).pop(WIDGET_VIEW, None)
            output.pop("transient", None)
        cell.outputs = [output for output in cell.outputs if output.get("data", True)]
    return notebook


def hub_address(state: Path) -> str | None:
    """The address on which the hub of this state folder stood, if a cell has started one."""
    from iotedge_lab.hub.state import StateFolder

    told = StateFolder(state).read() if state.exists() else None
    return None if told is None else told.hostname


def at_localhost(notebook: NotebookNode, address: str) -> NotebookNode:
    """Write `localhost` for the hub's loopback address in the outputs; sources stay as they are.

    `localhost` is what a hub that is alone on its machine says. A maker whose machine had that address taken
    (by another hub) would otherwise store a number that no reader sees.
    """
    here = re.compile(rf"(?<![\d.]){re.escape(address)}(?![\d.]*\d)")
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "text" in output:
                output["text"] = here.sub(LOCALHOST, output["text"])
            for kind, data in output.get("data", {}).items():
                if isinstance(data, str) and not kind.startswith("image/"):
                    output["data"][kind] = here.sub(LOCALHOST, data)
    return notebook


def sanitizer(config: Path = SANITIZE) -> list[tuple[re.Pattern[str], str]]:
    """The sanitize file of nbval, compiled: what two runs may differ in."""
    from nbval.plugin import get_sanitize_patterns

    patterns: list[tuple[str, str]] = get_sanitize_patterns(config.read_text(encoding="utf-8"))
    return [(re.compile(regex), replacement) for regex, replacement in patterns]


def same_but_for_noise(one: NotebookNode, other: NotebookNode) -> bool:
    """Whether two executed notebooks differ in nothing but what the sanitize file hides."""
    patterns = sanitizer()

    def stable(notebook: NotebookNode) -> str:
        text: str = nbformat.writes(notebook)
        for pattern, replacement in patterns:
            text = pattern.sub(replacement, text)
        return text

    return stable(one) == stable(other)
