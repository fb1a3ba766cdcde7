"""Where the time of a frame goes: a stopwatch by step, and bars against what one frame of 24 a second may take.

    watch = budget.Stopwatch()
    for frame in watch.each("read", read_video(path)):
        with watch("look"):
            detector.detect(frame.image)
        watch.next_frame()
    budget.bars({"a typical frame": watch.typical(), "one of the slowest": watch.slow()})

Times are in milliseconds. They are this machine's, and differ from run to run.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from iotedge_lab.errors import DataError, UsageError
from iotedge_lab.show.picture import Picture, figure, picture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

Item = TypeVar("Item")

FPS: Final = 24.0
SLOW: Final = 0.99
"""The share of frames that are faster than `slow`."""


class Stopwatch:
    """Times of named steps, frame by frame. The same step may come again within a frame: its times add up.

    `frames` counts the frames that have been ended by `next_frame`.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        """`now`: seconds of a clock that never goes back."""
        self._now = now
        self._open: dict[str, float] = {}
        self._frames: list[dict[str, float]] = []

    @property
    def frames(self) -> int:
        """How many frames have been ended."""
        return len(self._frames)

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        """Time what is done within. What is left by an exception counts as well."""
        begin = self._now()
        try:
            yield
        finally:
            self._open[step] = self._open.get(step, 0.0) + (self._now() - begin) * 1000.0

    def add(self, step: str, milliseconds: float) -> None:
        """A time that somebody else has taken. Raises `UsageError` for one below 0."""
        if milliseconds < 0.0:
            raise UsageError(
                f"{step} cannot have taken {milliseconds:g} ms; hand over a time that has passed"
            )
        self._open[step] = self._open.get(step, 0.0) + milliseconds

    def add_seconds(self, spent: Mapping[str, float]) -> None:
        """Times by step in seconds, such as `iotedge_lab.camera.looking.Look.spent`. Raises `UsageError`."""
        for step, seconds in spent.items():
            self.add(step, seconds * 1000.0)

    def each(self, step: str, items: Iterable[Item]) -> Iterator[Item]:
        """The items as they come; the time that each took to come counts as that step."""
        coming = iter(items)
        while True:
            with self(step):
                try:
                    item = next(coming)
                except StopIteration:
                    break
            yield item
        self._open.pop(step, None)  # finding that there is no more is no step of a frame

    def next_frame(self) -> None:
        """End a frame; the next one begins."""
        self._frames.append(self._open)
        self._open = {}

    def typical(self) -> dict[str, float]:
        """The steps of the frame in the middle when all are put in order of their whole time. Raises `DataError`."""
        return self._at(0.5)

    def slow(self) -> dict[str, float]:
        """The steps of the frame that 99 of 100 do not exceed. Raises `DataError` before the first frame."""
        return self._at(SLOW)

    def _at(self, share: float) -> dict[str, float]:
        if not self._frames:
            raise DataError("no frame has been timed yet; call next_frame() at the end of each")
        ordered = sorted(self._frames, key=lambda each: sum(each.values()))
        return dict(ordered[min(len(ordered) - 1, int(share * len(ordered)))])


def bars(rows: Mapping[str, Mapping[str, float]], *, fps: float = FPS) -> Picture:
    """A bar a row, made of its steps in ms, with a line where the next frame comes at `fps` frames a second.

    Steps of the same name have the same colour. Raises `DataError` without a row or a step, `UsageError` for a
    time below 0 or a rate that makes no sense.
    """
    steps = list(dict.fromkeys(step for row in rows.values() for step in row))
    if not steps:
        raise DataError("there is no step to draw; time some frames first")
    if not 0.0 < fps <= 1000.0:
        raise UsageError(f"a video has from above 0 to 1000 frames a second, not {fps:g}")
    if any(taken < 0.0 for row in rows.values() for taken in row.values()):
        raise UsageError("a step cannot take less than 0 ms")
    limit = 1000.0 / fps
    found = []
    with figure(height=1.5 + 0.5 * len(rows)) as drawn:
        axes = drawn.subplots()
        names = list(rows)
        ends = [0.0] * len(names)
        for step in steps:
            widths = [rows[name].get(step, 0.0) for name in names]
            axes.barh(names, widths, left=ends, height=0.6, label=step, edgecolor="white", linewidth=0.5)
            ends = [end + width for end, width in zip(ends, widths, strict=True)]
        for number, (name, end) in enumerate(zip(names, ends, strict=True)):
            axes.annotate(f"{end:.1f} ms", (end, number), xytext=(5, -3), textcoords="offset points")
            longest = max(rows[name], key=rows[name].__getitem__)
            where = "within" if end <= limit else "beyond"
            found.append(f"{name} takes {end:.1f} ms, most of it for {longest}, {where} the limit")
        axes.axvline(limit, color="black", linestyle="--", linewidth=1.2)
        axes.set(xlabel="time (ms)", ylabel="", xlim=(0, 1.15 * max(*ends, limit)))
        axes.set_title(f"Dashed: at {fps:g} frames a second the next one comes after {limit:.1f} ms",
                       fontsize=9.5, loc="left")  # fmt: skip
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        drawn.legend(loc="outside lower center", ncols=min(5, len(steps)))
        return picture(drawn, f"Bars: {'; '.join(found)} of {limit:.1f} ms.")
