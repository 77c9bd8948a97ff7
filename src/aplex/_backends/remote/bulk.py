"""The Bulk: the pool's side of the connection on which big payloads travel to and from a worker.

All that is read and written is so on the listener's thread, a few MiB at a time; so neither a
caller, nor his event loop, nor the lock of the pool waits for a payload.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aplex._wire import parcels
from aplex._wire.frames import Bytes, PipeEnd, Writer
from aplex._wire.parcels import Parcel, ParcelReader

if TYPE_CHECKING:
    from aplex._backends.listener import Listener

FIRST: Final = 1 << 62
"""The first number of parcels that are of no plain function, which have their ``seq``."""


class Bulk:
    """The pool's side.

    Attributes:
        end: The connection; non-blocking.
        is_read_out: Whether nothing more can come.
    """

    def __init__(self, end: PipeEnd, listener: Listener) -> None:
        """Take over a connection.

        Args:
            end: The connection; non-blocking.
            listener: On whose thread all is done.
        """
        self.end = end
        self.is_read_out = False
        self._listener = listener
        self._numbers = itertools.count(FIRST)
        self._waiting: deque[tuple[list[Bytes], Any]] = deque()
        self._writer = Writer(end)
        self._keep: Any = None  # what is being written lies there
        self._reader = ParcelReader(end)
        self._closed = False

    # -- down ---------------------------------------------------------------------

    def send(
        self,
        kind: int,
        parts: Sequence[Bytes] = (),
        frozen: Sequence[int] = (),
        *,
        number: int = 0,
        keep: Any = None,
    ) -> int:
        """Have a parcel written. Any thread.

        Args:
            kind: Of it.
            parts: Of it; they must stay as they are.
            frozen: Places of those that are to be `bytes`.
            number: Of it. 0: a new one.
            keep: What is to live until it was written.

        Returns:
            Its number.
        """
        number = number or next(self._numbers)
        self._waiting.append((parcels.packed(number, kind, parts, frozen), keep))
        self._listener.call_soon(self._write)
        return number

    def _write(self) -> None:
        """Write what is there, or as much as the connection takes. On the listener's thread."""
        if self._closed:
            return
        try:
            while self._writer.rest or self._waiting:
                if not self._writer.rest:
                    self._writer.rest, self._keep = self._waiting.popleft()
                if not self._writer.flush():
                    self._listener.watch_writing(self.end, self._write)
                    return
                self._keep = None
        except OSError:  # it has gone: that is read
            self._drop()
        self._listener.unwatch_writing(self.end)

    def _drop(self) -> None:
        self._waiting.clear()
        self._writer.rest = []
        self._keep = None

    # -- up -----------------------------------------------------------------------

    def watch(self, took: Callable[[Parcel], object], ended: Callable[[], object]) -> None:
        """Have parcels read. Any thread.

        Args:
            took: Is given each; on the listener's thread.
            ended: Is called when nothing more can come; likewise.
        """
        read = partial(self._read, took, ended)
        self._listener.call_soon(partial(self._watch, read))

    def _watch(self, read: Callable[[], None]) -> None:
        if not self._closed:
            self._listener.watch(self.end, read)

    def _read(self, took: Callable[[Parcel], object], ended: Callable[[], object]) -> None:
        """Read once, so that others have their turn between the parts of a big parcel."""
        if self._closed:
            return
        try:
            parcel = self._reader.read()
        except BlockingIOError:
            return
        except (EOFError, OSError, MemoryError):
            self.is_read_out = True
            self._listener.unwatch(self.end)
            self._drop()
            ended()
            return
        if parcel is not None:
            took(parcel)

    def close(self) -> None:
        """Let go of all. The connection is closed, and not watched any more, by who has it."""
        self._closed = True
        self._drop()
