"""A process that puts and delivers as fast as it can, until it is killed. Started by test_store_kills.py.

Writes a line to its standard output for each thing it promises or does, in one `write` each, so that a kill cuts no
line in two:

    A lane priority number    this message is stored: its sender was told
    D lane priority number    this message has been delivered (before its acknowledgement is worked on)

Arguments: the folder, the number to begin with, a seed.
"""

import asyncio
import os
import random
import sys
from pathlib import Path

from edge_shelf import INPUT, OTHER, UP

from iotedge_lab.clock import SystemClock
from iotedge_lab.edge.store import EdgeStore, Entry, Pump, Queues

LANES = (UP, OTHER, INPUT)
PRIORITIES = (0, 5, 2_000_000_000)
AHEAD = 400  # unacknowledged or undelivered: the writer waits


def say(word, bodies):
    if bodies:
        os.write(1, b"".join(b"%s %s\n" % (word, body.split(b"|")[0]) for body in bodies))


class Receiver:
    """Acknowledges later, some at a time; says what it got."""

    def __init__(self, loop, dice):
        self.loop = loop
        self.dice = dice
        self.waiting = []
        self.got = 0
        self.scheduled = False

    def send(self, parcel, done):
        if len(self.waiting) >= 50:
            return False
        self.waiting.append((parcel.body, done))
        if not self.scheduled:
            self.scheduled = True
            self.loop.call_soon(self.acknowledge)
        return True

    def acknowledge(self):
        self.scheduled = False
        if not self.waiting:  # lost meanwhile
            return
        count = self.dice.randint(1, len(self.waiting))
        now, self.waiting = self.waiting[:count], self.waiting[count:]
        say(b"D", [body for body, _ in now])
        self.got += count
        for _, done in now:
            done()
        if self.waiting and not self.scheduled:
            self.scheduled = True
            self.loop.call_soon(self.acknowledge)


async def main(folder, begin, seed):
    dice = random.Random(seed)
    loop = asyncio.get_running_loop()
    store = EdgeStore(folder / "edge.db", checkpoint_pages=64)  # many checkpoints: they are to be killed too
    store.attach_loop(loop.call_soon)
    queues = Queues(store, SystemClock())
    receivers = {lane: Receiver(loop, dice) for lane in LANES}
    pumps = [Pump(queues, lane, receiver, window=64) for lane, receiver in receivers.items()]
    os.write(1, b"R\n")
    number = begin
    told = 0
    while True:
        for _ in range(dice.randint(1, 6)):  # several senders in one turn
            bodies = []
            entries = []
            for _ in range(dice.randint(1, 8)):
                lane, priority = dice.randrange(3), dice.randrange(3)
                bodies.append(b"%d %d %d" % (lane, priority, number))
                number += 1
                body = bodies[-1] + b"|" + b"x" * dice.choice((0, 10, 1000, 9000))
                entries.append(Entry(LANES[lane], PRIORITIES[priority], "", body, 7200.0))

            def done(error, bodies=tuple(bodies)):
                nonlocal told
                assert error is None, error
                told += len(bodies)
                say(b"A", bodies)

            queues.put(entries, done)
        if dice.random() < 0.3:
            dice.choice(pumps).wake()
        if dice.random() < 0.05:
            lane = dice.choice(LANES)
            receivers[lane].waiting.clear()
            pumps[LANES.index(lane)].lost()
        if dice.random() < 0.05:
            queues.tick()
        await asyncio.sleep(0)
        while sum(map(queues.length, LANES)) > AHEAD:  # do not run away from the pumps
            for pump in pumps:
                pump.wake()
            await asyncio.sleep(0)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
