"""Waiting for what a hub in another process does in its own time."""

import time


def until(holds, seconds=30.0):
    """What `holds` answers as soon as that is true; asked again and again, and the last answer shown if it never is."""
    deadline = time.monotonic() + seconds
    while not (answer := holds()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s; the last answer was {answer!r}"
        time.sleep(0.02)
    return answer
