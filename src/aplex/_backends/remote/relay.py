"""The ends of a relay: connections whose bytes go inside a cluster's own calls.

Where neither a pool nor its worker can dial the other, something that the cluster lets both talk to
stands beside each. Between these two go *frames*, in calls: one that brings frames (`push`), and
one that waits until there are some (`pull`). Nobody asks in vain, and nothing is kept in between.

* A frame is a list: a word of those below, the number of a connection, and what belongs to it.
* Of each connection at most `WINDOW` bytes are on the way in one direction: then its socket is not
  read, until the other end has passed some on. So who reads slowly slows down who writes, and no
  buffer grows.
* The end of a connection at one end ends it at the other: half of it (`EOF`) where one side only
  has said that nothing more comes, all of it (`LOST`) where it is gone. When a call fails, all of
  them end.

The text of this file travels, and is executed in processes of a cluster that may have no aplex, or
another one: so it imports nothing of aplex.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

WINDOW: Final = 1 << 20
"""Bytes of a connection that may be on the way in one direction."""
BATCH: Final = 2 << 20
"""Bytes after which a call has enough."""
HIGH: Final = 1 << 18
"""Bytes that wait to be written to a socket when no more of them count as passed on."""

OPEN: Final = 0
"""Dial: what is to be ended together, a host, a port."""
DATA: Final = 1
"""Bytes."""
PASSED: Final = 2
"""So many bytes more have been passed on."""
EOF: Final = 3
"""Nothing more comes."""
LOST: Final = 4
"""The connection is gone."""
BYE: Final = 5
"""There is no connection any more, and nobody pulls."""

Frame = list[Any]


class Window:
    """How much of a connection is on the way, in both directions. Logic only."""

    __slots__ = ("away", "passed")

    def __init__(self) -> None:
        self.away = 0  # bytes that were sent, and that the other end has not passed on
        self.passed = 0  # bytes that were passed on here, of which the other end knows nothing

    def send(self, count: int) -> bool:
        """Note that bytes were sent; return whether there may be more."""
        self.away += count
        return self.away < WINDOW

    def told(self, count: int) -> bool:
        """Note that the other end has passed bytes on; return whether it may be sent more."""
        self.away -= count
        return self.away < WINDOW

    def pass_on(self, count: int) -> int:
        """Note that bytes were passed on; return of how many to tell now, if any."""
        self.passed += count
        if self.passed < WINDOW // 4:
            return 0
        count, self.passed = self.passed, 0
        return count


class Outbox:
    """Frames that wait for a call. Logic only."""

    def __init__(self) -> None:
        self._frames: deque[Frame] = deque()

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._frames)

    def put(self, frame: Frame) -> None:
        """Add one."""
        self._frames.append(frame)

    def drop(self) -> None:
        """Keep no bytes: nobody reads them any more."""
        self._frames = deque(frame for frame in self._frames if frame[0] != DATA)

    def take(self) -> list[Frame]:
        """Return as many as one call carries, in order."""
        taken: list[Frame] = []
        size = 0
        while self._frames and size < BATCH:
            frame = self._frames.popleft()
            taken.append(frame)
            if frame[0] == DATA:
                size += len(frame[2])
        return taken


class Stream(asyncio.Protocol):
    """One connection, at one end of the relay."""

    def __init__(self, exchange: Exchange, number: int, key: str) -> None:
        self.key = key
        self._exchange = exchange
        self._number = number
        self._window = Window()
        self._transport: Any = None
        self._early: list[Frame] = []  # what came before there was a connection
        self._held = 0  # bytes that were written while the socket is full
        self._full = False
        self._read_over = False  # nothing more comes from the socket
        self._write_over = False  # nothing more goes there
        self.is_lost = False

    # -- what the socket does -------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        if self.is_lost:
            transport.abort()
            return
        transport.set_write_buffer_limits(high=HIGH)
        early, self._early = self._early, []
        for frame in early:
            self.take(frame)

    def data_received(self, data: bytes) -> None:
        self._tell(DATA, data)
        if not self._window.send(len(data)):
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._read_over = True
        self._tell(EOF)
        self._close_if_over()
        return True  # it may still be written

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        held, self._held = self._held, 0
        self._pass_on(held)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - it has gone
        if not self.is_over:
            self._tell(LOST)
        self.forget()

    # -- what the other end tells -----------------------------------------------

    def take(self, frame: Frame) -> None:
        """Do what the other end says."""
        kind = frame[0]
        if kind == LOST:
            self.abort()
        elif self._transport is None:
            self._early.append(frame)
        elif kind == DATA:
            self._transport.write(frame[2])
            if self._full:
                self._held += len(frame[2])
            else:
                self._pass_on(len(frame[2]))
        elif kind == PASSED:
            if self._window.told(frame[2]) and not self._read_over:
                self._transport.resume_reading()
        elif kind == EOF and not self._write_over:
            self._write_over = True
            self._transport.write_eof()
            self._close_if_over()

    def abort(self) -> None:
        """End it at once, here; the other end knows."""
        self.is_lost = True
        self.forget()
        if self._transport is not None:
            self._transport.abort()

    def fail(self) -> None:
        """End it at once, at both ends."""
        self._tell(LOST)
        self.abort()

    def forget(self) -> None:
        """Take no more from the other end."""
        self.is_lost = True
        self._exchange.forget(self._number)

    def _pass_on(self, count: int) -> None:
        count = self._window.pass_on(count)
        if count:
            self._tell(PASSED, count)

    @property
    def is_over(self) -> bool:
        """Whether both sides have said that nothing more comes."""
        return self._read_over and self._write_over

    def _close_if_over(self) -> None:
        if self.is_over:
            self._transport.close()  # what is written still goes

    def _tell(self, kind: int, what: Any = None) -> None:
        if not self.is_lost:
            self._exchange.put([kind, self._number, what])


class Exchange:
    """One end of a relay. On one event loop.

    Attributes:
        is_over: Whether it has ended.
    """

    def __init__(self, idle: Callable[[], None] | None = None) -> None:
        """Have no connection yet.

        Args:
            idle: Called when there is none any more.
        """
        self.is_over = False
        self._idle = idle
        self._streams: dict[int, Stream] = {}
        self._outbox = Outbox()
        self._waiter: asyncio.Future[None] | None = None
        self._numbers = 0
        self._dialling: set[asyncio.Task[None]] = set()

    async def attach(self, connection: Any, key: str, host: str, port: int) -> None:
        """Have the other end dial, and a socket here be that connection."""
        self._numbers += 1
        number = self._numbers
        stream = self._streams[number] = Stream(self, number, key)
        self.put([OPEN, number, [key, host, port]])
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: stream, sock=connection)
        except Exception:
            connection.close()
            stream.fail()
            raise

    def feed(self, frames: list[Frame]) -> None:
        """Take in what has come from the other end."""
        for frame in frames:
            kind, number, what = frame
            if kind == OPEN:
                stream = self._streams[number] = Stream(self, number, what[0])
                task = asyncio.get_running_loop().create_task(self._dial(stream, *what[1:]))
                self._dialling.add(task)
                task.add_done_callback(self._dialling.discard)
            elif kind == BYE:
                self._part()
            elif number in self._streams:
                self._streams[number].take(frame)

    async def _dial(self, stream: Stream, host: str, port: int) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: stream, host, port)
        except OSError:
            stream.fail()

    def put(self, frame: Frame) -> None:
        """Have the other end told."""
        self._outbox.put(frame)
        self._wake()

    async def some(self) -> list[Frame] | None:
        """Wait until there is something to tell the other end; None: it is over."""
        while not self._outbox and not self.is_over:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._outbox.take() or None

    def forget(self, number: int) -> None:
        """Note that a connection has ended."""
        if self._streams.pop(number, None) is not None and not self._streams and self._idle:
            self._idle()

    def end_all_of(self, key: str) -> None:
        """End what belongs together, at both ends."""
        for stream in list(self._streams.values()):
            if stream.key == key:
                stream.fail()
        if not self._streams:
            self._outbox.drop()

    def _part(self) -> None:
        """End all of it, here; but what is written still goes."""
        self._streams = {n: each for n, each in self._streams.items() if not each.is_over}
        self.end()

    def end(self) -> None:
        """End all of it, here, at once."""
        self.is_over = True
        self._idle = None
        for stream in list(self._streams.values()):
            stream.abort()
        for task in self._dialling:
            task.cancel()
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


class Far:
    """The ends of relays in one process of a cluster, each by the name that its pool gives it."""

    def __init__(self) -> None:
        self.exchanges: dict[str, Exchange] = {}

    async def push(self, name: str, frames: list[Frame]) -> None:
        """Take in frames. The first call makes that end of the relay."""
        exchange = self.exchanges.get(name)
        if exchange is None:
            exchange = self.exchanges[name] = Exchange()
        exchange.feed(frames)
        if exchange.is_over:
            self.exchanges.pop(name, None)

    async def pull(self, name: str) -> list[Frame] | None:
        """Wait for frames; None: it is over."""
        exchange = self.exchanges.get(name)
        return None if exchange is None else await exchange.some()

    def end_all_of(self, key: str) -> None:
        """End what belongs together, for its pool may be gone, which pulls no more then."""
        for exchange in self.exchanges.values():
            exchange.end_all_of(key)
