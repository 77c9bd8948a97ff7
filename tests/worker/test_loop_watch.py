"""Logic: what blocks an event loop is seen while it does so, and a loop that waits wakes nobody."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from aplex._common.messages import COUNTERS, SLOW, TURN_SINCE
from aplex._wire.counters import LAG_HALVES, turns_in
from aplex._worker.loop_watch import LoopWatch, Stall, _calls
from tests.support.callers import LOOPS, loop_factory
from tests.support.waiting import eventually

SLOW_SECONDS = 0.1


class Watched:
    """A loop in a thread, and another thread that looks at it when it is told to."""

    def __init__(self, loop: asyncio.AbstractEventLoop, slow: float) -> None:
        self.loop = loop
        self.started = [0] * COUNTERS
        self.started[SLOW] = int(slow * 1e9)
        self.told: list[Stall] = []
        self.wakes = self.looks = 0
        self._over = False
        self._changed = threading.Condition()
        self.watch = LoopWatch(self.started, self._wake, self.told.append)
        self.works: dict[int, object] = {}
        self._ready = threading.Event()
        self.threads = [threading.Thread(target=run) for run in (self._run, self._look)]
        for thread in self.threads:
            thread.start()
        self._ready.wait()

    def _run(self) -> None:
        self.watch.attach(self.loop, self.works, threading.get_ident())
        self.loop.call_soon(self._ready.set)
        self.loop.run_forever()
        self.watch.detach()

    def _wake(self) -> None:
        with self._changed:
            self.wakes += 1
            self._changed.notify()

    def _look(self) -> None:
        while not self._over:
            pause = self.watch.look()
            self.looks += 1
            with self._changed:
                if pause is None and not self._over and self.wakes == 0:
                    self._changed.wait()
                elif pause is not None:
                    self._changed.wait_for(lambda: self._over, pause)
                self.wakes = 0

    def run(self, work: Callable[[], Any]) -> None:
        """Run a coroutine to its end, as a work."""

        async def begin() -> None:
            self.watch.arriving(now=True)
            self.works[1] = asyncio.current_task()
            self.watch.arriving(now=False)
            try:
                await work()
            finally:
                self.works.clear()

        asyncio.run_coroutine_threadsafe(begin(), self.loop).result()

    def lag(self) -> float:
        return max(turns_in(self.started, time.monotonic()))

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.threads[0].join()
        with self._changed:
            self._over = True
            self._changed.notify()
        self.threads[1].join()
        self.loop.close()


@pytest.fixture(params=LOOPS)
def watched(request: pytest.FixtureRequest) -> Iterator[Watched]:
    made = Watched(loop_factory(request.param)(), SLOW_SECONDS)
    yield made
    made.close()


async def blocks() -> None:
    await asyncio.sleep(0.01)
    time.sleep(4 * SLOW_SECONDS)


def test_what_blocks_the_loop_is_told_of_once_with_its_stack(watched: Watched) -> None:
    for _ in range(2):
        watched.run(blocks)
    ((seconds, name, file, line, stack),) = watched.told
    assert SLOW_SECONDS <= seconds < 4 * SLOW_SECONDS
    assert name.endswith("test_loop_watch.blocks")
    assert (file, line) == (__file__, blocks.__code__.co_firstlineno + 2)
    assert "time.sleep(4 * SLOW_SECONDS)" in stack
    assert "run_forever" not in stack, "of what is around it nobody wants to know"


def test_it_is_told_of_while_it_blocks(watched: Watched) -> None:
    let_go = threading.Event()

    async def until_told() -> None:
        await asyncio.sleep(0)
        let_go.wait(10)

    def tell(stall: Stall) -> None:
        watched.told.append(stall)
        let_go.set()

    watched.watch._tell = tell
    began = time.monotonic()
    watched.run(until_told)
    assert time.monotonic() - began < 10
    assert watched.told[0][1].endswith("until_told")


def test_the_middle_of_asyncios_own_code_is_no_place_that_blocks() -> None:
    """Where a machine has no time for the loop, it may stand there at two looks."""

    def frame_in(module: str) -> FrameType:
        there: dict[str, Any] = {"__name__": module}
        exec("import sys\ndef look(): return sys._getframe()", there)
        look = there["look"]
        return look()  # type: ignore[no-any-return]

    assert not _calls(frame_in("asyncio.base_events"))
    assert _calls(frame_in("aplex._worker.coroutine_lane"))


def test_a_callback_of_c_that_blocks_is_told_of() -> None:
    watched = Watched(asyncio.new_event_loop(), SLOW_SECONDS)
    try:
        watched.loop.call_soon_threadsafe(time.sleep, 4 * SLOW_SECONDS)
        eventually(lambda: watched.told)
        assert watched.told[0][1] == "asyncio.events.Handle._run"
    finally:
        watched.close()


def test_a_crowd_of_short_steps_is_none(watched: Watched) -> None:
    async def short() -> None:
        for _ in range(3):
            time.sleep(0.005)
            await asyncio.sleep(0)

    async def crowd() -> None:
        await asyncio.gather(*(short() for _ in range(30)))

    watched.run(crowd)
    assert watched.told == []


def test_the_lag_is_known_while_the_loop_is_blocked_and_fades_after(watched: Watched) -> None:
    lags: list[float] = []
    watched.run(lambda: asyncio.sleep(0.05))
    assert watched.lag() < 0.05
    timer = threading.Timer(3 * SLOW_SECONDS, lambda: lags.append(watched.lag()))
    timer.start()
    watched.run(blocks)
    timer.join()
    assert lags[0] > SLOW_SECONDS
    after = watched.lag()
    time.sleep(2 * LAG_HALVES)
    assert watched.lag() < after / 2


def test_a_loop_that_waits_wakes_nobody(watched: Watched) -> None:
    watched.run(lambda: asyncio.sleep(0))
    time.sleep(2 * SLOW_SECONDS)  # the last look
    looks = watched.looks
    time.sleep(5 * SLOW_SECONDS)
    assert watched.looks == looks
    assert watched.started[TURN_SINCE] == 0


def test_without_a_limit_nothing_is_told_and_nobody_woken_but_the_lag_is_known() -> None:
    watched = Watched(asyncio.new_event_loop(), 0.0)
    try:
        watched.run(blocks)
        assert watched.told == []
        assert watched.looks == 1
        assert watched.lag() > SLOW_SECONDS
    finally:
        watched.close()


def test_a_look_that_is_due_after_the_end_finds_no_freed_memory() -> None:
    memory = memoryview(bytearray(8 * COUNTERS)).cast("Q")
    memory[SLOW] = int(SLOW_SECONDS * 1e9)
    wakes: list[bool] = []
    watch = LoopWatch(memory, lambda: wakes.append(True), lambda _stall: None)
    loop = asyncio.new_event_loop()
    watch.attach(loop, {}, threading.get_ident())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert wakes
    watch.detach()
    memory.release()
    assert watch.look() is None
