"""A module's program made of a function in a notebook's cell: the SDK's part around it, and the file to run.

    folder = program.write(tempfolder, judge)    # main.py: what an edge device would run
    code.excerpt(folder)                         # read it

The function gets what came to `input1`, parsed from JSON, and gives what goes to `output1`, or None. It goes into the
file as its source text stands in the cell, so it uses what it imports itself and no variable of the notebook.
"""

from __future__ import annotations

import inspect
import textwrap
from typing import TYPE_CHECKING, Any, Final

from iotedge_lab.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

INPUT: Final = "input1"
OUTPUT: Final = "output1"

_PROGRAM: Final = '''\
import json
import threading
import traceback

from azure.iot.device import IoTHubModuleClient, Message


{function}


client = IoTHubModuleClient.create_from_edge_environment()


def on_message(message):
    """What comes to {input} is judged; what is worth it goes to {output}."""
    try:
        answer = {name}(json.loads(message.data))
        if answer is not None:
            client.send_message_to_output(Message(json.dumps(answer)), "{output}")
    except Exception:  # else the SDK says no more than "Unable to handle"
        traceback.print_exc()


client.on_message_received = on_message
client.connect()
print("Connected")
threading.Event().wait()  # until it is stopped
'''


def write(folder: Path, function: Callable[[Any], Any]) -> Path:
    """Write a module whose heart is this function; the folder, which is made if need be.

    Raises `UsageError` for what has no source, such as a lambda or a built-in function.
    """
    name = getattr(function, "__name__", "")
    if not (inspect.isfunction(function) and name.isidentifier()) or inspect.iscoroutinefunction(function):
        raise UsageError(
            f"{name or function!r} is no function that was written with def; write one in a cell"
        )
    try:
        source = textwrap.dedent(inspect.getsource(function)).strip()
    except (OSError, TypeError) as error:
        raise UsageError(
            f"{name or function!r} has no source to write down; define it in a cell: {error}"
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    text = _PROGRAM.format(function=source, name=name, input=INPUT, output=OUTPUT)
    (folder / "main.py").write_text(text, encoding="utf-8")
    return folder
