"""Contract: what ``initargs`` may be, and that they do not live longer than they are wanted."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aplex import SerializationError
from tests.support import works
from tests.support.callers import DEADLINE, PROCESSES, Caller, make_pool

pytestmark = pytest.mark.needs("process")  # what only they inherit

MIB = 2**20
EVERY_PROCESS = pytest.mark.parametrize("engine", PROCESSES, indirect=True)
BLOCKING = pytest.mark.parametrize("face", ["blocking"], indirect=True)
SPAWN = pytest.mark.parametrize("engine", ["template"], indirect=True)


def shared(engine: str) -> dict[str, Any]:
    """Make one of each; the event is set."""
    context: Any = multiprocessing.get_context("spawn" if engine == "template" else engine)
    event = context.Event()
    event.set()
    return {
        "lock": context.Lock(),
        "event": event,
        "queue": context.Queue(),
        "total": context.Value("i", 0),
        "array": context.Array("i", 8),
        "gate": context.Semaphore(1),
    }


def as_arguments(things: dict[str, Any]) -> dict[str, Any]:
    return {"initializer": works.use_shared, "initargs": tuple(things.values())}


def in_a_partial(things: dict[str, Any]) -> dict[str, Any]:
    return {"initializer": functools.partial(works.use_shared, **things)}


def in_a_closure(things: dict[str, Any]) -> dict[str, Any]:
    return {"initializer": lambda: works.use_mapping(things)}


@EVERY_PROCESS
@BLOCKING
@pytest.mark.parametrize("options", [as_arguments, in_a_partial, in_a_closure])
def test_what_multiprocessing_shares_is_inherited_by_each_worker(
    new_caller: Callable[..., Caller], engine: str, options: Callable[..., dict[str, Any]]
) -> None:
    """Those that replace others, and those of a pool that grows, too."""
    things = shared(engine)
    caller = new_caller(**options(things))
    first = caller.call(works.pid)
    pids = [things["queue"].get(timeout=DEADLINE)]
    assert pids == [first]
    with things["queue"]._wlock:  # who is killed while it has it keeps it from all others
        os.kill(first, signal.SIGKILL)
    pids.append(things["queue"].get(timeout=DEADLINE))
    caller.pool.resize(2)
    pids.append(things["queue"].get(timeout=DEADLINE))
    assert len(set(pids)) == 3
    with things["lock"]:
        assert things["total"].value == 3
        assert list(things["array"][1:4]) == pids
    things["queue"].close()


@EVERY_PROCESS
@BLOCKING
def test_a_barrier_and_a_connection_are_inherited(
    new_caller: Callable[..., Caller], engine: str
) -> None:
    context: Any = multiprocessing.get_context("spawn" if engine == "template" else engine)
    barrier = context.Barrier(2)
    receiver, sender = context.Pipe(duplex=False)
    with receiver, sender:
        caller = new_caller(
            pool_size=2, initializer=works.pass_barrier, initargs=(barrier, "place", sender)
        )
        futures = [caller.submit(works.recall, "place") for _ in range(2)]
        assert {caller.result(future) for future in futures} <= {0, 1}
        assert sorted(receiver.recv() for _ in range(2)) == [0, 1]


@SPAWN
def test_log_records_come_by_a_queue_as_in_the_logging_cookbook(
    new_caller: Callable[..., Caller],
) -> None:
    queue = multiprocessing.get_context("spawn").Queue()
    caller = new_caller(initializer=works.log_to, initargs=(queue,))
    caller.call(works.log, "from a worker")
    assert queue.get(timeout=DEADLINE).getMessage() == "from a worker"
    queue.close()


class SetLock:
    """Has a class method that sets a lock, as ``tqdm`` has for its ``process_map``."""

    lock: Any = None

    @classmethod
    def set_lock(cls, lock: Any) -> None:
        cls.lock = lock

    @classmethod
    def locked(cls, number: int) -> tuple[int, bool]:
        with cls.lock:
            return number, not cls.lock.acquire(block=False)


@EVERY_PROCESS
@BLOCKING
def test_a_class_method_sets_a_lock_in_each_worker_as_tqdm_does(
    new_caller: Callable[..., Caller], engine: str
) -> None:
    lock = multiprocessing.get_context("spawn" if engine == "template" else engine).Lock()
    caller = new_caller(initializer=SetLock.set_lock, initargs=(lock,))
    assert list(caller.map(SetLock.locked, range(3))) == [(0, True), (1, True), (2, True)]


@pytest.mark.parametrize("by_value", [False, True])
def test_what_cannot_be_inherited_is_refused_at_once(*, by_value: bool) -> None:
    """A lock for forked processes has no name by which others could find it."""
    lock: Any = multiprocessing.get_context("fork").Lock()
    initializer: Any = (lambda _: lock) if by_value else works.take
    with pytest.raises(SerializationError, match=r"fork(.|\n)*mp_context"):
        make_pool("spawn", initializer=initializer, initargs=(lock,))


@SPAWN
@BLOCKING
def test_initargs_are_captured_when_the_executor_is_made(
    new_caller: Callable[..., Caller],
) -> None:
    value = [bytearray(b"first"), bytearray(MIB)]
    caller = new_caller(initializer=works.remember, initargs=("value", value))
    value[0][:] = b"later"
    assert caller.call(works.recall, "value") == [bytearray(b"first"), bytearray(MIB)]


# -- how long they live ---------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@SPAWN
@BLOCKING
@pytest.mark.parametrize("inside", [False, True], ids=["alone", "beside others"])
def test_initargs_that_the_initializer_lets_go_of_are_gone(
    new_caller: Callable[..., Caller], *, inside: bool
) -> None:
    data: Any = bytes(64 * MIB)
    data = [data, {"more": 1}] if inside else data
    least = new_caller(initializer=works.take, initargs=(b"little",)).call(works.resident)
    caller = new_caller(initializer=works.take, initargs=(data,))
    assert caller.call(works.resident) < least + 16 * MIB


@SPAWN
@BLOCKING
def test_initargs_that_are_kept_are_there_once(new_caller: Callable[..., Caller]) -> None:
    least = new_caller(initializer=works.take, initargs=(b"little",)).call(works.resident)
    caller = new_caller(initializer=works.remember, initargs=("data", bytes(64 * MIB)))
    assert least + 60 * MIB < caller.call(works.resident) < least + 80 * MIB


@pytest.mark.parametrize("engine", PROCESSES, indirect=True)
@BLOCKING
def test_big_buffers_are_writable_and_each_worker_has_its_own(
    new_caller: Callable[..., Caller],
) -> None:
    caller = new_caller(initializer=works.remember, initargs=("buffer", works.Buffer(MIB)))
    for _ in range(2):  # the second worker is not to see what the first has written
        assert caller.call(works.increment, "buffer") == (1, MIB)
        pid = caller.call(works.pid)
        os.kill(pid, signal.SIGKILL)
        caller.wait(caller.submit(works.pid))


@pytest.mark.needs("linux")  # shared memory for payloads
def test_the_parent_holds_one_copy_however_many_workers_start() -> None:
    before = works.resident()
    with make_pool(
        "spawn", pool_size=4, initializer=works.take, initargs=(bytes(64 * MIB),)
    ) as pool:
        done = [pool.submit(works.pid) for _ in range(8)]
        for future in done:
            future.result(DEADLINE)
        assert works.resident() < before + 96 * MIB
