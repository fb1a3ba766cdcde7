"""Reported properties: what the module does, and of that what the hub does not know yet.

source, file, bus, rate, format, ...   the settings in force
speed, messagesPerSecond, paused       of the replay
progress                               rows, row, lap, laps (completed), sent, alerts, retries; of a bus more
errors                                 desired properties that were refused, by name, with the reason
desiredVersion                         the version of the desired properties that these answer
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The patch that makes `after` of `before`: what is new or other, and None for what is gone."""
    patch: dict[str, Any] = {}
    for name, value in after.items():
        old = before.get(name)
        if isinstance(value, Mapping):
            deeper = difference(old if isinstance(old, Mapping) else {}, value)
            if deeper:
                patch[name] = deeper
        elif value != old or type(value) is not type(old):
            patch[name] = value
    patch |= {name: None for name in before if name not in after and before[name] is not None}
    return patch
