"""The rendered road: `Scene` from telemetry rows to frames with ground truth, one noun a file."""

from __future__ import annotations

from iotedge_lab.camera.scene.scene import Picture, Scene
from iotedge_lab.camera.scene.truth import Truth, TruthLabel
from iotedge_lab.camera.scene.weather import WEATHERS, WeatherName

__all__ = ["WEATHERS", "Picture", "Scene", "Truth", "TruthLabel", "WeatherName"]
