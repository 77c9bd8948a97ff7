"""Frames over pipes: how batches of messages cross between two processes.

A frame is a header, the lengths of its buffers, a body, and the buffers (PEP 574). Nothing
here knows what the messages mean, and no body holds an object of the user's
except small atoms: the others are pickled apart, by ``_wire.calls``.

The body is written by ``marshal``, which takes a third of the time of ``pickle`` for
the lists of numbers that frames are; both ends are the same interpreter. It copies
buffers, as bytes. What it refuses (a body of 2 GiB) is written by ``pickle``, and the
buffers apart.

Rules: one reader and one writer per end, each used under its owner's lock.
``Reader.read`` never blocks on a non-blocking end; ``Writer.write`` never does
either, and keeps what did not fit until ``flush``. A frame that a death cut
off never surfaces.
"""

from __future__ import annotations

import marshal
import mmap
import os
import pickle
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    from typing import Any, Final, Self, TypeAlias

Bytes: TypeAlias = bytes | bytearray | memoryview

_HEADER: Final = struct.Struct("<QI")  # bytes of the body, how it is written
_HEADER_SIZE: Final = _HEADER.size
_unpack_header: Final = _HEADER.unpack_from
_loads: Final = marshal.loads
_MARSHAL: Final = 0  # by marshal; any other number is that of the buffers of a pickle, and 1
_NO_REFS: Final = 2  # version of marshal's format: the last one that looks for no shared objects
_LENGTH: Final = struct.Struct("<Q")  # bytes of one buffer
_KEPT: Final = 256 * 1024  # bytes of the reader's kept buffer
_NO_PIPES: Final = "pipes cannot be waited for on Windows"
_MAX_PARTS: Final = 512  # buffers per system call, below any IOV_MAX


class PipeEnd:
    """One end of an anonymous pipe, or a file. Travels to a child that is being started.

    On Windows, it is always a file: pipes cannot be waited for there.
    """

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __reduce__(self) -> tuple[Any, ...]:
        if sys.platform == "win32":  # it is a file
            handles = import_module("aplex._wire.handles")
            return _received_file, (handles.for_child(self._fd),)
        from multiprocessing import reduction

        return _received_pipe_end, (reduction.DupFd(self._fd),)

    def fileno(self) -> int:
        return self._fd

    def duplicate(self) -> PipeEnd:
        return PipeEnd(os.dup(self._fd))

    def set_blocking(self, blocking: bool) -> None:  # noqa: FBT001 - as in socket
        if sys.platform == "win32":
            raise OSError(_NO_PIPES)
        os.set_blocking(self._fd, blocking)

    def reader(self) -> Callable[[list[memoryview]], int]:
        """Return what reads into the first buffer, with as few calls as can be."""
        if sys.platform == "win32":
            raise OSError(_NO_PIPES)
        return partial(os.readv, self._fd)

    def writer(self) -> Callable[[Sequence[Bytes]], int]:
        """Return what writes parts, with as few calls as can be."""
        if sys.platform == "win32":
            raise OSError(_NO_PIPES)
        return partial(os.writev, self._fd)

    def read_into(self, view: memoryview) -> int:
        if sys.platform == "win32":
            raise OSError(_NO_PIPES)
        return os.readv(self._fd, [view])

    def write(self, parts: Sequence[Bytes]) -> int:
        if sys.platform == "win32":
            raise OSError(_NO_PIPES)
        return os.writev(self._fd, parts)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _received_pipe_end(duplicate: Any) -> PipeEnd:
    fd: int = duplicate.detach()
    os.set_inheritable(fd, False)  # a work's own children must not hold it open
    return PipeEnd(fd)


def _received_file(handle: int) -> PipeEnd:
    return PipeEnd(import_module("aplex._wire.handles").received(handle))


class SocketEnd:
    """One end of a socket pair, where pipes cannot be waited for (Windows)."""

    __slots__ = ("_socket",)

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    def __reduce__(self) -> tuple[Any, ...]:
        if sys.platform == "win32":
            handles = import_module("aplex._wire.handles")
            return _received_socket_end, (handles.socket_for_child(self._socket),)
        import_module("multiprocessing.reduction")  # teaches pickle sockets

        return SocketEnd, (self._socket,)

    def fileno(self) -> int:
        return self._socket.fileno()

    def set_blocking(self, blocking: bool) -> None:  # noqa: FBT001 - as in socket
        self._socket.setblocking(blocking)

    def reader(self) -> Callable[[list[memoryview]], int]:
        return lambda views: self._socket.recv_into(views[0])

    def writer(self) -> Callable[[Sequence[Bytes]], int]:
        return lambda parts: self._socket.send(parts[0])

    def read_into(self, view: memoryview) -> int:
        return self._socket.recv_into(view)

    def write(self, parts: Sequence[Bytes]) -> int:
        return self._socket.send(parts[0])

    def close(self) -> None:
        self._socket.close()


