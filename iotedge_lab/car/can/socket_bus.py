"""python-can's interface `iotedge_lab`: a bus between processes, on a unix socket in a folder of one's own.

    can.Bus(interface="iotedge_lab", channel="/path/to/car-1")

Any number of processes open the same path, in any order; each gets every frame of the others. The first serves
(`hub`); when it ends, even by being killed, another takes over at its next `recv` or `send`. Nothing goes over a
network, so two attendees' cars cannot meet: another path is another bus.

Differs from SocketCAN: frames sent while the serving process changes are lost; timestamps are the sender's.
Leaves out: Windows, CAN FD, hardware filters, use of one bus object by several receiving threads.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import os
import select
import socket
import struct
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import can

from iotedge_lab.car.can.hub import (
    FRAME,
    GREETING,
    LONGEST_NAME,
    LONGEST_PATH,
    MISSED,
    OWN_FRAME,
    RECORD,
    WANTS_OWN,
    BusHub,
    address_of,
    addressable,
)
from iotedge_lab.clock import SystemClock

if TYPE_CHECKING:
    from can.typechecking import AutoDetectedConfig, CanFilters

    from iotedge_lab.clock import Clock

JOIN_TIME: Final = 5.0
"""Seconds in which the bus must let a participant in."""

SEND_TIME: Final = 1.0
"""Seconds that `send` waits by default for a bus that takes no frames."""

# SocketCAN's flags of an identifier (linux/can.h).
_EXTENDED: Final = 0x80000000
_REMOTE: Final = 0x40000000
_ERROR: Final = 0x20000000
_MASK: Final = 0x1FFFFFFF
_CHUNK: Final = RECORD.size * 512
_COUNT: Final = struct.Struct("<Q")


class SocketBus(can.BusABC):
    """One participant of the bus at `channel`.

    `missed`: frames that were dropped because this participant did not read them in time (known once it reads on);
    `rejoined`: how often the serving process ended and the bus was joined anew.
    """

    def __init__(
        self,
        channel: str | os.PathLike[str],
        can_filters: CanFilters | None = None,
        *,
        receive_own_messages: bool = False,
        preserve_timestamps: bool = False,
        clock: Clock | None = None,
        **kwargs: object,
    ) -> None:
        """Join the bus, or begin it. When this returns, the participant gets whatever others send from then on.

        `channel`: the socket's path, in a folder that is the user's alone or lies in such a one (made, if it is not
        there: so a folder that two modules mount from the lab's state will do);
        `preserve_timestamps`: frames keep the timestamp that they are given, instead of the time of sending.
        Raises can.CanInitializationError, can.CanInterfaceNotImplementedError on Windows.
        """
        if not hasattr(socket, "AF_UNIX") or os.name == "nt":
            raise can.CanInterfaceNotImplementedError(
                "The iotedge_lab bus needs unix sockets, which Python lacks here. Within one process take the "
                "interface `virtual`; between processes run the lab in WSL or in the devcontainer."
            )
        self._path = _checked(Path(channel))
        self._clock = clock or SystemClock()
        self._flags = WANTS_OWN if receive_own_messages else 0
        self._preserve = preserve_timestamps
        self._hub: BusHub | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._partial = bytearray()
        self._received: collections.deque[can.Message] = collections.deque()
        self.missed = 0
        self.rejoined = 0
        self._out = self._in = self._join()
        self.channel_info = f"iotedge_lab bus {self._path.name}"
        super().__init__(channel=os.fspath(self._path), can_filters=can_filters, **kwargs)

    def send(self, msg: can.Message, timeout: float | None = None) -> None:
        """Give the frame to the bus. `timeout`: seconds to wait for a bus that takes none (1 by default).

        Raises can.CanOperationError: ENOBUFS where the bus took none in that time, EINVAL for CAN FD.
        """
        if msg.is_fd or len(msg.data) > 8:
            raise can.CanOperationError(
                "This bus carries classic CAN, at most 8 bytes a frame; not CAN FD.", errno.EINVAL
            )
        number = msg.arbitration_id
        number |= _EXTENDED * msg.is_extended_id | _REMOTE * msg.is_remote_frame | _ERROR * msg.is_error_frame
        stamp = msg.timestamp if self._preserve else self._clock.now()
        record = RECORD.pack(stamp, number, msg.dlc, FRAME, bytes(msg.data))
        deadline = self._clock.monotonic() + (SEND_TIME if timeout is None else timeout)
        with self._lock:
            sock = self._open(self._out)
            while True:
                try:
                    self._write(sock, record, deadline)
                    return
                except TimeoutError as error:
                    raise can.CanOperationError(
                        f"The bus {self._path} takes no frames: the process that serves it is stopped or overloaded.",
                        errno.ENOBUFS,
                    ) from error
                except OSError:
                    sock = self._rejoin(sock)

    def _recv_internal(self, timeout: float | None) -> tuple[can.Message | None, bool]:
        deadline = None if timeout is None else self._clock.monotonic() + timeout
        while not self._received:
            sock = self._open(self._in)
            if not self._ready(sock, select.POLLIN, deadline):
                return None, False
            try:
                chunk = sock.recv(_CHUNK)
            except BlockingIOError:
                continue
            except OSError:
                chunk = b""
            if chunk:
                self._take(chunk)
                continue
            with self._lock:
                self._open(sock)
                if sock is self._out:
                    self._rejoin(sock)
                self._in = self._out
                sock.close()
                self._partial.clear()
        return self._received.popleft(), False

    def shutdown(self) -> None:
        """Leave the bus. May be called twice."""
        with self._lock:
            super().shutdown()
            if self._closed:
                return
            self._closed = True
            for sock in {self._in, self._out}:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits in recv
                sock.close()
        if self._hub is not None:
            self._hub.close()

    @property
    def serves(self) -> bool:
        """Whether it is this participant that passes the frames on."""
        return self._hub is not None

    def fileno(self) -> int:
        """Not given: it would change with the serving process. python-can then reads in a thread."""
        raise NotImplementedError("read this bus in a thread")

    @staticmethod
    def _detect_available_configs() -> list[AutoDetectedConfig]:
        return []

    def _open(self, sock: socket.socket) -> socket.socket:
        if self._closed:
            raise can.CanOperationError("This bus was shut down; open another.")
        return sock

    def _take(self, chunk: bytes) -> None:
        """Turn what was read into messages."""
        self._partial += chunk
        whole = len(self._partial) // RECORD.size * RECORD.size
        for stamp, number, length, kind, data in RECORD.iter_unpack(self._partial[:whole]):
            if kind == MISSED:
                self.missed = _COUNT.unpack(data)[0]
                continue
            remote = bool(number & _REMOTE)
            self._received.append(
                can.Message(
                    timestamp=stamp,
                    arbitration_id=number & _MASK,
                    is_extended_id=bool(number & _EXTENDED),
                    is_remote_frame=remote,
                    is_error_frame=bool(number & _ERROR),
                    channel=os.fspath(self._path),
                    dlc=length,
                    data=None if remote else data[:length],
                    is_rx=kind != OWN_FRAME,
                )
            )
        del self._partial[:whole]

    def _rejoin(self, lost: socket.socket) -> socket.socket:
        """The serving process is gone: join whoever serves now, or serve. With the lock held."""
        try:
            self._out = self._join()
        except can.CanInitializationError as error:
            raise can.CanOperationError(str(error)) from error
        if lost is not self._in:  # else what lies in it unread is still to be received
            lost.close()
        self.rejoined += 1
        return self._out

    def _join(self) -> socket.socket:
        deadline = self._clock.monotonic() + JOIN_TIME
        while True:
            sock = self._connected(deadline)
            if sock is not None:
                return sock
            lock = FileLock.of(self._path)
            if lock is not None:
                try:
                    self._hub = BusHub(self._path, lock)
                except OSError as error:
                    raise can.CanInitializationError(
                        f"No bus can be opened at {self._path}: {error.strerror}. Choose a path in a folder of yours."
                    ) from error
            elif self._clock.monotonic() > deadline:
                raise can.CanInitializationError(
                    f"The bus {self._path} is served by a process that does not answer; end it, or take another path."
                )
            else:
                time.sleep(0.005)  # another is just beginning to serve

    def _connected(self, deadline: float) -> socket.socket | None:
        """A connection that has been greeted, None where nobody serves."""
        path = self._path
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(max(0.001, deadline - self._clock.monotonic()))
            with address_of(path) as address:
                sock.connect(address)
            sock.sendall(GREETING + bytes([self._flags]))
            answer = b""
            while len(answer) <= len(GREETING):
                part = sock.recv(len(GREETING) + 1 - len(answer))
                if not part:
                    raise ConnectionResetError
                answer += part
        except TimeoutError as error:
            sock.close()
            raise can.CanInitializationError(
                f"The bus {path} is served by a process that does not answer; end it, or take another path."
            ) from error
        except OSError as error:
            sock.close()
            if error.errno in (errno.ENOTSOCK, errno.EPROTOTYPE, errno.EACCES):
                raise can.CanInitializationError(
                    f"{path} is something else than a bus ({error.strerror}); take another path."
                ) from error
            if self._clock.monotonic() > deadline:
                raise can.CanInitializationError(f"The bus {path} lets nobody in; is it full?") from error
            return None
        if not answer.startswith(GREETING):
            sock.close()
            raise can.CanInitializationError(f"Another program listens at {path}; take another path.")
        sock.setblocking(False)
        return sock

    def _ready(self, sock: socket.socket, event: int, deadline: float | None) -> bool:
        """Wait until the socket can be read (or written), has ended, or the deadline is over (then False)."""
        poller = select.poll()
        try:
            poller.register(sock, event)
        except (OSError, ValueError):  # closed meanwhile: the next step says so
            return True
        left = None if deadline is None else max(0.0, deadline - self._clock.monotonic()) * 1000
        return bool(poller.poll(left))

    def _write(self, sock: socket.socket, record: bytes, deadline: float) -> None:
        """All of the record. Raises TimeoutError where the bus takes none of it, OSError where it has ended."""
        left = memoryview(record)
        while left:
            try:
                left = left[sock.send(left) :]
            except BlockingIOError:
                # Half a record would shift all that follows: what was begun is finished.
                if not self._ready(sock, select.POLLOUT, deadline):
                    if len(left) < len(record):
                        # Half a record would shift all that follows: this connection is of no more use.
                        raise ConnectionResetError from None
                    raise TimeoutError from None


class FileLock:
    """An advisory lock on `PATH.lock`, held by the process that serves; the system releases it if that is killed."""

    __slots__ = ("_file",)

    def __init__(self, file: int) -> None:
        self._file = file

    @classmethod
    def of(cls, path: Path) -> FileLock | None:
        """The lock of the bus at `path`, None if another has it. Raises can.CanInitializationError."""
        import fcntl

        try:
            file = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise can.CanInitializationError(
                f"{path}.lock cannot be written: {error.strerror}. Choose a path in a folder of yours."
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            return None
        return cls(file)

    def release(self) -> None:
        """Let another serve."""
        os.close(self._file)


def _checked(path: Path) -> Path:
    """The path, if a bus may be there: in reach of a socket, and out of reach of others."""
    path = path.absolute()
    if not addressable(path):
        raise can.CanInitializationError(
            f"{path} is too long for a socket ({LONGEST_PATH} bytes at most; on Linux a name of {LONGEST_NAME} in a "
            "folder of any length); choose a shorter path."
        )
    folder = path.parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        private = _private(folder.resolve())
    except OSError as error:
        raise can.CanInitializationError(
            f"The bus's folder {folder} cannot be made: {error.strerror}. Choose a path in a folder of yours."
        ) from error
    if not private:
        raise can.CanInitializationError(
            f"Others can reach {folder}, and whoever does can drive this car: put the bus into a folder of your own "
            f"(chmod 700 {folder})."
        )
    return path


def _private(folder: Path) -> bool:
    """Whether this folder, or one that it lies in, is open to its owner alone, and the owner is this user."""
    for each in (folder, *folder.parents):
        status = each.stat()
        if status.st_uid == os.geteuid() and not status.st_mode & 0o077:
            return True
        if status.st_uid not in (os.geteuid(), 0):
            return False  # its owner can put another folder in the place of this one
    return False
