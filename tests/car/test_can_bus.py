"""The bus carries each frame to every other participant, within a process and between processes, and survives them."""

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import can
import pytest

from iotedge_lab.car.can import hub
from iotedge_lab.car.can.buses import open_bus
from iotedge_lab.car.can.hub import LONGEST_NAME, LONGEST_PATH
from iotedge_lab.car.can.socket_bus import FileLock, SocketBus
from iotedge_lab.errors import EnvironmentProblem, UsageError

PATIENCE = 10.0  # s that a test waits for what must come

# A participant in a process of its own: answers frame 0x100 with 0x200 + its number, ends at 0x7FF.
PEER = """
import sys
import can
from iotedge_lab.car.can.socket_bus import SocketBus
bus = SocketBus(sys.argv[1])
print("serves" if bus.serves else "joined", flush=True)
while True:
    heard = bus.recv(1.0)
    if heard is None:
        continue
    if heard.arbitration_id == 0x7FF:
        break
    if heard.arbitration_id == 0x100:
        bus.send(can.Message(arbitration_id=0x200 + int(sys.argv[2]), data=heard.data, is_extended_id=False))
bus.shutdown()
print("left", flush=True)
"""


def frame(number=0x100, data=b"\x01\x02"):
    return can.Message(arbitration_id=number, data=data, is_extended_id=False)


@pytest.fixture
def place(tmp_path):
    tmp_path.chmod(0o700)
    return tmp_path / "car-1"


