"""Encoding and decoding a drive's CAN frames, beside cantools alone: `python -m benchmarks can`.

cantools alone: `Message.encode` of values that are at hand and `Database.decode_message`, as its documentation shows
them. Ours does more: from rows to frames at their cycle times, with all values between the rows worked out, and from
frames to rows at 1 Hz with counts and staleness. The rounds alternate, so what else the machine does meets both; the
ratio is the median of the rounds' own.
"""

from __future__ import annotations

import time
from collections import Counter
from itertools import islice
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.setting import Row
from iotedge_lab.car import drives
from iotedge_lab.car.can import database
from iotedge_lab.car.can.codec import layouts
from iotedge_lab.car.can.encoder import frames
from iotedge_lab.car.can.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.setting import Setting

NAME = "can"
TITLE = "The car's CAN frames, beside cantools alone"
LEAST = 0.8


def timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def compared(
    what: str, count: int, rounds: int, ours: Callable[[], object], theirs: Callable[[], object]
) -> Row:
    """One line of the report: a rate of ours, and what it is of cantools'."""
    pairs = [(timed(ours), timed(theirs)) for _ in range(rounds)]
    ratio = median(other / own for own, other in pairs)
    rate, beside = (count / median(column) for column in zip(*pairs, strict=True))
    return Row(
        what,
        rate,
        "frames/s",
        target=f">= {LEAST:g} of cantools",
        met=ratio >= LEAST,
        note=f"{ratio:.2f} of cantools, which made {beside:,.0f}; {rounds} rounds by turns",
    )


def run(setting: Setting, say: Callable[[str], None]) -> list[Row]:
    """Six races; AssertionError unless both sides make the same bytes and the same values."""
    rounds = setting.count(7, 3)
    rows = list(islice(drives.rows(drives.drive_path("city-01")), setting.count(1201, 201)))
    car = database.load()
    sent = list(frames(rows, car))
    known = layouts(car)
    by_number = {message.frame_id: message for message in car.messages}
    named = [
        (by_number[each.arbitration_id], car.decode_message(each.arbitration_id, each.data)) for each in sent
    ]
    plain = [
        (known[each.arbitration_id], known[each.arbitration_id].unpack(each.data) or [], each)
        for each in sent
    ]
    clipped: Counter[str] = Counter()
    # Both sides make the same bytes and the same values, or the race means nothing.
    assert [message.encode(values) for message, values in named] == [each.data for each in sent]
    assert [layout.pack(values, clipped) for layout, values, _ in plain] == [each.data for each in sent]

    def encode_theirs() -> None:
        for message, values in named:
            message.encode(values)

    def encode_unchecked() -> None:
        for message, values in named:
            message.encode(values, strict=False)

    def decode_theirs() -> None:
        for each in sent:
            car.decode_message(each.arbitration_id, each.data)

    def decode_numbers() -> None:
        for each in sent:
            by_number[each.arbitration_id].decode(each.data, decode_choices=False)

    def pack() -> None:
        for layout, values, _ in plain:
            layout.pack(values, clipped)

    def unpack() -> None:
        for layout, _, each in plain:
            layout.unpack(each.data)

    def drive() -> None:
        for _ in frames(rows, car):
            pass

    def read() -> None:
        for _ in Reader(car).rows(sent):
            pass

    races = (
        ("Codec: encode", pack, encode_theirs),
        ("Codec: decode", unpack, decode_theirs),
        ("Rows to frames, whole", drive, encode_theirs),
        ("Rows to frames, cantools with strict=False", drive, encode_unchecked),
        ("Frames to rows at 1 Hz, whole", read, decode_theirs),
        ("Frames to rows at 1 Hz, cantools without value names", read, decode_numbers),
    )
    results = [compared(what, len(sent), rounds, ours, theirs) for what, ours, theirs in races]
    say(f"{len(sent):,} frames of {rows[-1].seconds:g} s of driving")
    return results
