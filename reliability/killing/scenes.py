"""What a pool does in a case: a few dozen mixed works, and what must come of each.

One text for both faces: the works are awaited through a `Face`, which blocks, or awaits.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from aplex import WorkerLostError
from reliability.killing import faults, works
from reliability.killing.works import Big, Work
from reliability.points import ALONE, DEATH, LIFE, LOGS, RECALL, SHARE, STOP, WORKS

PATIENCE: Final = 12.0
"""Seconds after which a work counts as never resolved. More than a worker is stopped for."""
_ROUNDS: Final = 50
"""How often to try to have functions recalled."""
LANES: Final = ("mixed", "plain", "coroutine")
"""Which works are in the majority; there are some of each lane in each case."""

FAILS: Final = "fails"  # it raises LookupError
CANCELLED: Final = "cancelled"  # it was cancelled: no result is wrong
DIES: Final = "dies"  # it ends its worker


@dataclass
class Sent:
    """A work, what must come of it, and its future."""

    number: int
    expected: Any
    future: Any


class Player:
    """Plays the scene of a case with a pool."""

    def __init__(self, pool: Any, lane: str, seed: int, *, awaitable: bool) -> None:
        self._pool = pool
        self._lane = lane
        self._random = random.Random(seed)
        self._awaitable = awaitable
        self.sent: list[Sent] = []
        self.resolved_at: list[float] = []  # when all futures so far were seen to be done
        self.unresolved: list[int] = []

    async def play(self, scene: str) -> None:
        """Send the works, wait, see whether the pool serves."""
        if scene != WORKS:
            await self._meet_both()
        if scene == ALONE:
            await self._send_one_by_one()
        self._send_mixture()
        if scene == DEATH:
            self._send(works.die, expected=DIES)
        await self._wait()
        await self._cancel()
        await self._wait()
        if scene in (STOP, LIFE, LOGS):
            self._pool.resize(1)  # one worker is told to stop
            self._send_again()
            await self._wait()
            self._pool.resize(2)
        if scene == RECALL:
            await self._recall()
        if scene == SHARE:
            await self._share()
        self._send_again()
        await self._wait()

    async def _meet_both(self) -> None:
        """Wait until both workers serve."""
        met: set[int] = set()
        end = time.monotonic() + PATIENCE
        while len(met) < 2 and time.monotonic() < end:
            future = self._pool.submit(os.getpid)
            await self._done(future, end)
            with contextlib.suppress(WorkerLostError):  # they have met the fault already
                met.add(future.result())

    async def _send_one_by_one(self) -> None:
        """Send each work when the one before is done: nothing else is in the pool then."""
        for value in range(8):
            self._send_result(works.coroutine if value % 2 else works.plain, value)
            await self._wait_for(self.sent[-1:])

    def _send(self, work: Work, *args: Any, expected: Any) -> Any:
        number = len(self.sent)
        future = self._pool.submit(work, number, *args)
        self.sent.append(Sent(number, expected, future))
        return future

    def _send_result(self, work: Work, result: Any, *args: Any) -> None:
        number = len(self.sent)
        expected = result.made(number) if isinstance(result, Big) else result
        self._send(work, result, *args, expected=expected)

    def _send_mixture(self) -> None:
        """Send some of everything, in any order, behind functions that are quick.

        The latter have the next ones sent ahead, several in a frame.
        """
        for value in range(20):
            self._send_result(works.plain, value)
        calls = [
            *[(self._send_result, works.plain, 7)] * (4 if self._lane == "coroutine" else 16),
            *[(self._send_result, works.coroutine, 8)] * (4 if self._lane == "plain" else 16),
            *[(self._send_result, works.plain, ["list"], 0.004)] * 2,
            *[(self._send_result, works.coroutine, ["list"], 0.02)] * 2,
            *[(self._send_result, works.detached, ["later"])] * 3,
            *[(self._send_result, work, Big(300_000)) for work in (works.plain, works.coroutine)],
            *[(self._send_argument, work, 300_000) for work in (works.length, works.alength)],
            *[(self._send_failing, work) for work in (works.fail, works.afail)],
        ]
        self._random.shuffle(calls)
        for send, *args in calls:
            send(*args)
        for _ in range(8):  # more than a pipe holds: they wait for the workers, go in one frame
            self._send_argument(works.alength, 60_000)

    def _send_argument(self, work: Work, size: int) -> None:
        self._send(work, b"\1" * size, expected=size)

    def _send_failing(self, work: Work) -> None:
        self._send(work, expected=FAILS)

    def _send_again(self) -> None:
        """Send works that show whether the pool serves."""
        for value in range(4):
            self._send_result(works.plain, value)
            self._send_result(works.coroutine, value)

    async def _cancel(self) -> None:
        """Cancel coroutines and functions that run, and works that wait for those."""
        faults.close_gate()
        soon = time.monotonic() + 0.02
        for _ in range(8):  # results of one turn go in one frame, more than a pipe holds
            self._send_result(works.together, Big(60_000), soon)
        doomed = [self._send(works.endless, expected=CANCELLED) for _ in range(2)]
        doomed += [self._send(works.held, expected=CANCELLED) for _ in range(2)]
        doomed += [self._send(works.plain, expected=CANCELLED) for _ in range(2)]
        behind = len(self.sent)
        for _ in range(2):  # when these are resolved, those before them are in the workers
            self._send_result(works.coroutine, "behind")
        await self._wait_for(self.sent[behind:])
        for future in doomed:
            future.cancel()
        faults.open_gate()

    async def _recall(self) -> None:
        """Have functions sent ahead to a worker that is held up, while the other one idles.

        They are sent ahead if those before them were quick, which depends on the machine.
        """
        for _ in range(_ROUNDS):
            if faults.struck():
                break
            faults.close_gate()
            for quick in [self._pool.submit(abs, -1) for _ in range(40)]:
                await self._done(quick, time.monotonic() + PATIENCE)
            self._send(works.held, expected=None)
            behind = len(self.sent)
            for value in range(10):
                self._send_result(works.plain, value)
            await self._wait_for(self.sent[behind:])
            faults.open_gate()
        await self._wait()

    async def _share(self) -> None:
        """Share objects, small and big, and have them freed while works use others."""
        for _ in range(_ROUNDS):
            if faults.struck():
                break
            for size in (1_000, 300_000):
                with self._pool.share(b"\1" * size) as handle:
                    for work in (works.length, works.alength) * 4:
                        self._send(work, handle, expected=size)
            await self._wait()

    async def _wait(self) -> None:
        """Wait for all works."""
        await self._wait_for(self.sent)
        self.resolved_at.append(time.monotonic())

    async def _wait_for(self, sent: Sequence[Sent]) -> None:
        end = time.monotonic() + PATIENCE
        for each in sent:
            if each.number not in self.unresolved and not await self._done(each.future, end):
                self.unresolved.append(each.number)

    async def _done(self, future: Any, end: float) -> bool:
        left = max(0.0, end - time.monotonic())
        if self._awaitable:
            await asyncio.wait([future], timeout=left)
            if future.done() and not future.cancelled():
                future.exception()  # or asyncio complains that nobody has looked
        else:
            try:
                future.exception(left)  # this thread reads the reports meanwhile
            except (concurrent.futures.TimeoutError, concurrent.futures.CancelledError):
                pass
        return bool(future.done())
