"""The direct methods.

    setSpeed  {"speed": 10}   a recording is replayed so many times as fast (0.01 to 1000), until the module restarts;
                              200 {"speed": 10, "messagesPerSecond": 10}
    pause     any payload     a recording waits; a car on a bus drives on, and its rows are left out;
                              200 {"paused": true}
    resume    any payload     200 {"paused": false}
    status    any payload     200 and what the reported properties have, as it is now

400: a payload that does not fit, or a speed where there is none to set. 404: no such method. Both answer
{"error": "..."}.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Protocol

from iotedge_lab.errors import UsageError


class Controls(Protocol):
    """What the methods act on. Each may be called on any thread."""

    def set_speed(self, speed: float) -> None:
        """Raises UsageError."""
        ...

    def set_paused(self, *, paused: bool) -> None:
        """Hold the drive, or go on."""
        ...

    def status(self) -> dict[str, Any]:
        """As reported."""
        ...


METHODS: Final = ("setSpeed", "pause", "resume", "status")


def answer(controls: Controls, name: str, payload: Any) -> tuple[int, dict[str, Any]]:
    """Status and payload of a call."""
    match name:
        case "setSpeed":
            return _set_speed(controls, payload)
        case "pause" | "resume":
            controls.set_paused(paused=name == "pause")
            return 200, {"paused": name == "pause"}
        case "status":
            return 200, controls.status()
    return 404, {"error": f"there is no method {name[:100]!r}; there are {', '.join(METHODS)}"}


def _set_speed(controls: Controls, payload: Any) -> tuple[int, dict[str, Any]]:
    speed = payload.get("speed") if isinstance(payload, Mapping) else None
    if isinstance(speed, bool) or not isinstance(speed, int | float) or not math.isfinite(speed):
        return 400, {
            "error": f'the payload is {str(payload)[:100]}; {{"speed": 10}} belongs there, with a number'
        }
    try:
        controls.set_speed(speed)
    except UsageError as error:
        return 400, {"error": str(error)}
    status = controls.status()
    return 200, {name: status[name] for name in ("speed", "messagesPerSecond")}
