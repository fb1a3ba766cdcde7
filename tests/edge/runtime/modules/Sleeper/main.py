"""A module that does nothing, and ends when it is told to."""

import signal

print("asleep", flush=True)
signal.sigwait({signal.SIGTERM})
