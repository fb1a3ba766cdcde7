"""A process whose files may not grow: fills its queues, drains them, and tells what happened, as JSON.

Started by test_store_full_disk.py with a folder, and how many bytes the log may grow from where it is.
"""

import json
import resource
import sys
from pathlib import Path

from edge_shelf import Instant, Shelf


def room(size):
    """No file may grow beyond `size` bytes from now on; None for any size."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard if size is None else size, hard))


def main(folder, margin):
    shelf = Shelf(folder)
    accepted = 0

    def put():
        (error,) = shelf.put(f"{accepted:06d}" + "x" * 20_000)
        return error

    while accepted < 51:
        assert put() is None
        accepted += 1
    room(Path(f"{shelf.path}-wal").stat().st_size + margin)
    refused = 0
    while refused < 3:
        if put() is None:
            accepted += 1
        else:
            refused += 1
    outlet = Instant()
    pump = shelf.pump(outlet)
    pump.wake()
    shelf.turns.run()
    shelf.tick()
    left = shelf.rows()
    again = put()
    room(None)
    after = put()
    shelf.store.close()
    told = {
        "accepted": accepted,
        "refused": refused,
        "delivered": [int(body[:6]) for body in outlet.sent[:accepted]],
        "left": left,
        "again": str(again),
        "after": str(after),
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
