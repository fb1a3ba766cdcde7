"""What the module says: a message about each video, and its answers to the direct methods.

The message is a JSON object of some 250 bytes: video (its name), frames, bytes, seconds, width, height, fps, codec,
source, and of a road drive, seed, weather, begin and end (the drive's seconds), of a folder pictures and broken.
Properties, so that a route need not open it: messageType=video, codec, source.

    record   any payload     a video is made now; 202 {"video": its name}, and a message when it is there
    pause    any payload     no more videos until `resume`; 200 {"paused": true}
    resume   any payload     200 {"paused": false}
    status   any payload     200 and what the reported properties have, as it is now

404: no such method, {"error": "..."}.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Protocol

from azure.iot.device import Message

if TYPE_CHECKING:
    from collections.abc import Mapping

    from iotedge_lab.camera.video import VideoFile
    from simulator_camera.settings import Settings

METHODS: Final = ("record", "pause", "resume", "status")

_new_message: Any = Message


class Controls(Protocol):
    """What the methods act on. Each may be called on any thread."""

    def record_now(self) -> str:
        """The name that the video will have."""
        ...

    def set_paused(self, *, paused: bool) -> None:
        """Make no more videos, or go on."""
        ...

    def status(self) -> Mapping[str, Any]:
        """As reported."""
        ...


def answer(controls: Controls, name: str, _payload: Any) -> tuple[int, dict[str, Any]]:
    """Status and payload of a call."""
    match name:
        case "record":
            return 202, {"video": controls.record_now()}
        case "pause" | "resume":
            controls.set_paused(paused=name == "pause")
            return 200, {"paused": name == "pause"}
        case "status":
            return 200, dict(controls.status())
    return 404, {"error": f"there is no method {name[:100]!r}; there are {', '.join(METHODS)}"}


def about(video: VideoFile, settings: Settings, more: Mapping[str, Any]) -> dict[str, Any]:
    """A video, as the message has it."""
    return {
        "video": video.path.name,
        "frames": video.frames,
        "bytes": video.size,
        "seconds": round(video.seconds, 3),
        "width": video.width,
        "height": video.height,
        "fps": settings.fps_out,
        "codec": settings.codec,
        "source": settings.source,
        **more,
    }


def to_message(told: Mapping[str, Any], message_id: str) -> Any:
    """The message of a video."""
    message = _new_message(json.dumps(told, separators=(",", ":")), message_id, "utf-8", "application/json")
    message.custom_properties["messageType"] = "video"
    for name in ("codec", "source"):
        message.custom_properties[name] = told[name]
    return message
