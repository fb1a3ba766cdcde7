"""One look through the camera: where things along the road stand in the frame at this moment."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from iotedge_lab.camera.scene.sprite import CAMERA_HEIGHT

if TYPE_CHECKING:
    from iotedge_lab.camera.scene.path import Path

BEHIND: Final = 6  # m of road behind the camera that is still known
FAR: Final = 300  # m ahead
TURNED: Final = 1.75  # radians: where the road has turned by more, it is out of sight


@dataclass(frozen=True, slots=True)
class Lens:
    """The frame's geometry: size, focal length in pixels, the horizon's row."""

    width: int
    height: int
    focal: float
    horizon: int

    @classmethod
    def of(cls, width: int, height: int) -> Lens:
        """A dash camera's: 64 degrees across at 16:9, the horizon a little above the middle."""
        return cls(width, height, 0.8 * max(width, height * 16 / 9), round(0.46 * height))

    def across(self, x: float, z: float) -> float:
        """The column of a point x to the right, z ahead."""
        return self.width / 2 + self.focal * x / z

    def down(self, y: float, z: float) -> float:
        """The row of a point y above the road, z ahead."""
        return self.horizon + self.focal * (CAMERA_HEIGHT - y) / z


class View:
    """The road ahead in the camera's own axes: x to the right, z ahead."""

    def __init__(self, path: Path, lens: Lens, metre: float) -> None:
        self.lens = lens
        self.metre = metre
        x0, y0, self.heading = path.pose(metre)
        low = max(0, int(metre) - BEHIND)
        high = min(len(path.x), int(metre) + FAR)
        cosine, sine = math.cos(self.heading), math.sin(self.heading)
        east, north = path.x[low:high] - x0, path.y[low:high] - y0
        self.first = low
        self.z = east * cosine + north * sine
        self.x = east * sine - north * cosine
        self.turn = path.heading[low:high] - self.heading
        gone = np.flatnonzero(np.abs(self.turn) > TURNED)
        ahead = gone[gone > int(metre) - low]
        self.known = int(ahead[0]) if len(ahead) else len(self.z)

    def place(self, metre: float, left: float) -> tuple[float, float, float] | None:
        """x, z and heading (positive to the left) of a point of the road; None where that is out of sight.

        left: metres to the left of the car's own lane's middle.
        """
        at = metre - self.first
        if at < 0 or at >= self.known - 1:
            return None
        low = int(at)
        share = at - low
        turn = float(self.turn[low] + share * (self.turn[low + 1] - self.turn[low]))
        x = float(self.x[low] + share * (self.x[low + 1] - self.x[low]))
        z = float(self.z[low] + share * (self.z[low + 1] - self.z[low]))
        return x - left * math.cos(turn), z - left * math.sin(turn), turn

    def road_coordinates(self, x: Any, z: Any) -> tuple[Any, Any]:
        """Metres along and to the left of the path, for points given in the camera's axes (flat arrays)."""
        known = max(2, self.known)
        px, pz = self.x[:known].astype(np.float32), self.z[:known].astype(np.float32)
        apart = (x[:, None] - px[None, :]) ** 2 + (z[:, None] - pz[None, :]) ** 2
        near = np.argmin(apart, axis=1)
        cosine, sine = np.cos(self.turn[:known]), np.sin(self.turn[:known])
        dx, dz = x - self.x[near], z - self.z[near]
        along = self.first + near + dz * cosine[near] - dx * sine[near]
        left = -dx * cosine[near] - dz * sine[near]
        return along, left
