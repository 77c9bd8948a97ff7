"""Threads that wait, and what wakes them: another thread, or a handler in the same one."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import Future, wait

import pytest

from aplex._common.sleepers import Sleepers
from aplex._common.stdlib_waits import waits_here

DEADLINE = 30  # seconds


@pytest.mark.smoke
def test_another_thread_wakes_them() -> None:
    sleepers, happened = Sleepers(), threading.Event()

    def happen() -> None:
        happened.set()
        sleepers.wake()

    threads = [
        threading.Thread(target=sleepers.sleep_until, args=(happened.is_set,)) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    happen()
    for thread in threads:
        thread.join(DEADLINE)
        assert not thread.is_alive()


def test_a_handler_that_comes_between_the_look_and_the_sleep_wakes_it() -> None:
    sleepers = Sleepers()
    looks: list[bool] = []

    def happened() -> bool:
        looks.append(bool(looks))
        if len(looks) == 1:
            sleepers.wake()
            sleepers.wake()
        return looks[-1]

    assert sleepers.sleep_until(happened, time.monotonic() + DEADLINE)


def test_one_who_gives_up_is_forgotten() -> None:
    sleepers = Sleepers()
    assert not sleepers.sleep_until(lambda: False, time.monotonic() + 0.01)
    assert not sleepers._waiters
    sleepers.wake()


@pytest.mark.parametrize("holds", [False, True])
def test_wait_of_this_thread_is_seen_if_it_has_a_lock(holds: bool) -> None:
    future: Future[None] = Future()
    seen: list[bool] = []

    def handler(*_: object) -> None:
        if holds:
            with future._condition:
                seen.append(waits_here())
        else:
            seen.append(waits_here())
        future.set_result(None)

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        wait([future], 0.5)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not waits_here()
    assert seen == [holds]
