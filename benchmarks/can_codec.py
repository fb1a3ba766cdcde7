"""Encoding and decoding a drive's CAN frames, beside cantools alone: python benchmarks/can_codec.py [--quick]

cantools alone: `Message.encode` of values that are at hand and `Database.decode_message`, as its documentation shows
them. Ours does more: from rows to frames at their cycle times, with all values between the rows worked out, and from
frames to rows at 1 Hz with counts and staleness. The rounds alternate, so what else the machine does meets both; the
ratio is the median of the rounds' own.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from itertools import islice
from statistics import median
from typing import TYPE_CHECKING

from iotedge_lab.car import drives
from iotedge_lab.car.can import database
from iotedge_lab.car.can.codec import layouts
from iotedge_lab.car.can.encoder import frames
from iotedge_lab.car.can.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Callable

LEAST = 0.8


def timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def compared(
    what: str, count: int, rounds: int, ours: Callable[[], object], theirs: Callable[[], object]
) -> tuple[str, bool]:
    """One line of the table, and whether it meets the target."""
    pairs = [(timed(ours), timed(theirs)) for _ in range(rounds)]
    ratio = median(other / own for own, other in pairs)
    rates = [count / median(column) for column in zip(*pairs, strict=True)]
    line = f"| {what} | {rates[0]:,.0f} | {rates[1]:,.0f} | {ratio:.2f} | >= {LEAST} |"
    return line, ratio >= LEAST


def main() -> int:
    quick = "--quick" in sys.argv[1:]
    rounds = 3 if quick else 7
    rows = list(islice(drives.rows(drives.drive_path("city-01")), 201 if quick else 1201))
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
        ("codec: encode", pack, encode_theirs),
        ("codec: decode", unpack, decode_theirs),
        ("rows to frames, whole", drive, encode_theirs),
        ("the same, cantools with strict=False", drive, encode_unchecked),
        ("frames to rows at 1 Hz, whole", read, decode_theirs),
        ("the same, cantools without value names", read, decode_numbers),
    )
    print(f"{len(sent):,} frames of {rows[-1].seconds:g} s of driving, {rounds} rounds")
    print("| frames a second | ours | cantools | ratio | target |")
    print("|---|---|---|---|---|")
    met = True
    for what, ours, theirs in races:
        line, good = compared(what, len(sent), rounds, ours, theirs)
        print(line)
        met &= good
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
