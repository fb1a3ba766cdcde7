"""The few constants that turn the simulation's SI units into what a car's logger writes."""

from __future__ import annotations

from typing import Final

MPS_PER_MPH: Final = 0.44704  # exact, by the definition of the mile
METRES_PER_MILE: Final = 1609.344
G: Final = 9.80665  # m/s2, standard gravity (ISO 80000-3)
EARTH_RADIUS: Final = 6_371_008.8  # m, the mean radius (IUGG)
