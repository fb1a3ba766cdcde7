"""What the module says: a message about each event, and its answers to the direct methods.

A message is a JSON object of some 250 bytes:

    event          its id; the same one where an event is told twice (tell=both), or again after a crash
    label, score   what it is, and how sure the best frame is; Motion where there is no detector: the share of the
                   region that changed
    box            [left, top, right, bottom] in pixels of that frame, whose size is width and height
    time           of that frame, in s from the video's begin, as are first and last
    first, last    when it was seen; `last` is the latest so far where the state is `begin`
    frames         in how many frames it was seen, or nothing had moved since
    video          the file's name
    by             detector or motion
    plate          what a number plate says, where one was read

Properties, so that a route need not open it: messageType=detection, label, state=begin or end.

    status   any payload                        200 and what the reported properties have, as it is now
    again    {"video": "video-000001.mp4"}      that video is looked through again, with the settings of now; without
                                                a name all that are there; 202 {"videos": how many}

400: a payload that does not fit. 404: no such method, or no such video. Both answer {"error": "..."}.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from azure.iot.device import Message

if TYPE_CHECKING:
    from iotedge_lab.camera.events import Event

METHODS: Final = ("status", "again")
_SPACE: Final = uuid.UUID("6f4a1d5c-2d53-4a5e-9a1b-3a0f6f2b7c11")

_new_message: Any = Message


class Controls(Protocol):
    """What the methods act on. Each may be called on any thread."""

    def status(self) -> Mapping[str, Any]:
        """As reported."""
        ...

    def again(self, video: str | None) -> int:
        """Look through that video again, or through all; how many."""
        ...


def answer(controls: Controls, name: str, payload: Any) -> tuple[int, dict[str, Any]]:
    """Status and payload of a call."""
    if name == "status":
        return 200, dict(controls.status())
    if name == "again":
        video = payload.get("video") if isinstance(payload, Mapping) else None
        if not (payload is None or isinstance(payload, Mapping)) or not isinstance(video, str | None):
            return 400, {
                "error": f'the payload is {str(payload)[:100]}; {{"video": "NAME"}} or null belongs there'
            }
        count = controls.again(video)
        if video is not None and not count:
            return 404, {"error": f"there is no video {video[:100]!r} in the folder"}
        return 202, {"videos": count}
    return 404, {"error": f"there is no method {name[:100]!r}; there are {', '.join(METHODS)}"}


def event_id(video: str, changed: int, event: Event) -> str:
    """The same for the same event of the same file, whoever looks when; `changed`: the file's time, in ns."""
    return str(uuid.uuid5(_SPACE, f"{video}|{changed}|{event.number}|{event.first:.3f}"))


def about(event: Event, video: str, size: tuple[int, int], by: str, identity: str) -> dict[str, Any]:
    """An event as the message has it, as it is now; `size`: width and height of the frames."""
    return {
        "event": identity,
        "label": event.label,
        "score": round(event.score, 3),
        "box": list(event.box.rounded()),
        "time": round(event.time, 3),
        "first": round(event.first, 3),
        "last": round(event.last, 3),
        "frames": event.frames,
        "video": video,
        "width": size[0],
        "height": size[1],
        "by": by,
    }


def to_message(told: Mapping[str, Any], state: str) -> Any:
    """The message of an event that has begun, or is over."""
    identity = str(told["event"]) if state == "end" else f"{told['event']}-{state}"
    message = _new_message(json.dumps(told, separators=(",", ":")), identity, "utf-8", "application/json")
    message.custom_properties["messageType"] = "detection"
    message.custom_properties["label"] = told["label"]
    message.custom_properties["state"] = state
    return message
