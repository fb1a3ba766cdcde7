"""Light and weather: what colour the sky and the air have, how strong the sun is, whether lamps burn.

Colours are in OpenCV's order, blue first, 0 to 255.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

WeatherName = Literal["daylight", "dusk", "rain"]
Colour = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Weather:
    """One kind of light."""

    name: WeatherName
    zenith: Colour
    horizon: Colour
    """of the sky just above the land, which is also the colour of haze"""
    cloud: Colour
    cloud_cover: float
    ambient: Colour
    """the light from everywhere, as a factor a channel"""
    sun: Colour
    """the light from one side, as a factor a channel"""
    haze: float
    """1/m: how fast things fade with distance"""
    lamps: bool
    """whether headlights, street lamps and windows are lit"""
    wet: bool


WEATHERS: Final[Mapping[WeatherName, Weather]] = {
    "daylight": Weather(
        "daylight",
        zenith=(214, 148, 82), horizon=(236, 222, 206), cloud=(252, 250, 248), cloud_cover=0.45,
        ambient=(0.60, 0.56, 0.53), sun=(0.52, 0.60, 0.66), haze=0.0022, lamps=False, wet=False,
    ),
    "dusk": Weather(
        "dusk",
        zenith=(122, 74, 48), horizon=(112, 158, 236), cloud=(120, 112, 178), cloud_cover=0.5,
        ambient=(0.54, 0.48, 0.48), sun=(0.24, 0.35, 0.48), haze=0.0022, lamps=True, wet=False,
    ),
    "rain": Weather(
        "rain",
        zenith=(142, 134, 126), horizon=(186, 182, 176), cloud=(160, 154, 148), cloud_cover=0.9,
        ambient=(0.68, 0.66, 0.64), sun=(0.16, 0.16, 0.16), haze=0.0036, lamps=True, wet=True,
    ),
}  # fmt: skip