@pytest.fixture
def peers(place):
    started = []

    def start(number, path=place):
        process = subprocess.Popen(
            [sys.executable, "-c", PEER, str(path), str(number)], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        process.role = process.stdout.readline().strip()
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def heard(bus, count, patience=PATIENCE):
    """The next `count` frames."""
    end = time.monotonic() + patience
    found = []
    while len(found) < count:
        message = bus.recv(max(0.0, end - time.monotonic()))
        assert message is not None, f"only {len(found)} of {count} frames came"
        found.append(message)
    return found


def answered(bus, numbers):
    """Ask until every one of these peers has answered in one round."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        bus.send(frame())
        seen = set()
        while (message := bus.recv(0.2)) is not None:
            seen.add(message.arbitration_id - 0x200)
            if seen == set(numbers):
                return
    pytest.fail(f"peers {numbers} did not answer")


ADDRESSES = {"virtual": lambda path: "virtual:a-test", "unix": lambda path: f"unix:{path}"}


@pytest.mark.parametrize("kind", ADDRESSES)
def test_every_other_participant_gets_each_frame_in_order(kind, place):
    """Frames of all kinds reach all others unchanged, in order, and not their sender."""
    address = ADDRESSES[kind](place)
    sent = [
        can.Message(arbitration_id=0x7FF, data=b"", is_extended_id=False),
        can.Message(arbitration_id=0x1FFFFFFF, data=bytes(range(8)), is_extended_id=True),
        can.Message(arbitration_id=5, dlc=3, is_remote_frame=True, is_extended_id=False),
        *(frame(number, bytes([number])) for number in range(200)),
    ]
    with open_bus(address) as one, open_bus(address) as two, open_bus(address) as three:
        for message in sent:
            one.send(message)
        for bus in (two, three):
            got = heard(bus, len(sent))
            assert all(
                a.equals(b, timestamp_delta=None, check_channel=False, check_direction=False)
                for a, b in zip(got, sent, strict=True)
            )
            assert all(abs(message.timestamp - time.time()) < 60 for message in got)
            assert all(message.is_rx for message in got)
        two.send(frame(1))
        assert heard(one, 1)[0].arbitration_id == 1
        assert one.recv(0) is None


@pytest.mark.parametrize("kind", ADDRESSES)
def test_timestamps_and_own_frames_are_kept_when_asked(kind, place):
    """`preserve_timestamps` keeps the given times, `receive_own_messages` gives a sender its own frames."""
    address = ADDRESSES[kind](place)
    with (
        open_bus(address, preserve_timestamps=True, receive_own_messages=True) as one,
        open_bus(address) as two,
    ):
        message = frame()
        message.timestamp = 12.25
        one.send(message)
        assert heard(two, 1)[0].timestamp == 12.25
        own = heard(one, 1)[0]
        assert (own.timestamp, own.is_rx) == (12.25, False)


def test_python_can_finds_the_interface_by_its_name(place):
    """`can.Bus(interface="iotedge_lab")` opens it, with python-can's filters and its Notifier."""
    filters = [{"can_id": 0x10, "can_mask": 0x7F0}]
    with (
        can.Bus(interface="iotedge_lab", channel=str(place), can_filters=filters) as one,
        can.Bus(interface="iotedge_lab", channel=str(place)) as two,
    ):
        assert isinstance(one, SocketBus)
        came = threading.Event()
        got = []

        def listen(message):
            got.append(message.arbitration_id)
            if message.arbitration_id == 0x1F:
                came.set()

        notifier = can.Notifier(one, [listen], timeout=0.1)
        for number in (0x20, 0x11, 0x30, 0x1F):
            two.send(frame(number))
        assert came.wait(PATIENCE)
        notifier.stop()
        assert got == [0x11, 0x1F]


def test_processes_share_a_bus(place, peers):
    """Two other processes and this one hear each other; leaving is clean."""
    first, second = peers(1), peers(2)
    assert (first.role, second.role) == ("serves", "joined")
    with open_bus(f"unix:{place}") as bus:
        answered(bus, [1, 2])
        bus.send(frame(0x7FF))
        assert first.stdout.readline() == "left\n"
        assert second.stdout.readline() == "left\n"
        assert (first.wait(PATIENCE), second.wait(PATIENCE)) == (0, 0)
    assert not place.exists()


def test_two_cars_do_not_mix(place, peers):
    """Another path is another bus: no frame crosses."""
    other = place.with_name("car-2")
    peers(1), peers(2, other)
    with open_bus(f"unix:{place}") as mine, open_bus(f"unix:{other}") as yours:
        answered(mine, [1])
        answered(yours, [2])
        mine.send(frame(0x300))
        mine.send(frame())
        yours.send(frame())
        assert [message.arbitration_id for message in heard(mine, 1)] == [0x201]
        assert [message.arbitration_id for message in heard(yours, 1)] == [0x202]


def test_a_killed_participant_harms_nobody(place, peers):
    """One that is killed is gone; the others go on."""
    with open_bus(f"unix:{place}") as bus:
        victim, survivor = peers(1), peers(2)
        answered(bus, [1, 2])
        victim.kill()
        victim.wait()
        answered(bus, [2])
        assert survivor.poll() is None


def test_when_the_serving_process_is_killed_another_serves(place, peers):
    """The bus outlives the process that began it: the rest find each other again, at the same path."""
    server, survivor = peers(1), peers(2)
    assert server.role == "serves"
    with open_bus(f"unix:{place}") as bus:
        answered(bus, [1, 2])
        server.kill()
        server.wait()
        answered(bus, [2])
        assert bus.rejoined == 1
        assert peers(3).role == "joined"
        answered(bus, [2, 3])
        assert survivor.poll() is None


def test_the_first_may_leave_first(place):
    """The participant that serves shuts down: what it sent arrives, the others go on among themselves."""
    one, two, three = (open_bus(f"unix:{place}") for _ in range(3))
    assert one.serves
    for number in range(1000):
        one.send(frame(0x55, number.to_bytes(2, "little")))
    one.shutdown()
    for bus in (two, three):
        assert [int.from_bytes(message.data, "little") for message in heard(bus, 1000)] == list(range(1000))
    assert two.recv(0) is None
    assert three.recv(0) is None
    three.send(frame(0x66))
    assert heard(two, 1)[0].arbitration_id == 0x66
    two.shutdown()
    three.shutdown()


def test_a_socket_that_a_killed_process_left_is_replaced(place):
    """A stale socket file does not stand in the way."""
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(place))
    left.close()
    assert place.exists()
    with open_bus(f"unix:{place}") as one, open_bus(f"unix:{place}") as two:
        one.send(frame())
        heard(two, 1)


