"""A process that lets 100,000 parcels of 1 KB wait and drains them; tells its memory, as JSON.

Started by test_store_memory.py with a folder.
"""

import json
import resource
import sys
from pathlib import Path

from edge_shelf import OTHER, UP, Shelf, Taker

from iotedge_lab.clock import SystemClock
from iotedge_lab.edge.store import Entry

COUNT = 100_000


def most():
    """The most memory that this process has had so far, in MB."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def main(folder):
    shelf = Shelf(folder, SystemClock())
    told = []
    before = most()
    for begin in range(0, COUNT, 100):
        shelf.queues.put(
            [
                Entry((UP, OTHER)[n % 2], n % 3, "", b"%07d" % n + b"x" * 1017, 7200.0)
                for n in range(begin, begin + 100)
            ],
            told.append,
        )
        shelf.turns.run()
    assert told == [None] * (COUNT // 100)
    full = most()
    shelf.reopen()
    lengths = sum(one.length for one in shelf.queues.figures())
    got = 0
    last = {}
    takers = [Taker(), Taker()]
    for lane, taker in zip((UP, OTHER), takers, strict=True):
        shelf.pump(taker, lane).wake()
    while any(taker.waiting for taker in takers):
        for index, taker in enumerate(takers):
            for body in taker.acknowledge():
                number = int(body[:7])
                assert number > last.get((index, number % 3), -1)
                last[(index, number % 3)] = number
                got += 1
            taker.take()
        shelf.turns.run()
    shelf.tick()
    told = {
        "before": before,
        "full": full,
        "drained": most(),
        "lengths": lengths,
        "got": got,
        "left": shelf.rows(),
    }
    shelf.store.close()
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
