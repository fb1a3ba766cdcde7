"""Where rows come from: the feed that the settings ask for, and how one becomes another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from simulator_car.replay import Replay, load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from simulator_car.reading import Reading
    from simulator_car.settings import Settings


class Feed(Protocol):
    """A recording that is replayed, or a bus that is listened to. `now`: seconds of one monotonic clock."""

    @property
    def speed(self) -> float:
        """The speed of the replay."""
        ...

    @property
    def paused(self) -> bool:
        """Whether it is held."""
        ...

    def take(self, now: float) -> Reading | float:
        """The reading that is due, or the seconds until one may be; infinity: until it calls."""
        ...

    def set_speed(self, speed: float, now: float) -> None:
        """Raises UsageError."""
        ...

    def pause(self) -> None:
        """Hold it."""
        ...

    def resume(self, now: float) -> None:
        """Go on."""
        ...

    def progress(self, now: float) -> dict[str, Any]:
        """What it adds to the report's progress."""
        ...

    def close(self) -> None:
        """Let go of what is open."""
        ...


def open_feed(settings: Settings, folder: Path, wake: Callable[[], None], now: float) -> Feed:
    """The feed of these settings. Raises UsageError, DataError, EnvironmentProblem."""
    if settings.live:
        from simulator_car.livebus import LiveBus

        return LiveBus(settings, folder, wake)
    return Replay(load(settings, folder), settings.rate, now)


def prepare(
    feed: Feed, before: Settings, after: Settings, *, folder: Path, wake: Callable[[], None], now: float
) -> Callable[[float], Feed]:
    """Get ready what a change of settings needs; what comes back makes the change, at a moment, and gives the feed.

    Reading a file takes time, and the drive need not wait for it. Raises as `open_feed` does, and then nothing has
    changed.
    """
    if before.feed == after.feed:
        if before.rate == after.rate:
            return lambda _: feed
        return _another_rate(feed, after, folder)
    opened = open_feed(after, folder, wake, now)

    def change(moment: float) -> Feed:
        if isinstance(opened, Replay) and isinstance(feed, Replay):
            opened.set_speed(feed.speed, moment)
        if feed.paused:
            opened.pause()
        return opened

    return change


def _another_rate(feed: Feed, after: Settings, folder: Path) -> Callable[[float], Feed]:
    if isinstance(feed, Replay):
        recorded = load(after, folder) if after.resample or after.log is not None else None
        replay = feed

        def change(moment: float) -> Feed:
            replay.set_rate(after.rate, moment, recorded)
            return replay

        return change
    from simulator_car.livebus import LiveBus
    from simulator_car.signals import Signals

    Signals(after, folder)  # raises where this bus does not give so many
    assert isinstance(feed, LiveBus)
    feed.set_rate(after.rate)
    return lambda _: feed
