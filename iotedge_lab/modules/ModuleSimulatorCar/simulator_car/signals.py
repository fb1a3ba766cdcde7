"""The DBC's side of a bus: the reader, and the further signals that each message is to carry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iotedge_lab.car.can.database import load
from iotedge_lab.car.can.moments import COLUMN_SIGNALS
from iotedge_lab.car.can.reader import Reader
from iotedge_lab.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from simulator_car.reading import Extras
    from simulator_car.settings import Settings


class Signals:
    """A reader of the settings' DBC at their rate. Raises DataError for the DBC, UsageError for what it lacks."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        database = load(folder / settings.dbc if settings.dbc else None)
        self.reader = Reader(database, hz=settings.rate)
        known = self.reader.readings()
        lacking = [name for name in settings.signals if name not in known]
        if lacking:
            raise UsageError(f"The DBC has no signal {', '.join(lacking)}; it has {', '.join(known)}.")
        self._names = settings.signals
        self._needed = frozenset(COLUMN_SIGNALS.values()) | frozenset(settings.signals)

    def extras(self) -> Extras:
        """The further signals as they are now."""
        if not self._names:
            return {}
        readings = self.reader.readings()
        return {name: readings[name].value for name in self._names}

    def stale(self, names: AbstractSet[str]) -> bool:
        """Whether one of these signals is a message's."""
        return not self._needed.isdisjoint(names)
