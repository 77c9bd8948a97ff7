"""Contract (faults): full, stopped, flooded and broken channels; nothing deadlocks."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aplex import WorkerLostError
from aplex._wire.shared_memory import HUGE, WARM
from tests.support import works
from tests.support.callers import DEADLINE, PROCESSES, Awaiting, Caller

pytestmark = pytest.mark.needs("process")  # a work closes a channel, which ends its process

EVERY_PROCESS = pytest.mark.parametrize("engine", PROCESSES, indirect=True)
SPAWN = pytest.mark.parametrize("engine", ["template"], indirect=True)
BLOCKING = pytest.mark.parametrize("face", ["blocking"], indirect=True)
AWAITABLE = pytest.mark.parametrize("face", ["awaitable"], indirect=True)
SMALL = 60_000
PROMPT = 1.0 + 1.5  # seconds: what is promised, and what a busy machine may add
MEBIBYTE = 2**20


@EVERY_PROCESS
def test_both_sides_send_more_than_a_channel_holds(new_caller: Callable[..., Caller]) -> None:
    caller = new_caller()
    big = bytes(MEBIBYTE)
    futures = [caller.submit((works.add, works.aadd)[n % 2], big, b"%d" % n) for n in range(60)]
    for n, future in enumerate(futures):
        assert caller.result(future, timeout=30) == big + b"%d" % n


@SPAWN
@AWAITABLE
def test_both_sides_send_while_the_callers_loop_is_blocked(
    new_caller: Callable[..., Awaiting],
) -> None:
    caller = new_caller()
    big = bytes(MEBIBYTE)

    async def main() -> list[Any]:
        await caller.pool.submit(works.aadd, 1)
        futures = [caller.pool.submit((works.add, works.aadd)[n % 2], big, b"") for n in range(40)]
        time.sleep(1)
        return [len(await future) for future in futures]

    assert caller.run(main()) == [MEBIBYTE] * 40


@SPAWN
@BLOCKING
def test_a_result_of_256_mib_while_the_parent_computes(new_caller: Callable[..., Caller]) -> None:
    caller = new_caller()
    future = caller.submit(works.zeros, 256 * MEBIBYTE)
    small = [caller.submit(works.aadd, n) for n in range(100)]
    works.burn(1.0)
    assert len(caller.result(future, timeout=30)) == 256 * MEBIBYTE
    assert [caller.result(future) for future in small] == list(range(100))


@pytest.mark.needs("linux")  # shared memory for payloads
@SPAWN
@BLOCKING
def test_the_memory_of_huge_works_is_given_back(new_caller: Callable[..., Caller]) -> None:
    """There, and back: the caller sees to the one, the worker to the other."""
    caller = new_caller()
    before = caller.call(works.shared_memory)
    caller.call(works.same, bytes(2 * HUGE))
    assert caller.call(works.shared_memory) >= before + 2 * HUGE, "what came last is warm"
    end = time.monotonic() + DEADLINE
    while caller.call(works.shared_memory) > before + MEBIBYTE:
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.needs("linux")  # shared memory for payloads
@SPAWN
@BLOCKING
def test_the_memory_of_a_burst_is_given_back(new_caller: Callable[..., Caller]) -> None:
    """No worker has to die for that."""
    caller = new_caller()
    before = caller.call(works.shared_memory)
    array = works.Array(bytearray(2 * MEBIBYTE))
    held = [caller.submit(works.same, array) for _ in range(300)]
    for future in held:
        caller.result(future)
    assert caller.call(works.shared_memory) >= before + 600 * MEBIBYTE
    held.clear()
    del future
    end = time.monotonic() + 2 * DEADLINE
    while caller.call(works.shared_memory) > before + 2 * WARM + 2 * MEBIBYTE:
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.needs("linux")  # shared memory for payloads
@EVERY_PROCESS
@BLOCKING
def test_a_work_cannot_shorten_the_memory_that_others_read(
    new_caller: Callable[..., Caller],
) -> None:
    """They would be killed."""
    caller = new_caller()
    result = caller.call(works.array_of, 7, MEBIBYTE)
    assert caller.call(works.shrink_shared_memory) == 0
    assert bytes(result.data) == b"\7" * MEBIBYTE
    assert len(caller.call(works.same, bytes(MEBIBYTE))) == MEBIBYTE


@SPAWN
@AWAITABLE
def test_a_result_of_256_mib_while_the_callers_loop_is_blocked(
    new_caller: Callable[..., Awaiting],
) -> None:
    caller = new_caller()

    async def main() -> tuple[int, int]:
        await caller.pool.submit(works.aadd, 1)
        big = caller.pool.submit(works.zeros, 256 * MEBIBYTE)
        time.sleep(1)
        small = await caller.pool.submit(works.aadd, 2)
        return len(await big), small

    assert caller.run(main()) == (256 * MEBIBYTE, 2)


@EVERY_PROCESS
def test_a_worker_that_is_stopped_for_seconds(new_caller: Callable[..., Caller]) -> None:
    """What it has waits for it, whatever its size; the others go on; no submit blocks."""
    caller = new_caller(pool_size=2)
    pids: set[int] = set()
    while len(pids) < 2:
        pids.add(caller.call(works.apid))
    stopped, running = pids
    os.kill(stopped, signal.SIGSTOP)
    try:
        began = time.monotonic()
        big = bytes(MEBIBYTE)
        futures = [caller.submit(works.aadd, big, b"") for _ in range(40)]
        assert time.monotonic() - began < 2
        others = [caller.submit(works.apid) for _ in range(10)]
        time.sleep(max(0.0, began + 3 - time.monotonic()))
        assert {caller.result(future) for future in others if future.done()} == {running}
    finally:
        os.kill(stopped, signal.SIGCONT)
    assert all(len(caller.result(future, timeout=30)) == MEBIBYTE for future in futures)


def _wait_until_stopped(pid: int) -> None:
    """The signal is on its way until each thread has come to a halt."""
    deadline = time.monotonic() + 30
    while any(
        thread.read_text().rpartition(")")[2].split()[0] != "T"
        for thread in Path(f"/proc/{pid}/task").glob("*/stat")
    ):
        assert time.monotonic() < deadline


@SPAWN
@BLOCKING
def test_a_stopped_worker_that_is_killed_loses_nothing_it_had_not_started(
    new_caller: Callable[..., Caller],
) -> None:
    caller = new_caller()
    stopped = caller.call(works.apid)
    os.kill(stopped, signal.SIGSTOP)
    _wait_until_stopped(stopped)
    big = bytes(MEBIBYTE)
    futures = [caller.submit((works.add, works.aadd)[n % 2], big, b"") for n in range(20)]
    os.kill(stopped, signal.SIGKILL)
    assert all(len(caller.result(future, timeout=30)) == MEBIBYTE for future in futures)


@pytest.mark.needs("posix")  # a pipe, which is soon full
@EVERY_PROCESS
@BLOCKING
@pytest.mark.parametrize("work", [works.zeros, works.azeros])
def test_a_frame_that_a_death_cut_in_half_is_a_death(
    new_caller: Callable[..., Caller], work: Callable[..., Any]
) -> None:
    """The worker is in the middle of results that nobody reads when it is killed.

    Each is too small for shared memory; together they are more than a pipe holds.
    """
    caller = new_caller()
    pid = caller.call(works.apid)
    for _ in range(10):
        caller.call(works.add, 1, 2)  # short ones: several may be sent ahead then
    with caller.pool._manager._lock:
        futures = [caller.submit(work, SMALL) for _ in range(6)]
        caller.pool._manager._flush()
        _wait_until_writing(pid, work)
        # Dead before anybody reads: Linux lets a write go on that finds room when the signal comes.
        _kill_and_wait(pid)
    errors = [future.exception(30) for future in futures]
    lost = [error for error in errors if isinstance(error, WorkerLostError)]
    assert lost
    assert {error.pid for error in lost} == {pid}
    for future, error in zip(futures, errors, strict=True):
        assert error in lost or caller.result(future) == bytes(SMALL)
    assert caller.call(works.apid) != pid


@pytest.mark.parametrize("engine", ["template", "fork"], indirect=True)
@BLOCKING
@pytest.mark.parametrize(
    "work",
    [works.close_all, works.aclose_all, works.aclose_late, works.aclose_all_and_stderr],
)
def test_a_work_that_closes_the_channels_is_the_end_of_its_worker(
    new_caller: Callable[..., Caller], work: Callable[..., Any]
) -> None:
    caller = new_caller(pool_size=2)
    pids = set()
    while len(pids) < 2:  # forked workers may have copies of each other's channels
        pids.add(caller.call(works.apid))
    began = time.monotonic()
    error = caller.error(caller.submit(work))
    assert isinstance(error, WorkerLostError)
    assert error.pid in pids
    assert time.monotonic() - began < PROMPT
    assert [caller.call(works.aadd, n, 1) for n in range(4)] == [1, 2, 3, 4]


def _kill_and_wait(pid: int) -> None:
    descriptor: Callable[[int], int] | None = getattr(os, "pidfd_open", None)
    ended = [] if descriptor is None else [descriptor(pid)]  # not Linux: it writes no further
    os.kill(pid, signal.SIGKILL)
    for each in ended:
        assert select.select([each], [], [], 30)[0]
        os.close(each)


def _wait_until_writing(pid: int, work: Callable[..., Any]) -> None:
    """Wait until the pipe is full: then it has the first part of the frame.

    No event tells of it; the kernel says what each thread of the worker sleeps in.
    """
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for task in os.listdir(f"/proc/{pid}/task"):
            try:
                with open(f"/proc/{pid}/task/{task}/wchan") as file:
                    if "pipe_write" in file.read():
                        return
            except OSError:
                pass
        if work is works.azeros and time.monotonic() > deadline - 8.5:
            return  # its loop does not block on a full pipe: it has had time enough
        time.sleep(0.01)
    raise AssertionError("it does not write")


@SPAWN
@BLOCKING
def test_a_worker_that_floods_stderr(
    new_caller: Callable[..., Caller], capfd: pytest.CaptureFixture[str]
) -> None:
    """Its stderr is that of the program: all of it arrives, and nothing of ours reads it."""
    caller = new_caller()
    flood = caller.submit(works.flood_stderr, 10 * MEBIBYTE)
    small = [caller.submit(works.aadd, n) for n in range(100)]
    assert [caller.result(future) for future in small] == list(range(100))
    assert caller.result(flood) is None
    assert capfd.readouterr().err.count("x") == 10 * MEBIBYTE
