"""Answers that could not be sent before the module had to stop: kept, and sent first when it starts again.

The SDK acknowledges a row to the edge hub as soon as it has it, so the edge hub will not bring it again. A module that
is killed (SIGKILL, power) loses what it holds at that moment; one that is stopped does not.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from typing import TYPE_CHECKING, Any, Final

from filter_car.telling import new_message

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FILE: Final = "unsent.jsonl"

log = logging.getLogger("ModuleFilterCar")


def keep(folder: Path, messages: Iterable[Any]) -> int:
    """Write them down, in their order, instead of those that are there; how many. What cannot be written is logged."""
    lines = [json.dumps([each.message_id, each.data, dict(each.custom_properties)]) for each in messages]
    if not lines:
        forget(folder)
        return 0
    path = folder / FILE
    draft = path.with_suffix(".new")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with draft.open("w", encoding="utf-8") as file:
            draft.chmod(0o600)
            file.write("\n".join(lines) + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        log.error("%d answers are lost: %s", len(lines), error)  # noqa: TRY400 - the text says it all
        return 0
    return len(lines)


def found(folder: Path) -> list[Any]:
    """The messages that were written down; a line that is no message is passed over."""
    try:
        text = (folder / FILE).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return []
    messages = []
    for line in text.splitlines():
        try:
            identity, body, properties = json.loads(line)
            messages.append(new_message(str(body), str(identity), dict(properties)))
        except (ValueError, TypeError):
            log.warning("An answer that was kept cannot be read")
    return messages


def forget(folder: Path) -> None:
    """They are sent."""
    with contextlib.suppress(OSError):
        (folder / FILE).unlink(missing_ok=True)
