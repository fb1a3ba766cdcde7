"""The process of a module, in a process of its own."""

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import logging, signal, sys, threading
from iotedge_lab.car.device import program

class Module:
    def start(self):
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        # Now only that other thread can take a signal: what else is a matter of chance.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        print("started", flush=True)
        if "broken" in sys.argv:
            threading.Thread(target=program.guarded(lambda: 1 / 0, self.failed, log)).start()

    def stop(self):
        print("stopped", flush=True)

def make(settings, failed):
    made = Module()
    made.failed = failed
    return made

def read(environment):
    if "wrong" in sys.argv:
        raise ValueError("SPEED is 'fast'; a number belongs there")
    return {}

log = logging.getLogger("module")
program.check_environment = lambda environment: None
sys.exit(program.run(log, read, make))
"""


def started(*words):
    """The program, running."""
    return subprocess.Popen([sys.executable, "-c", PROGRAM, *words], stdout=subprocess.PIPE, text=True)


def until(process, word):
    """The line with that word."""
    return next(line for line in process.stdout if word in line)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_another_thread_takes(number):
    """It ends the module all the same."""
    with started() as process:
        until(process, "started")
        process.send_signal(number)
        assert until(process, "stopped")
        assert process.wait(30) == 0


def test_an_error_of_its_own():
    """It is in the log, and the process ends with 1, so that the edge agent starts it again."""
    with started("broken") as process:
        assert "[ERR] The module cannot go on" in until(process, "cannot go on")
        assert until(process, "ZeroDivisionError")
        assert until(process, "stopped")
        assert process.wait(30) == 1


def test_a_setting_that_cannot_be_used():
    """The log says which, and the process ends with 2."""
    with started("wrong") as process:
        assert "SPEED is 'fast'" in until(process, "SPEED")
        assert process.wait(30) == 2
