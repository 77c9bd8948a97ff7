"""Room: how many works an executor may hold (``max_pending``), and who waits for it.

A thread that submits takes a place under the Manager's lock, then submits. Until the Pool has
numbered the work, the place is noted, for as long as the work is there: Ctrl-C in between can
leave a note behind, but no place is lost.

Whoever awaits room, in `Gateway.submit_when_free`, has a *bell*, a future of the caller's loop.
Only as many bells ring as there are places: with all of them, 10,000 tasks that wait would look
10,000 times each. Ringing gives no place away: a task that is rung and comes too late waits on.
And a task that has got room has the next bell rung in the next turn of its loop, since it may
not use the room.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from aplex._common.errors import PoolFullError

if TYPE_CHECKING:
    from aplex._manager.manager import Loop, Manager
    from aplex._pool.state import Work

AWAIT: Final = "use `await pool.submit_when_free(…)`, which waits for room"
ELSEWHERE: Final = (
    "this thread must not wait for room, since it is needed to make some (it runs a callback "
    "of a future, a load balancer, a work of the pool, or a signal handler): submit from another "
    "thread"
)


class Room:
    """Bounds the works of a pool that are not done."""

    def __init__(self, manager: Manager, max_pending: int) -> None:
        self._manager = manager
        self._max_pending = max_pending
        # Works that the pool has not numbered yet, by their identities.
        self._coming: dict[int, weakref.ref[Work]] = {}
        self._bells: deque[asyncio.Future[None]] = deque()
        manager.rings.append(self._ring)

    def submit(self, awaitable: bool, work: Work, loop: Loop | None = None) -> None:  # noqa: FBT001
        """Take a work in when there is room. What a ``map`` submits does not wait.

        Args:
            awaitable: Whether the caller must not block.
            work: What to take in.
            loop: As for `Manager.submit`.

        Raises:
            PoolFullError: There is no room, and this thread must not block.
            RuntimeError: The pool takes no more works.
            BrokenPoolError: The pool is broken.
        """
        if not work.options.bounded:
            self._manager.submit(work, loop)
            return
        take = partial(self._take_place, work)
        try:
            if not self._manager.within(take):
                self._wait_for(take, awaitable=awaitable)
            self._manager.submit(work, loop)
        except BaseException:
            if self._coming.pop(id(work), None) is not None:
                self._manager.tell()
            raise
        self._coming.pop(id(work), None)

    def _take_place(self, work: Work) -> bool:
        """Note that a work comes, if there is room. In a step."""
        if not self._is_open():
            return False
        self._coming[id(work)] = weakref.ref(work)
        return True

    async def wait(self) -> None:
        """Wait until there is room.

        Raises:
            RuntimeError: The pool takes no more works.
            BrokenPoolError: The pool is broken.
        """
        loop = asyncio.get_running_loop()
        while (bell := self._manager.within(partial(self._hang, loop))) is not None:
            self._manager.arm()
            try:
                await bell
            except BaseException:
                self._forget(bell)
                raise
        if self._bells:
            loop.call_soon(self._manager.tell)

    def _hang(self, loop: Loop) -> asyncio.Future[None] | None:
        """Return a bell that rings when there may be room; None if there is. In a step."""
        self._manager.check_open()
        if self._is_open():
            return None
        bell = loop.create_future()
        self._bells.append(bell)
        self._manager.expect(1)
        return bell

    def _free(self) -> int:
        notes = self._coming.copy().values()
        coming = sum(1 for note in notes if (work := note()) is not None and not work.id)
        return self._max_pending - self._manager.pool.pending - coming

    def _is_open(self) -> bool:
        """Whether nobody need wait: there is room, or there never will be."""
        return self._free() > 0 or self._manager.is_shut

    def _wait_for(self, take: Callable[[], bool], *, awaitable: bool) -> None:
        if awaitable or not self._manager.may_wait():
            cure = AWAIT if awaitable else ELSEWHERE
            raise PoolFullError(f"{self._max_pending} works are pending (max_pending): {cure}")
        self._manager.wait_for(take)

    def _forget(self, bell: asyncio.Future[None]) -> None:
        """Someone does not wait any longer; if his bell has rung, another one is to ring."""

        def forget() -> None:
            if bell in self._bells:
                self._bells.remove(bell)
                self._manager.expect(-1)

        self._manager.within(forget)
        self._manager.tell()

    def _ring(self) -> None:
        """Wake as many as there are places. In a step."""
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
