"""The bus between processes: a unix socket on which every participant gets each frame of every other.

Stands for the wire. One participant, the first, serves: a thread of it passes records on. All is bounded: a
participant that does not read fast enough misses frames and is told how many, as with SocketCAN; nobody waits for it.

On the wire: 8 bytes of greeting each way (`GREETING` and a byte of flags), then records of 24 bytes (`RECORD`):
timestamp, identifier with SocketCAN's flags, length, kind, data. Leaves out: arbitration, bit errors, CAN FD.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import struct
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_PATH: Final = 103
"""Bytes in the address of a unix socket: 107 with Linux, 103 with macOS."""

LONGEST_NAME: Final = 80
"""Bytes in a file's name that still leave room for the way to its folder, see `address_of`."""

_DESCRIPTORS: Final = Path("/proc/self/fd")

GREETING: Final = b"ielcan1"
"""Begins what either side says first; a byte of flags follows."""
WANTS_OWN: Final = 1
"""A flag of the greeting: this participant gets its own frames too."""

RECORD: Final = struct.Struct("<dIBB2x8s")
"""timestamp (s since 1970), identifier and flags, length of the data, kind, data padded with zeros."""

FRAME: Final = 0
OWN_FRAME: Final = 1
"""a participant's own frame coming back"""
MISSED: Final = 2
"""not a frame: the data say how many frames this participant has missed so far (64 bits, little-endian)"""

QUEUE: Final = 4096
"""Frames that wait for one participant, beyond what its socket holds; what comes then is dropped."""
MOST_PARTICIPANTS: Final = 64
LAST_TURNS: Final = 64
"""How often, at the end, is looked for frames that were sent but not yet passed on."""
_CHUNK: Final = RECORD.size * 2048
_NO_FILES: Final = 0.05  # s to wait where the process may open no more files


def addressable(path: Path) -> bool:
    """Whether `address_of` has an address for this path."""
    if len(os.fsencode(path)) <= LONGEST_PATH:
        return True
    return _DESCRIPTORS.is_dir() and len(os.fsencode(path.name)) <= LONGEST_NAME


