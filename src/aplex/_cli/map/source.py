"""Reads items in a thread of its own, not further ahead than it may. IO only.

The thread may wait for a slow input for ever: nobody waits for it. What it has read goes to the
event loop whenever it is about to wait, for more input or for room.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from aplex._cli.map.items import Format, Item

BLOCK: Final = 65536
"""Bytes that are read at a time."""


def blocks_of(fd: int) -> Iterator[bytes]:
    """Yield what comes from a descriptor."""
    while block := os.read(fd, BLOCK):
        yield block


class Source:
    """The items of an input.

    Args:
        blocks: The input.
        form: How items stand in it.
        room: How many items may be ahead of those that are done.
        wanted: Asked for each item, in the thread: whether it is to be run. None: all are.
        keys: Whether items need keys.
    """

    def __init__(
        self,
        blocks: Iterable[bytes],
        form: Format,
        room: int,
        wanted: Callable[[Item], bool] | None,
        *,
        keys: bool,
    ) -> None:
        self._input = blocks
        self._form = form
        self._room = room
        self._wanted = wanted
        self._keys = keys
        self._changed = threading.Condition()
        self._closed = False
        self._batch: list[Item] = []
        self._place = 0

    def start(
        self,
        loop: asyncio.AbstractEventLoop,
        take: Callable[[list[Item]], object],
        end: Callable[[Exception | None], object],
    ) -> None:
        """Begin to read.

        Args:
            loop: On which the others are called.
            take: Gets items.
            end: Is called at the end of the input, with what has gone wrong, if something has.
        """
        self._loop, self._take, self._end = loop, take, end
        threading.Thread(target=self._run, name="aplex-map-input", daemon=True).start()

    def done(self, items: int) -> None:
        """Learn that so many items are done, and printed. Any thread."""
        with self._changed:
            self._room += items
            self._changed.notify()

    def close(self) -> None:
        """Read no more. Any thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _run(self) -> None:
        problem: Exception | None = None
        try:
            for item in self._form.items(self._blocks(), keys=self._keys):
                if self._wanted is None or self._wanted(item):
                    self._put(item)
                if self._closed:
                    break
        except Exception as error:  # noqa: BLE001 - the loop tells of it
            problem = error
        self._post()
        self._call(self._end, problem)

    def _blocks(self) -> Iterator[bytes]:
        for block in self._input:
            yield block
            self._post()

    def _put(self, item: Item) -> None:
        item.place = self._place
        self._place += 1
        self._batch.append(item)
        if len(self._batch) >= self._room:
            self._post()
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._room > 0)

    def _post(self) -> None:
        batch, self._batch = self._batch, []
        if batch:
            with self._changed:
                self._room -= len(batch)
            self._call(self._take, batch)

    def _call(self, function: Callable[..., object], argument: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody wants it any more
            self._loop.call_soon_threadsafe(function, argument)