def _received_socket_end(shared: bytes) -> SocketEnd:
    return SocketEnd(import_module("aplex._wire.handles").received_socket(shared))


End: TypeAlias = PipeEnd | SocketEnd


def one_way() -> tuple[End, End]:
    """Return a read end and a write end, joined, neither inherited by exec."""
    if sys.platform == "win32":
        left, right = socket.socketpair()
        for end in left, right:
            if end.family == socket.AF_INET:  # else a frame waits until others are acknowledged
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return SocketEnd(left), SocketEnd(right)
    reader, writer = os.pipe()
    return PipeEnd(reader), PipeEnd(writer)


class Opened:
    """Ends that are opened one after another, and closed if it does not come to the last."""

    def __init__(self) -> None:
        self._ends: list[End] = []

    def one_way(self) -> tuple[End, End]:
        """Open a channel, see `one_way`."""
        ends = one_way()
        self._ends += ends
        return ends

    def end(self, end: PipeEnd) -> PipeEnd:
        """Take an end that was opened just now."""
        self._ends.append(end)
        return end

    def take(self, *ends: End) -> None:
        """Take ends that were opened just now."""
        self._ends += ends

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Close them all, if something went wrong."""
        if kind is not None:
            for end in self._ends:
                end.close()


class Reader:
    """Reads frames from one end, through a buffer it keeps.

    A signal handler may raise (``KeyboardInterrupt``) in the thread that reads, between any
    two lines. Nothing is lost then: what was read is counted in the call that reads it, and a
    frame stays in ``frames`` until whoever takes it in has done so. But a frame may come twice.
    """

    __slots__ = (
        "_counts",
        "_first",
        "_read",
        "_small",
        "_used",
        "_view",
        "_whole",
        "end",
        "frames",
    )

    def __init__(self, end: End) -> None:
        self.end = end
        self.frames: deque[Any] = deque()  # complete ones; whoever has taken one in pops it
        self._counts: list[int] = []  # bytes read last, until they are parsed
        self._read = end.reader()
        self._small = memoryview(_untouched(_KEPT))
        self._whole = [[self._small]]  # arguments of a call that may fill all of it
        self._first = self._small[_HEADER_SIZE:]  # the body of a frame at its front
        self._view = self._small
        self._used = 0  # bytes at the front of the view that are not parsed yet

    def read(self) -> deque[Any]:
        """Read once and return ``frames``: the bodies of those that are complete now.

        Raises:
            EOFError: The other side is gone, or closed its end.
            BlockingIOError: Nothing is at hand (a non-blocking end only).
        """
        counts = self._counts
        if counts or self._used or self._view is not self._small:
            return self._read_on()
        counts.extend(map(self._read, self._whole))  # one call: it reads and keeps the count
        body, how = _unpack_header(self._small)  # an old one, if nothing came
        if body == counts[0] - _HEADER_SIZE and how == _MARSHAL:
            # One whole frame without buffers, and no more, as mostly.
            frames = self.frames
            frames.append(_loads(self._first))  # which knows where it ends
            counts.clear()
            return frames
        return self._parse(counts[0])

    def _read_on(self) -> deque[Any]:
        """Read behind what is not parsed yet, or into a buffer that was made for one frame."""
        counts = self._counts
        if not counts:  # else they were read already, see above
            counts.extend(map(self._read, [[self._view[self._used :]]]))
        return self._parse(counts[0])

    def _parse(self, count: int) -> deque[Any]:
        """Take what is complete out of the buffer, into which so many bytes were read."""
        view, counts = self._view, self._counts
        if not count:
            counts.clear()
            raise EOFError
        used = self._used + count
        start = 0
        while (size := self._size(start, used)) and start + size <= used:
            self.frames.append(self._body(start, size))
            start += size
        left = used - start
        rest, room = view[start:used], self._room_for(size)
        # No call below: the rest is moved, and all that says where it is is changed, or nothing.
        if start or room is not view:
            room[:left] = rest
        self._view = room
        self._used = left
        self._counts = []
        return self.frames

    @property
    def interrupted(self) -> bool:
        """Whether something was read, and not taken in."""
        return bool(self._counts or self.frames)

    def _size(self, start: int, used: int) -> int:
        """Bytes of the frame that starts there; 0 if not known yet."""
        at_hand = used - start
        if at_hand < _HEADER_SIZE:
            return 0
        body, how = _unpack_header(self._view, start)
        size: int = _HEADER_SIZE + body
        if how <= 1:
            return size
        buffers = how - 1
        lengths: int = buffers * _LENGTH.size
        at = start + _HEADER_SIZE
        if at_hand < _HEADER_SIZE + lengths:
            return max(size, at_hand) + lengths  # it is that long at least
        for _ in range(buffers):
            size += _LENGTH.size + _LENGTH.unpack_from(self._view, at)[0]
            at += _LENGTH.size
        return size

    def _body(self, start: int, size: int) -> Any:
        body, how = _unpack_header(self._view, start)
        at = start + _HEADER_SIZE
        if how == _MARSHAL:
            return marshal.loads(self._view[at : at + body])
        buffers = how - 1
        lengths = [
            _LENGTH.unpack_from(self._view, at + i * _LENGTH.size)[0] for i in range(buffers)
        ]
        at += buffers * _LENGTH.size
        pickled = self._view[at : at + body]
        at += body
        views: list[Bytes] = []
        for length in lengths:
            view = self._view[at : at + length]
            # The kept buffer is written over by the next read; a big one is not.
            views.append(bytes(view) if self._view is self._small else view)
            at += length
        assert at == start + size
        return pickle.loads(pickled, buffers=views)

    def _room_for(self, size: int) -> memoryview:
        """Return a buffer that can hold the next frame."""
        if size <= len(self._small):
            return self._small
        if size == len(self._view):
            return self._view
        return memoryview(bytearray(size))  # read straight into a buffer of just that size


class Writer:
    """Writes frames to one end; keeps what a non-blocking end did not take.

    A signal handler may raise between any two lines here as well. What ``rest`` holds is
    written once and whole: the system call notes its count in the same call from which Python
    makes it, and what was written is taken off ``rest`` without another call.
    """

    __slots__ = ("_counts", "_write", "end", "rest")

    def __init__(self, end: End) -> None:
        self.end = end
        self._write = end.writer()
        self._counts: list[int] = []  # bytes written last, until they are taken off
        self.rest: list[Bytes] = []  # what is still to be flushed; others may add to its end

    def write(self, body: Any) -> bool:
        """Write a frame; return False if some of it has to wait for ``flush``.

        Raises:
            BrokenPipeError: Nobody reads the other end any more.
        """
        parts = frame_of(body)
        self.rest += parts
        return self.flush()

    def flush(self) -> bool:
        """Write what is left; return False if there still is something.

        Raises:
            BrokenPipeError: Nobody reads the other end any more.
        """
        rest, counts = self.rest, self._counts
        if len(rest) == 1 and not counts:  # as mostly
            try:
                counts.extend(map(self._write, (rest,)))
            except BlockingIOError:
                return False
            if counts[0] == len(rest[0]):
                # No call between these two.
                self.rest = []
                self._counts = []
                return True
        return self._flush_on()

    def _flush_on(self) -> bool:
        counts = self._counts
        while rest := self.rest:
            if not counts:
                try:
                    counts.extend(map(self._write, (rest[:_MAX_PARTS],)))
                except BlockingIOError:
                    return False
            left = _without(rest, counts[0])
            # No call between these two.
            self.rest = left
            self._counts = counts = []
        return True


def _untouched(size: int) -> bytearray | mmap.mmap:
    """Return a buffer whose memory is taken when it is first used, where that can be.

    Most readers never fill theirs, and clearing it would be a third of the start of a worker.
    """
    if sys.platform == "win32":
        return bytearray(size)
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def frame_of(body: Any) -> list[Bytes]:
    """Return the parts of a frame."""
    try:
        data: bytes = marshal.dumps(body, _NO_REFS)
    except ValueError:  # it is too big
        return _pickled_frame(body)
    return [_HEADER.pack(len(data), _MARSHAL) + data]


def _pickled_frame(body: Any) -> list[Bytes]:
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(body, 5, buffer_callback=buffers.append)
    header = _HEADER.pack(len(pickled), len(buffers) + 1)
    views = [buffer.raw() for buffer in buffers]
    lengths = b"".join(_LENGTH.pack(view.nbytes) for view in views)
    return [header + lengths + pickled, *(view for view in views if view.nbytes)]


def _without(parts: list[Bytes], count: int) -> list[Bytes]:
    """Return parts without so many bytes at their front."""
    for index, part in enumerate(parts):
        if count < len(part):
            left = parts[index:]
            if count:
                left[0] = memoryview(part)[count:]
            return left
        count -= len(part)
    return []