@contextlib.contextmanager
def address_of(path: Path) -> Iterator[str]:
    """The path as `bind` and `connect` take it. Raises OSError where its folder cannot be opened.

    Linux reaches a path that is too long for an address by its folder's descriptor (unix(7), proc_pid_fd(5)).
    """
    if len(os.fsencode(path)) <= LONGEST_PATH:
        yield os.fspath(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"{_DESCRIPTORS}/{folder}/{path.name}"
    finally:
        os.close(folder)


class Lock(Protocol):
    """What shows that a bus is served, for as long as it is."""

    def release(self) -> None:
        """Give it back."""
        ...


class _Participant:
    """One connection: what came from it in part, what waits for it, what it missed."""

    __slots__ = ("greeted", "incoming", "missed", "outgoing", "own", "sock", "told")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.incoming = bytearray()
        self.outgoing = bytearray()
        self.greeted = False
        self.own = False
        self.missed = 0
        self.told = 0

    def offer(self, records: bytes | bytearray) -> None:
        """Let these records wait for it, as far as there is room. Raises OSError where the connection is gone."""
        if len(self.outgoing) + len(records) > QUEUE * RECORD.size:
            self.flush()
        room = max(0, QUEUE - len(self.outgoing) // RECORD.size) * RECORD.size
        if len(records) > room:
            self.missed += (len(records) - room) // RECORD.size
            records = records[:room]
        self.outgoing += records

    def flush(self) -> bool:
        """Write what its socket takes; whether all was taken. Raises OSError where the connection is gone."""
        while True:
            if not self.outgoing:
                if self.missed == self.told:
                    return True
                self.told = self.missed
                self.outgoing += RECORD.pack(0.0, 0, 8, MISSED, self.missed.to_bytes(8, "little"))
            try:
                taken = self.sock.send(self.outgoing)
            except BlockingIOError:
                return False
            del self.outgoing[:taken]


class BusHub:
    """Serves one bus, in a thread of its own, until `close`."""

    def __init__(self, path: Path, lock: Lock) -> None:
        """Listen at `path`, taking the place of a socket that a killed process left. Raises OSError.

        `lock` shows that nobody else serves this bus; it is released at the end, whatever the end is.
        """
        self._path = path
        self._lock = lock
        self._participants: dict[socket.socket, _Participant] = {}
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            if path.is_socket():  # anything else is a file of the user's: bind fails, and it stays
                path.unlink()
            with address_of(path) as address:
                self._listener.bind(address)
            path.chmod(0o600)
            self._listener.listen(MOST_PARTICIPANTS)
            self._listener.setblocking(False)
        except BaseException:
            self._listener.close()
            lock.release()
            raise
        self._wake, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"CAN bus {path.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Pass on what has arrived, then end; the other participants find another to serve. May be called twice."""
        if self._closing:
            self._thread.join()
            return
        self._closing = True
        with contextlib.suppress(OSError):  # its thread has ended already, by an error of its own
            self._wake.send(b"x")
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._closing:
                self._turn(None)
            for _ in range(LAST_TURNS):
                if not self._turn(0.0):
                    break
        finally:
            # The socket goes before the lock: who gets the lock finds nothing of ours.
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
            self._selector.close()
            for sock in (self._listener, self._wake, self._woken, *self._participants):
                sock.close()
            self._lock.release()

    def _turn(self, timeout: float | None) -> bool:
        """Wait for something, read what there is, pass it on; whether anything was read."""
        found = False
        for key, events in self._selector.select(timeout):
            if key.fileobj is self._listener:
                self._accept()
            elif isinstance(key.data, _Participant) and events & selectors.EVENT_READ:
                found = True
                self._read(key.data)
        for participant in list(self._participants.values()):
            self._write(participant)
        return found

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError as error:  # gone again, or no more files: the next turn tries anew
            if error.errno in (errno.EMFILE, errno.ENFILE):
                time.sleep(_NO_FILES)
            return
        if len(self._participants) >= MOST_PARTICIPANTS:
            sock.close()
            return
        sock.setblocking(False)
        participant = _Participant(sock)
        self._participants[sock] = participant
        self._selector.register(sock, selectors.EVENT_READ, participant)

    def _read(self, participant: _Participant) -> None:
        if participant.sock not in self._participants:
            return
        try:
            chunk = participant.sock.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if not chunk:
            self._leave(participant)
            return
        participant.incoming += chunk
        if not participant.greeted and not self._greet(participant):
            return
        whole = len(participant.incoming) // RECORD.size * RECORD.size
        records = participant.incoming[:whole]
        del participant.incoming[:whole]
        if any(length > 8 or kind != FRAME for _, _, length, kind, _ in RECORD.iter_unpack(records)):
            self._leave(participant)  # it speaks another language; what else it says cannot be trusted
            return
        for other in self._participants.values():
            if other is not participant and other.greeted:
                with contextlib.suppress(OSError):  # gone: reading will find the end
                    other.offer(records)
        if participant.own:
            for place in range(13, whole, RECORD.size):
                records[place] = OWN_FRAME
            with contextlib.suppress(OSError):
                participant.offer(records)

    def _greet(self, participant: _Participant) -> bool:
        """Whether the participant has said who it is, and was answered."""
        size = len(GREETING) + 1
        if len(participant.incoming) < size:
            return False
        if not participant.incoming.startswith(GREETING):
            self._leave(participant)
            return False
        participant.own = bool(participant.incoming[size - 1] & WANTS_OWN)
        participant.greeted = True
        participant.outgoing += GREETING + b"\0"
        del participant.incoming[:size]
        return True

    def _write(self, participant: _Participant) -> None:
        try:
            done = participant.flush()
        except OSError:
            # What it had sent before may still be read; reading will find the end.
            participant.outgoing.clear()
            participant.told = participant.missed
            done = True
        wanted = selectors.EVENT_READ if done else selectors.EVENT_READ | selectors.EVENT_WRITE
        if self._selector.get_key(participant.sock).events != wanted:
            self._selector.modify(participant.sock, wanted, participant)

    def _leave(self, participant: _Participant) -> None:
        del self._participants[participant.sock]
        self._selector.unregister(participant.sock)
        participant.sock.close()