def test_many_begin_at_once(place):
    """However many open the path in one moment, one serves and all are on the same bus."""
    buses = []
    threads = [threading.Thread(target=lambda: buses.append(SocketBus(place))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(bus.serves for bus in buses) == 1
    buses[0].send(frame())
    for bus in buses[1:]:
        heard(bus, 1)
    for bus in buses:
        bus.shutdown()


def test_who_does_not_read_misses_frames_and_is_told(place):
    """A slow reader's queue is bounded: it gets the oldest, and a count of what it missed; others get all."""
    with SocketBus(place) as sender, SocketBus(place) as slow:
        sent = 0
        while sent < 30_000:
            for _ in range(500):
                sender.send(frame(0x55, sent.to_bytes(3, "little")))
                sent += 1
        end = time.monotonic() + PATIENCE
        got = []
        while len(got) + slow.missed < sent and time.monotonic() < end:
            message = slow.recv(0.1)
            if message is not None:
                got.append(int.from_bytes(message.data, "little"))
        assert len(got) + slow.missed == sent
        assert slow.missed > 1000
        assert got[: hub.QUEUE] == list(range(hub.QUEUE))
        assert got == sorted(set(got))
        assert sender.missed == 0


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs SIGSTOP")
def test_a_stalled_bus_is_an_error_in_time(place, peers):
    """Where the serving process is stopped, sending fails with ENOBUFS after the given time; then it goes on."""
    server = peers(1)
    with SocketBus(place) as bus:
        answered(bus, [1])
        os.kill(server.pid, signal.SIGSTOP)
        try:
            with pytest.raises(can.CanOperationError, match="takes no frames") as caught:
                for _ in range(100_000):
                    bus.send(frame(0x55), timeout=0.01)
            assert caught.value.error_code == errno.ENOBUFS
        finally:
            os.kill(server.pid, signal.SIGCONT)
        bus.send(frame(), timeout=PATIENCE)
        assert heard(bus, 1)[0].arbitration_id == 0x201


@pytest.mark.parametrize(
    "said",
    [b"GET / HTTP/1.1\r\n\r\n", b"", b"ielcan9\0", b"ielcan1\0" + b"\xff" * 48, b"ielcan1\0" + bytes(7)],
)
def test_who_speaks_another_language_is_shown_out(place, said):
    """A peer that does not speak the bus's language is dropped; nobody else notices."""
    with SocketBus(place) as one, SocketBus(place) as two:
        stranger = socket.socket(socket.AF_UNIX)
        stranger.settimeout(PATIENCE)
        stranger.connect(str(place))
        stranger.sendall(said)
        stranger.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while stranger.recv(100):
                pass
        stranger.close()
        one.send(frame())
        assert heard(two, 1)[0].data == b"\x01\x02"
        assert two.recv(0) is None


def test_a_fast_sender_is_not_torn_apart(place):
    """Bytes that arrive in pieces are whole frames for the others."""
    with SocketBus(place) as bus:
        raw = socket.socket(socket.AF_UNIX)
        raw.connect(str(place))
        said = hub.GREETING + b"\0" + hub.RECORD.pack(1.5, 0x123, 2, hub.FRAME, b"ab") * 3
        for place_in in range(0, len(said), 5):
            raw.sendall(said[place_in : place_in + 5])
        got = heard(bus, 3)
        raw.close()
        assert [(each.timestamp, each.arbitration_id, bytes(each.data)) for each in got] == [
            (1.5, 0x123, b"ab")
        ] * 3


def test_another_program_at_the_path(place):
    """A socket on which something else answers is not taken for a bus."""
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(place))
        other.listen()

        def answer():
            connection, _ = other.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(can.CanInitializationError, match="Another program"):
            SocketBus(place)
        thread.join()


def test_a_file_at_the_path_stays(place):
    """A file of the user's is not taken for a stale socket: it stays as it is."""
    place.write_text("mine")
    with pytest.raises(EnvironmentProblem, match="Choose a path"):
        open_bus(f"unix:{place}")
    assert place.read_text() == "mine"
    lock = FileLock.of(place)
    assert lock is not None
    lock.release()


def test_the_folder_is_the_users_alone():
    """A folder is made for its owner only; one that others can enter is refused, unless it lies in a private one."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        top = Path(name)
        with open_bus(f"unix:{top}/buses/car-1"):
            assert (top / "buses").stat().st_mode & 0o777 == 0o700
            assert (top / "buses" / "car-1").stat().st_mode & 0o077 == 0
        (top / "buses").chmod(0o755)
        with open_bus(f"unix:{top}/buses/car-1"):  # nobody else comes through the folder above it
            pass
        top.chmod(0o755)
        with pytest.raises(EnvironmentProblem, match="chmod 700"):
            open_bus(f"unix:{top}/buses/car-1")
        (top / "private").mkdir(mode=0o700)
        (top / "private" / "shared").mkdir(mode=0o755)
        (top / "link").symlink_to(top / "private" / "shared")
        with open_bus(f"unix:{top}/link/car-1"):  # where the folder really lies is what counts
            pass


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="Linux reaches long paths by a descriptor")
def test_a_long_path(tmp_path, place):
    """A folder deep in the lab's state has a bus as any other has, under its own path and under a short link to it."""
    deep = tmp_path / ("x" * LONGEST_PATH) / "edges"
    deep.mkdir(parents=True, mode=0o700)
    place.symlink_to(deep)
    with open_bus(f"unix:{deep}/car-1") as first, open_bus(f"unix:{place}/car-1") as second:
        assert (first.serves, second.serves) == (True, False)
        second.send(frame())
        assert first.recv(PATIENCE).data == b"\x01\x02"
    assert not (deep / "car-1").exists()


def test_a_path_too_long_for_a_socket(tmp_path):
    """The error says how long a path may be."""
    with pytest.raises(EnvironmentProblem, match=f"{LONGEST_PATH} bytes.*{LONGEST_NAME}"):
        open_bus(f"unix:{tmp_path}/{'x' * LONGEST_PATH}")


@pytest.mark.parametrize(
    ("address", "word"),
    [
        ("car-1", "unix:PATH"),
        ("unix:", "unix:PATH"),
        ("usb:1", "no kind"),
        ("udp_multicast:239.74.163.2", "allow_network"),
    ],
)
def test_addresses_that_are_none(address, word):
    """A wrong address says what a right one is; the network is never used by accident."""
    with pytest.raises(UsageError, match=word):
        open_bus(address)


def test_a_bus_that_cannot_be_had():
    """A SocketCAN interface that is not there is the machine's matter, and the error says what to take instead."""
    with pytest.raises(EnvironmentProblem, match="unix:PATH"):
        open_bus("socketcan:nocan9")


def test_without_unix_sockets_the_error_says_what_to_do(place, monkeypatch):
    """Where Python has no unix sockets, the error names the other ways."""
    monkeypatch.delattr(socket, "AF_UNIX")
    with pytest.raises(can.CanInterfaceNotImplementedError, match="virtual"):
        SocketBus(place)


def test_what_a_classic_bus_does_not_carry(place):
    """CAN FD is refused by name, and the bus stays usable."""
    with SocketBus(place) as one, SocketBus(place) as two:
        with pytest.raises(can.CanOperationError, match="CAN FD"):
            one.send(can.Message(arbitration_id=1, data=bytes(12), is_fd=True))
        one.send(frame())
        heard(two, 1)


def test_a_closed_bus_says_so(place):
    """After shutdown, which may be called twice, sending and receiving are errors; a waiting thread is woken."""
    bus = SocketBus(place)
    failures = []
    waiting = threading.Event()

    def wait():
        waiting.set()
        try:
            bus.recv()
        except can.CanOperationError as error:
            failures.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    waiting.wait()
    bus.shutdown()
    thread.join(PATIENCE)
    bus.shutdown()
    assert len(failures) == 1
    with pytest.raises(can.CanOperationError, match="shut down"):
        bus.send(frame())
    with pytest.raises(can.CanOperationError, match="shut down"):
        bus.recv(0)
    assert not place.exists()
