"""Ground truth: what is in a rendered frame, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from iotedge_lab.camera.boxes import Box

TruthLabel = Literal["car", "vehicle", "person", "bicycle", "stop sign", "plate"]

LEAST_SHARE: Final = 0.03  # of which less is to be seen is not listed
LEAST_SIZE: Final = 4.0  # pixels, the longer side


@dataclass(frozen=True, slots=True)
class Truth:
    """One thing in a frame. vehicle: a van, bus or truck; a cyclist is a person and a bicycle.

    box: around what is to be seen of it; visible: the share of the whole thing that this is, 0 to 1;
    text: what is written on it; thing: the same number in all frames of one scene.
    """

    label: TruthLabel
    box: Box
    visible: float
    text: str = ""
    thing: int = 0
