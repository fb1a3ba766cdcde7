"""A server that is started by its first connection."""

import asyncio
import contextlib
import os
import signal

import pytest

from iotedge_lab.clock import FakeClock, SystemClock
from iotedge_lab.serve.activation import Activation, bind_kept
from iotedge_lab.serve.addresses import listen

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sockets are inherited on POSIX alone")

# Answers each connection with its process id; `never` says that it cannot start.
SERVER = """
import json, os, socket, sys, threading
if sys.argv[1] == "never":
    print("noise"); print(json.dumps({"error": "LabError", "message": "no disk"}), flush=True); sys.exit(1)
listening = socket.socket(fileno=int(sys.argv[sys.argv.index("--descriptor") + 1]))
listening.setblocking(True)
print(json.dumps({"ready": True}), flush=True)
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
while True:
    peer, _ = listening.accept()
    peer.sendall(str(os.getpid()).encode()); peer.close()
"""


@contextlib.asynccontextmanager
async def activation(how="serve"):
    [listening] = listen("127.0.0.1", 0)
    made = Activation("the server", ("-c", SERVER, how), listening)
    made.start()
    try:
        yield made
    finally:
        await made.close()


async def ask(port):
    """What the server says; '' if it hangs up without a word."""
    async with asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            return (await reader.read()).decode()
        except ConnectionResetError:
            return ""
        finally:
            writer.close()


async def test_the_first_connection_starts_it():
    """Nobody runs before; then one process serves all; the port is free at the end."""
    async with activation() as made:
        assert made.pid is None
        first = await ask(made.port)
        assert first == str(made.pid) == await ask(made.port)
    with pytest.raises(ProcessLookupError):
        os.kill(int(first), 0)
    listen("127.0.0.1", made.port)[0].close()
    await made.close()


async def test_one_that_is_killed_comes_back():
    """With the next connection, which is not lost."""
    async with activation() as made:
        first = await ask(made.port)
        os.kill(int(first), signal.SIGKILL)
        while made.pid == int(first):  # noqa: ASYNC110 - the end of another process is no event here
            await asyncio.sleep(0.01)
        second = await ask(made.port)
        assert second == str(made.pid) != first


async def test_one_that_cannot_start(caplog):
    """The reason stands in the log, and clients are not left waiting."""
    async with activation("never") as made:
        assert await ask(made.port) == ""
        assert made.pid is None
    assert "the server did not start: no disk" in caplog.text


async def test_the_kept_port_is_taken_again_once_it_is_free():
    """While an earlier server holds it, it is waited for; a stranger's port is given up."""
    [held] = listen("127.0.0.1", 0)
    port = held.getsockname()[1]
    asked = []

    def still_held():
        asked.append(1)
        if len(asked) == 3:
            held.close()
        return True

    mine = await bind_kept("127.0.0.1", port, range(20_000, 32_000), SystemClock(), still_held)
    assert mine.getsockname()[1] == port
    other = await bind_kept("127.0.0.1", port, range(20_000, 32_000), SystemClock(), lambda: False)
    assert other.getsockname()[1] in range(20_000, 32_000)
    for each in (mine, other):
        each.close()


async def test_no_port_is_free():
    """None then, and the hub does without."""
    [held] = listen("127.0.0.1", 0)
    port = held.getsockname()[1]
    assert await bind_kept("127.0.0.1", 0, range(port, port + 1), FakeClock(), lambda: False) is None
    held.close()
