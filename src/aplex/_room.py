"""Room: how many works an executor may hold (``max_pending``), and who waits for it.

A thread that submits takes a place under the Manager's lock, then submits. Until the Pool has
numbered the work, the place is noted by thread: Ctrl-C in between can leave a note behind, but
no place is lost, since the next submit of that thread takes its note over.

Whoever awaits room has a *bell*, a future of his loop. Bells ring only as many as there are
places: with all of them, 10,000 tasks that wait would look 10,000 times each. Ringing gives
no place away, so who is rung and comes too late waits on. And whoever has got room has the
next bell rung in the next turn of his loop: perhaps he does not use it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import TYPE_CHECKING, Final

from aplex.exceptions import PoolFullError

if TYPE_CHECKING:
    from aplex._manager import Loop, Manager
    from aplex._work import Work

AWAIT: Final = "`await pool.room()` before submit(), with no other await in between"
ELSEWHERE: Final = (
    "this thread must not wait for room, since it is needed to make some (it runs a callback "
    "of a future, a load balancer, or a work of the pool): submit from another thread"
)


class Room:
    """Bounds the works of a pool that are not done."""

    def __init__(self, manager: Manager, max_pending: int, *, awaitable: bool) -> None:
        self._manager = manager
        self._max_pending = max_pending
        self._awaitable = awaitable
        self._coming: dict[int, Work] = {}  # by thread; the pool has not numbered them yet
        self._bells: deque[asyncio.Future[None]] = deque()
        manager.ring = self._ring

    def submit(self, work: Work, loop: Loop | None = None) -> None:
        """Wait for room, then take a work in. What a ``map`` submits does not wait.

        Raises:
            PoolFullError: There is no room, and this thread must not block.
            RuntimeError: The pool takes no more works.
            BrokenPoolError: The pool is broken.
        """
        if not work.options.bounded:
            self._manager.submit(work, loop)
            return
        me = threading.get_ident()
        try:
            with self._manager.lock:
                self._coming.pop(me, None)
                if not self._is_open():
                    self._block()
                self._coming[me] = work
            self._manager.submit(work, loop)
        except BaseException:
            if self._coming.pop(me, None) is not None:
                self._manager.tell()
            raise
        self._coming.pop(me, None)

    async def wait(self) -> None:
        """Wait until there is room.

        Raises:
            RuntimeError: The pool takes no more works.
            BrokenPoolError: The pool is broken.
        """
        loop = asyncio.get_running_loop()
        while True:
            with self._manager.lock:
                self._manager.check_open()
                if self._is_open():
                    break
                bell = loop.create_future()
                self._bells.append(bell)
                self._manager.expect(1)
            self._manager.arm()
            try:
                await bell
            except BaseException:
                self._forget(bell)
                raise
        if self._bells:
            loop.call_soon(self._manager.tell)

    def _free(self) -> int:
        coming = sum(not work.id for work in self._coming.copy().values())
        return self._max_pending - self._manager.pool.pending - coming

    def _is_open(self) -> bool:
        """Whether nobody need wait: there is room, or there never will be."""
        return self._free() > 0 or self._manager.is_shut

    def _block(self) -> None:
        if self._awaitable or not self._manager.may_wait():
            cure = AWAIT if self._awaitable else ELSEWHERE
            raise PoolFullError(f"{self._max_pending} works are pending (max_pending): {cure}")
        self._manager.wait_for(self._is_open)

    def _forget(self, bell: asyncio.Future[None]) -> None:
        """Someone does not wait any longer; if his bell has rung, another one is to ring."""
        with self._manager.lock:
            if bell in self._bells:
                self._bells.remove(bell)
                self._manager.expect(-1)
        self._manager.tell()

    def _ring(self) -> None:
        """Wake as many as there are places. With the lock."""
        places = len(self._bells) if self._manager.is_shut else self._free()
        while self._bells and places > 0:
            bell = self._bells.popleft()
            self._manager.expect(-1)
            try:
                bell.get_loop().call_soon_threadsafe(_ring_one, bell)
            except RuntimeError:
                continue  # the loop is closed: nobody waits any more
            places -= 1


def _ring_one(bell: asyncio.Future[None]) -> None:
    if not bell.done():
        bell.set_result(None)
