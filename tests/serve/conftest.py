"""What the tests of the sockets share: each asynchronous test runs on asyncio's loop and on uvloop."""

import asyncio
import contextlib
import ssl

import pytest

from iotedge_lab.clock import SystemClock
from iotedge_lab.serve.certificates import Authority
from iotedge_lab.serve.listener import Listener
from iotedge_lab.serve.sniffing import Handlers


def pytest_asyncio_loop_factories(config, item):
    """Both loops, where uvloop installs."""
    factories = {"asyncio": asyncio.SelectorEventLoop}
    with contextlib.suppress(ImportError):
        import uvloop

        factories["uvloop"] = uvloop.new_event_loop
    return factories


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """One authority for all tests: making it is tested elsewhere."""
    return Authority.open(tmp_path_factory.mktemp("state") / "certificates", SystemClock())


@pytest.fixture(scope="session")
def server_tls(authority):
    """The server's TLS settings."""
    return authority.server_context()


@pytest.fixture(scope="session")
def client_tls(authority):
    """A client that trusts the lab, and checks as strictly as Python 3.13 does."""
    context = ssl.create_default_context(cadata=authority.ca_pem)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


class Recorder(asyncio.Protocol):
    """A handler that keeps what comes and sends it back, with its own name before it."""

    def __init__(self, kind, info, made):
        self.kind = kind
        self.info = info
        self.received = b""
        self.calls = []
        self.lost = asyncio.get_running_loop().create_future()
        made.append(self)

    def connection_made(self, transport):
        self.transport = transport
        self.calls.append("made")

    def data_received(self, data):
        self.received += data
        self.calls.append("data")
        self.transport.write(self.kind + b":" + data)

    def pause_writing(self):
        self.calls.append("pause")

    def resume_writing(self):
        self.calls.append("resume")

    def eof_received(self):
        self.calls.append("eof")

    def connection_lost(self, exc):
        self.calls.append("lost")
        self.lost.set_result(exc)


@pytest.fixture
def made():
    """The recorders that were made, in order."""
    return []


@pytest.fixture
def handlers(made):
    """A recorder for each protocol."""
    return Handlers(
        amqp=lambda info: Recorder(b"amqp", info, made),
        mqtt=lambda info: Recorder(b"mqtt", info, made),
        http=lambda info: Recorder(b"http", info, made),
    )


class ByHand:
    """A loop as a listener sees it, whose time and timers a test moves on; all else is the loop's own."""

    def __init__(self, loop):
        self._loop = loop
        self._now = loop.time()
        self._timers = []

    def __getattr__(self, name):
        return getattr(self._loop, name)

    def time(self):
        return self._now

    def call_later(self, delay, callback, *args):
        return self.call_at(self._now + delay, callback, *args)

    def call_at(self, when, callback, *args):
        timer = asyncio.TimerHandle(when, callback, args, self)
        self._timers.append(timer)
        return timer

    def _timer_handle_cancelled(self, timer):
        """Called by `TimerHandle.cancel`; `forward` leaves it out."""

    def forward(self, seconds):
        """Let time pass, and call what falls due in it, in its order."""
        end = self._now + seconds
        while due := [each for each in self._timers if each.when() <= end]:
            first = min(due, key=asyncio.TimerHandle.when)
            self._timers.remove(first)
            self._now = max(self._now, first.when())
            if not first.cancelled():
                first._run()
        self._now = end


@pytest.fixture
def listening(server_tls, handlers):
    """`async with listening(...) as (listener, port)`: a listener on `where`, a free port of 127.0.0.1.

    With `by_hand` its time stands still, and `listener._loop.forward(seconds)` moves it on.
    """

    @contextlib.asynccontextmanager
    async def serve(*, tls=server_tls, serving=handlers, by_hand=False, where=("127.0.0.1", 0), **options):
        listener = Listener(tls, serving, **options)
        await listener.start([where])
        if by_hand:
            listener._loop = ByHand(listener._loop)
        try:
            yield listener, listener.addresses[0][1]
        finally:
            await listener.close()

    return serve


@pytest.fixture
async def connect(client_tls):
    """`reader, writer = await connect(port, tls=True)`; closed at the end of the test."""
    writers = []

    async def open_connection(port, *, host="127.0.0.1", tls=False, **options):
        if tls:
            options.setdefault("ssl", client_tls)
        reader, writer = await asyncio.open_connection(host, port, **options)
        writers.append(writer)
        return reader, writer

    yield open_connection
    for writer in writers:
        writer.transport.abort()
    for writer in writers:
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def until(condition, *, seconds=30.0):
    """Let the loop turn until `condition()` holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  (what is waited for sets no event)
            await asyncio.sleep(0.001)


@pytest.fixture(name="until")
def _until():
    """`await until(lambda: ...)`, for what no event tells."""
    return until
