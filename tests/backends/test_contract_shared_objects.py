"""Contract: an object that is shared comes to each worker once, and goes with its handle."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from aplex import SerializationError, SharedHandle, SharedHandleError
from tests.support import sharing, works
from tests.support.callers import DEADLINE, PROCESSES, Caller, caller_of, everywhere, make_pool
from tests.support.sharing import BIG, SMALL, Table, table
from tests.support.signals import Gate
from tests.support.waiting import eventually

pytestmark = pytest.mark.few_engines

SIZES = pytest.mark.parametrize("size", [SMALL, BIG], ids=["small", "big"])


def shared_by(caller: Caller, obj: Any) -> SharedHandle[Any]:
    return caller.pool.share(obj)


def shared_bytes(caller: Caller) -> int:
    """How much memory the file with the shared objects holds, its flags left out."""
    backend: Any = caller.pool._gateway._backend
    return os.fstat(backend._arena.end.fileno()).st_blocks * 512


# -- what a work gets ---------------------------------------------------------


@everywhere
@SIZES
def test_a_work_gets_the_object(caller: Caller, size: int) -> None:
    with shared_by(caller, table(7, size)) as handle:
        assert caller.call(sharing.first_byte, handle) == 7
        assert caller.call(sharing.afirst_byte, handle) == 7


@pytest.mark.smoke
def test_wherever_it_stands_among_the_arguments(caller: Caller) -> None:
    with shared_by(caller, table(7)) as handle, shared_by(caller, table(8)) as other:
        assert caller.call(sharing.second, 3, handle) == (3, 7)
        assert caller.call(sharing.either, table=handle) == (7, None)
        assert caller.call(sharing.either, table=handle, other=other) == (7, 8)
        assert caller.call(sharing.both, handle, other) == (7, 8)
        assert caller.call(sharing.both, other, handle) == (8, 7)
        assert caller.call(sharing.both, handle, handle) == (7, 7)


@pytest.mark.parametrize(
    ("holder", "types"),
    [
        (lambda handle: [handle, 1, handle], ["Table", "int", "Table"]),
        (lambda handle: (handle,), ["Table"]),
        (lambda handle: {"a": handle, "b": None}, ["Table", "NoneType"]),
        (lambda handle: {handle}, ["Table"]),
        (lambda handle: sharing.Pair(handle, "x"), ["Table", "str"]),
    ],
    ids=["list", "tuple", "dict", "set", "named tuple"],
)
def test_inside_of_containers(
    caller: Caller, holder: Callable[[Any], Any], types: list[str]
) -> None:
    with shared_by(caller, table()) as handle:
        assert caller.call(sharing.inside, holder(handle)) == types


def test_deep_inside_of_containers(caller: Caller) -> None:
    with shared_by(caller, table(7)) as handle:
        assert caller.call(sharing.deep, {"here": [(handle, 1), (handle, 2)]}) == [8, 9]


def test_in_a_partial(caller: Caller) -> None:
    with shared_by(caller, table(7)) as handle:
        assert caller.call(partial(sharing.second, table=handle), 2) == (2, 7)
        assert caller.call(partial(sharing.first_byte, handle)) == 7
        assert list(caller.map(partial(sharing.both, handle), [handle] * 3)) == [(7, 7)] * 3


def test_what_has_no_handle_stays_as_it_is(caller: Caller) -> None:
    inner = {"numbers": [1, 2], "pair": sharing.Pair(1, 2)}
    with shared_by(caller, table()) as handle:
        args, kwargs = caller.call(works.echo, inner, handle, key=[inner])
    assert args[0] == inner
    assert kwargs == {"key": [inner]}


def test_a_list_in_itself_can_be_an_argument(caller: Caller) -> None:
    endless: list[Any] = [1]
    endless.append(endless)
    with shared_by(caller, table()):
        assert caller.call(len, endless) == 2


def test_a_function_that_travels_by_value_gets_it(caller: Caller) -> None:
    with shared_by(caller, table(7)) as handle:
        for number in range(4):
            assert caller.call(lambda t, n: (t.data[0], n), handle, number) == (7, number)


@pytest.mark.parametrize("chunksize", [1, 3, "auto"])
def test_in_a_map(caller: Caller, chunksize: Any) -> None:
    with shared_by(caller, table(7)) as handle:
        found = caller.map(sharing.second, range(10), [handle] * 10, chunksize=chunksize)
        assert list(found) == [(number, 7) for number in range(10)]
        found = caller.map(sharing.afirst_byte, itertools.repeat(handle, 4), chunksize=chunksize)
        assert list(found) == [7] * 4


@pytest.mark.parametrize("rows", [sharing.rows, sharing.arows])
def test_in_a_stream(caller: Caller, rows: Any) -> None:
    with shared_by(caller, table(7)) as handle:
        assert list(caller.stream(rows, handle, 30)) == [7] * 30


def test_through_views_and_with_options(caller: Caller) -> None:
    view = caller.pool.options(retries=1, priority=1, time_limit=5.0)
    with view.share(table(7)) as handle:
        through = caller.through(view)
        assert through.call(sharing.first_byte, handle) == 7
        assert through.call(sharing.afirst_byte, handle) == 7
        assert caller.call(sharing.first_byte, handle) == 7


def test_through_the_other_face(caller: Caller) -> None:
    pool: Any = caller.pool
    with pool.blocking.share(table(7)) as handle:
        assert pool.blocking.submit(sharing.first_byte, handle).result(DEADLINE) == 7
        assert caller.call(sharing.first_byte, handle) == 7


def test_threads_get_the_very_object() -> None:
    with make_pool("thread") as pool:
        obj = object()
        handle = pool.share(obj)
        assert pool.submit(works.echo, handle, [handle]).result()[0] == (obj, [obj])


def test_an_object_is_captured_when_it_is_shared() -> None:
    with make_pool("template") as pool:
        for size in (SMALL, BIG):
            data = bytearray([1]) * size
            with pool.share(Table(data)) as handle:
                data[0] = 9
                assert pool.submit(sharing.first_byte, handle).result() == 1


# -- once per worker ----------------------------------------------------------


@pytest.mark.needs("process")  # it tells workers by their process ids
@pytest.mark.parametrize("engine", PROCESSES)
@SIZES
def test_each_worker_unpickles_it_once(
    engine: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Table, "unpickled", 0)  # which forked workers inherit
    with make_pool(engine, pool_size=2) as pool:
        pool.start()
        handle = pool.share(table(1, size))
        found = [pool.submit(sharing.times_unpickled, handle) for _ in range(12)]
        found += [pool.submit(sharing.times_unpickled, [handle]) for _ in range(4)]  # type: ignore[arg-type, list-item]
        counts = {future.result() for future in found}
        assert {count for _, count in counts} == {1}
        assert len(counts) == 2


@pytest.mark.needs("process")  # it tells workers by their process ids
def test_both_lanes_of_a_worker_have_the_same_object(caller: Caller) -> None:
    for size in (SMALL, BIG):
        with shared_by(caller, table(1, size)) as handle:
            found = {caller.call(work, handle) for work in LANES for _ in range(6)}
            assert len({process for process, _ in found}) == len(found)


LANES = (sharing.identity, sharing.aidentity)


@SIZES
def test_buffers_are_read_only(size: int) -> None:
    with make_pool("template") as pool:
        assert pool.submit(sharing.is_read_only, pool.share(table(1, size))).result()


@pytest.mark.needs("linux")  # shared memory
@pytest.mark.parametrize("engine", PROCESSES)
def test_big_ones_are_mapped_from_shared_memory(engine: str) -> None:
    with make_pool(engine) as pool:
        assert pool.submit(sharing.permissions, pool.share(table())).result() == "r--s"


# -- workers that come later --------------------------------------------------


@SIZES
def test_a_worker_that_replaces_another_has_it(
    new_caller: Callable[..., Caller], size: int, engine: str
) -> None:
    caller = new_caller(max_tasks_per_child=2)
    handle = shared_by(caller, table(7, size))
    assert [caller.call(sharing.first_byte, handle) for _ in range(9)] == [7] * 9


def test_so_has_one_that_replaces_a_dead_one() -> None:
    with make_pool("template") as pool:
        handle = pool.share(table(7))
        pid = pool.submit(sharing.identity, handle).result()[0]
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: pool.stats().restarts == 1)
        assert pool.submit(sharing.first_byte, handle).result() == 7


def test_a_work_that_runs_again_has_it(tmp_path: Path) -> None:
    with make_pool("template", pool_size=2, retries=1) as pool:
        for number, size in enumerate((SMALL, BIG)):
            with pool.share(table(7, size)) as handle:
                path = str(tmp_path / str(number))
                assert pool.submit(sharing.die_once, path, handle).result(DEADLINE) == 7


def test_workers_of_a_bigger_pool_have_it(new_caller: Callable[..., Caller], engine: str) -> None:
    caller = new_caller(pool_size=1)
    handle = shared_by(caller, table(7))
    assert caller.call(sharing.first_byte, handle) == 7
    caller.pool.resize(3)
    found = [caller.submit(sharing.first_byte, handle) for _ in range(60)]
    assert [caller.result(future) for future in found] == [7] * 60
    caller.pool.resize(1)
    assert caller.call(sharing.first_byte, handle) == 7


@pytest.mark.parametrize("inner", ["thread", "template", "fork"])
@pytest.mark.parametrize("outer", ["thread", "template"])
def test_a_work_may_share_it_with_workers_of_its_own(outer: str, inner: str) -> None:
    with make_pool(outer) as pool:
        handle = pool.share(table(7))
        assert pool.submit(sharing.first_byte, handle).result() == 7
        assert pool.submit(sharing.shared_on, inner, handle).result(DEADLINE) == [7, 7]
        assert pool.submit(sharing.first_byte, handle).result() == 7


# -- how it goes --------------------------------------------------------------


@everywhere
def test_a_closed_handle_is_refused_at_submit(caller: Caller) -> None:
    handle = shared_by(caller, table())
    caller.call(sharing.first_byte, handle)
    handle.close()
    handle.close()
    assert handle.closed
    for args in ((handle,), ([handle],), (1, handle)):
        with pytest.raises(SharedHandleError, match=r"was closed.*share the object anew"):
            caller.submit(works.echo, *args)
    with pytest.raises(SharedHandleError, match="was closed"):
        caller.submit(works.echo, key=handle)
    with pytest.raises(SharedHandleError, match="was closed"):
        list(caller.map(sharing.first_byte, [handle]))
    with pytest.raises(SharedHandleError, match="was closed"):
        caller.stream(sharing.rows, handle, 3)


@everywhere
def test_so_is_one_of_another_executor(caller: Caller) -> None:
    for engine in ("thread", "template"):
        with make_pool(engine) as other:
            handle = other.share(table())
            other.submit(sharing.first_byte, handle).result()
            for args in ((handle,), ([handle],), (1, handle)):
                with pytest.raises(SharedHandleError, match=r"(?i)executor.*share the object"):
                    caller.submit(works.echo, *args)
            own = shared_by(caller, table())
            with pytest.raises(SharedHandleError, match="executor"):
                caller.submit(sharing.both, own, handle)
            own.close()


def test_a_refused_work_takes_no_room(face: str) -> None:
    caller = caller_of(face, "template", max_pending=1)
    try:
        handle = shared_by(caller, table())
        handle.close()
        for _ in range(3):
            with pytest.raises(SharedHandleError):
                caller.submit(works.echo, handle)
        assert caller.call(works.add, 1, 2) == 3
    finally:
        caller.close()


@everywhere
def test_works_that_were_submitted_keep_it(caller: Caller, new_gate: Callable[[], Gate]) -> None:
    gate = new_gate()
    with shared_by(caller, table(7)) as handle:
        found = [caller.submit(sharing.after, gate.path, handle) for _ in range(6)]
        found += [caller.submit(sharing.after, gate.path, table=handle)]
    del handle
    gc.collect()
    gate.open()
    assert [caller.result(future) for future in found] == [7] * 7


@pytest.mark.needs("linux")  # shared memory
@pytest.mark.parametrize("engine", PROCESSES)
@pytest.mark.parametrize("way", ["close", "with", "garbage"])
def test_its_memory_is_given_back(engine: str, way: str) -> None:
    caller = caller_of("blocking", engine, pool_size=2)
    try:
        caller.call(works.add, 1, 2)
        before = shared_bytes(caller)
        handle = shared_by(caller, table(7))
        found = [caller.submit(work, handle) for work in LANES for _ in range(8)]
        for future in found:
            caller.result(future)
        assert shared_bytes(caller) >= before + BIG
        if way == "close":
            handle.close()
        elif way == "with":
            with handle:
                pass
        else:
            del handle
        eventually(lambda: shared_bytes(caller) < before + BIG // 2)
    finally:
        caller.close()


@pytest.mark.needs("linux")  # shared memory
def test_it_is_given_back_though_nobody_was_given_it(face: str) -> None:
    caller = caller_of(face, "template")
    try:
        handle = shared_by(caller, table())
        held = shared_bytes(caller)
        handle.close()
        eventually(lambda: shared_bytes(caller) < held)
    finally:
        caller.close()


def test_the_worker_lets_go_of_the_object(face: str) -> None:
    """Also of one that is no more than a pickle."""
    caller = caller_of(face, "template")
    try:
        handle = shared_by(caller, sharing.Remembered())
        caller.call(sharing.remember, handle)
        assert caller.call(sharing.is_remembered)
        handle.close()
        eventually(lambda: not caller.call(sharing.is_remembered))
    finally:
        caller.close()


def test_threads_let_go_of_it_too() -> None:
    with make_pool("thread") as pool:
        obj = table()
        gone = weakref.ref(obj)
        handle = pool.share(obj)
        assert pool.submit(sharing.first_byte, handle).result() == 1
        del obj
        handle.close()
        eventually(lambda: gone() is None)


@pytest.mark.needs("linux")  # shared memory
def test_a_view_that_a_work_has_kept_stays_as_it_is() -> None:
    """Its memory is not used for anything else before it is gone."""
    caller = caller_of("blocking", "template")
    try:
        handle = shared_by(caller, table(7))
        caller.call(sharing.keep, handle)
        held = shared_bytes(caller)
        handle.close()
        for byte in range(20):
            with shared_by(caller, table(byte)) as other:
                assert caller.call(sharing.first_byte, other) == byte
                assert caller.call(sharing.kept_total) == 700
        assert shared_bytes(caller) >= held
        caller.call(sharing.let_go)
        eventually(lambda: shared_bytes(caller) < BIG)
    finally:
        caller.close()


def test_so_does_that_of_a_process_that_a_work_has_forked(
    new_gate: Callable[[], Gate], tmp_path: Path
) -> None:
    caller = caller_of("blocking", "template")
    gate = new_gate()
    try:
        handle = shared_by(caller, table(7))
        done = str(tmp_path / "done")
        caller.call(sharing.in_a_child, gate.path, done, handle)
        handle.close()
        for byte in range(20):
            with shared_by(caller, table(byte)) as other:
                assert caller.call(sharing.first_byte, other) == byte
        gate.open()
        eventually(lambda: os.path.exists(done) and bool(Path(done).read_text()))
        assert Path(done).read_text() == "7"
    finally:
        caller.close()


@pytest.mark.needs("linux")  # shared memory
def test_a_worker_that_dies_holds_nothing_back() -> None:
    caller = caller_of("blocking", "template")
    try:
        handle = shared_by(caller, table(7))
        pid = caller.call(sharing.keep, handle)
        handle.close()
        caller.call(works.add, 1, 2)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: shared_bytes(caller) < BIG)
        assert caller.call(works.add, 1, 2) == 3
    finally:
        caller.close()


@pytest.mark.needs("linux")  # shared memory
def test_it_goes_at_the_shutdown_at_the_latest() -> None:
    caller = caller_of("blocking", "template")
    handle = shared_by(caller, table(7))
    caller.call(sharing.first_byte, handle)
    backend: Any = caller.pool._gateway._backend
    copy = os.dup(backend._arena.end.fileno())
    try:
        caller.close()
        assert os.fstat(copy).st_blocks * 512 < BIG
        with pytest.raises(RuntimeError, match="after shutdown"):
            caller.pool.submit(sharing.first_byte, handle)
        with pytest.raises(RuntimeError, match="after shutdown"):
            caller.pool.share(1)
    finally:
        os.close(copy)


@pytest.mark.parametrize("engine", ["thread", "template"])
def test_a_handle_does_not_keep_its_executor(engine: str) -> None:
    pool = make_pool(engine)
    handle = pool.share(table())
    pool.submit(sharing.first_byte, handle).result()
    gone = pool._manager.gone
    del pool
    gc.collect()
    gone.result(DEADLINE)
    handle.close()


# -- many ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "engine", ["thread", pytest.param("template", marks=pytest.mark.needs("linux"))]
)  # shared memory
def test_a_thousand_handles(engine: str) -> None:
    caller = caller_of("blocking", engine, pool_size=2)
    try:
        sizes = [70_000 if number % 2 else 10 for number in range(1000)]
        handles = [
            shared_by(caller, table(number % 256, size)) for number, size in enumerate(sizes)
        ]
        found = [caller.submit(sharing.first_byte, handle) for handle in handles]
        found += [caller.submit(sharing.afirst_byte, handle) for handle in handles]
        expected = [number % 256 for number in range(1000)] * 2
        assert [caller.result(future) for future in found] == expected
        if engine != "thread":
            assert caller.call(sharing.descriptors_open) < 60
            del found[:]
            handles.clear()
            eventually(lambda: shared_bytes(caller) < BIG)
        assert caller.call(works.add, 1, 2) == 3
    finally:
        caller.close()


def test_from_many_threads_at_once() -> None:
    def use(pool: Any, number: int) -> None:
        for _ in range(10):
            with pool.share(table(number, 70_000)) as handle:
                found.append(pool.submit(sharing.first_byte, handle).result(DEADLINE) == number)

    found: list[bool] = []
    with make_pool("template", pool_size=2) as pool:
        threads = [threading.Thread(target=use, args=(pool, n)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        backend: Any = pool._gateway._backend
        eventually(lambda: not backend._shares._entries)
    assert found == [True] * 80


# -- where there is no shared memory -------------------------------------------


@pytest.mark.parametrize("engine", ["template", "spawn"])
def test_without_shared_memory_it_comes_by_the_channel(
    engine: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from aplex._backends.linked import sending

    monkeypatch.setattr(sending, "make_shared_memory", lambda _plan: None)
    with make_pool(engine, pool_size=2, retries=1) as pool:
        for size in (SMALL, BIG):
            handle = pool.share(table(7, size))
            found = {pool.submit(sharing.times_unpickled, handle).result() for _ in range(6)}
            assert pool.submit(sharing.afirst_byte, handle).result() == 7
            assert pool.submit(sharing.is_read_only, handle).result()
            assert pool.submit(sharing.permissions, handle).result() == ""
            assert pool.submit(sharing.die_once, str(tmp_path / f"{size}"), handle).result() == 7
            handle.close()
            assert len({pid for pid, _ in found}) == len(found)


# -- what goes wrong ----------------------------------------------------------


def test_what_cannot_be_pickled_is_refused_when_it_is_shared() -> None:
    with make_pool("template") as pool:
        with pytest.raises(SerializationError, match="the lock that is to be shared"):
            pool.share(threading.Lock())
        with pytest.raises(SharedHandleError, match="as an argument"):
            pool.share([pool.share(1)])
        assert pool.submit(works.add, 1, 2).result() == 3


def test_what_cannot_be_unpickled_fails_only_the_works_that_want_it(face: str) -> None:
    caller = caller_of(face, "template")
    try:
        handle = shared_by(caller, sharing.Crumbling())
        for args in ((handle,), ([handle],), (1, handle)):
            error = caller.raised(works.echo, *args)
            assert isinstance(error, SerializationError)
            assert "cannot unpickle the shared Crumbling: LookupError: crumbled" in str(error)
        assert caller.call(works.add, 1, 2) == 3
        handle.close()
        assert caller.call(works.add, 1, 2) == 3
    finally:
        caller.close()


def test_a_handle_stays_in_its_process() -> None:
    import copy
    import pickle

    for engine in ("thread", "template"):
        with make_pool(engine) as pool:
            handle = pool.share(table())
            for duplicate in (pickle.dumps, copy.copy, copy.deepcopy):
                with pytest.raises(SharedHandleError, match="as an argument"):
                    duplicate(handle)


def test_a_handle_says_what_it_is_of() -> None:
    with make_pool("thread") as pool:
        handle = pool.share(table())
        assert repr(handle) == "<SharedHandle of Table>"
        handle.close()
        assert repr(handle) == "<SharedHandle closed>"


@pytest.mark.parametrize("engine", ["thread", "template"])
def test_a_finalizer_may_close_it(engine: str) -> None:
    """In the middle of whatever this thread does."""

    class Closing:
        def __init__(self, handle: Any) -> None:
            self.handle = handle
            self.me = self  # only the garbage collector ends it

        def __del__(self) -> None:
            self.handle.close()

    with make_pool(engine, pool_size=2) as pool:
        threshold = gc.get_threshold()
        gc.set_threshold(10, 2, 2)
        try:
            for number in range(200):
                handle = pool.share(table(number, 70_000 if number % 3 else 10))
                future = pool.submit(sharing.first_byte, handle)
                Closing(handle)
                del handle
                assert future.result(DEADLINE) == number
        finally:
            gc.set_threshold(*threshold)
        gc.collect()
        assert pool.submit(works.add, 1, 2).result(DEADLINE) == 3


@pytest.mark.usefixtures("unmeasured")
def test_a_signal_handler_may_share_and_close() -> None:
    with make_pool("template", pool_size=2) as pool:
        found: list[Any] = []

        deadline = time.monotonic() + 1.0

        def handler(*_: object) -> None:
            with pool.share(table(5)) as handle:
                found.append(pool.submit(sharing.first_byte, handle))
            if time.monotonic() < deadline:  # not before: handlers would break into each other
                signal.setitimer(signal.ITIMER_REAL, 0.002)  # without end where they are slow

        before = signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.002)
        try:
            while time.monotonic() < deadline:
                with pool.share(table(7)) as handle:
                    assert pool.submit(sharing.first_byte, handle).result(DEADLINE) == 7
                    assert pool.submit(sharing.second, 1, handle).result(DEADLINE) == (1, 7)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert {future.result(DEADLINE) for future in found} == {5}
