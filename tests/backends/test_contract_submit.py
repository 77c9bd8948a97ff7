"""Contract: ``submit``, what it takes, what it refuses, and when arguments are captured."""

from __future__ import annotations

import concurrent.futures
import functools
import gc
import os
import warnings
import weakref
from collections.abc import Callable, Iterator
from queue import Queue
from typing import Any

import pytest

from aplex import AsyncioFuture, ConcurrentFuture
from tests.support import works
from tests.support.callers import LOOPS, PROCESSES, Blocking, Caller, everywhere, make_pool


@everywhere
def test_arguments_arrive(caller: Caller) -> None:
    for echo in (works.echo, works.aecho):
        got = caller.call(echo, 1, "two", [3], work=4, self=5, name=6)
        assert got == ((1, "two", [3]), {"work": 4, "self": 5, "name": 6})


def test_submit_returns_a_future_of_its_face(caller: Caller) -> None:
    future = caller.submit(works.add, 1)
    assert isinstance(future, AsyncioFuture if caller.awaitable else ConcurrentFuture)
    assert isinstance(caller.pool, concurrent.futures.Executor)
    caller.wait(future)
    assert future.done()
    assert not future.cancelled()
    assert future.exception() is None


@everywhere
def test_thousands_of_works(caller: Caller) -> None:
    """Far more than the workers may have in flight."""
    futures = [caller.submit(works.aadd if n % 2 else works.add, n, 1) for n in range(1000)]
    assert [caller.result(future) for future in futures] == list(range(1, 1001))


@everywhere
@pytest.mark.parametrize("make", [bytes, bytearray], ids=["bytes", "bytearray"])
def test_big_arguments_and_results(caller: Caller, make: Callable[..., Any]) -> None:
    """More than any channel holds, both ways at once."""
    big = make(os.urandom(1000) * 3000)
    futures = [caller.submit(work, big, big[:1]) for work in (works.add, works.aadd) * 3]
    for future in futures:
        assert caller.result(future) == big + big[:1]


@everywhere
@pytest.mark.parametrize("work", [works.echo, works.aecho])
def test_arguments_are_captured_at_submit(
    caller: Caller, processes: bool, work: Callable[..., Any]
) -> None:
    """What the caller changes afterwards is not seen by process workers."""
    argument, by_name = [1], {"a": bytearray(b"x")}
    futures = []
    for n in range(20):
        argument[0] = n
        by_name["a"][0] = n
        futures.append(caller.submit(work, argument, key=by_name))
    argument[0] = by_name["a"][0] = 99
    results = [caller.result(future) for future in futures]
    if processes:
        expected = [(([n],), {"key": {"a": bytearray([n])}}) for n in range(20)]
        assert results == expected
    else:
        assert all(args[0] is argument for args, _ in results)


def test_the_state_of_a_callable_is_captured_at_submit(caller: Caller, processes: bool) -> None:
    """That of an object with a method, built-in classes included."""
    callee, items = works.Callee(0), [0]
    futures = []
    for n in range(3):
        callee.x = n
        items.append(n)
        futures += [caller.submit(callee, 0), caller.submit(items.count, n)]
        futures.append(caller.submit(items.copy))
    results = [caller.result(future) for future in futures]
    if processes:
        expected = [0, 2, [0, 0]], [1, 1, [0, 0, 1]], [2, 1, [0, 0, 1, 2]]
        assert results == [*expected[0], *expected[1], *expected[2]]
    assert results[-3:] == [2, 1, [0, 0, 1, 2]]


def test_works_do_not_share_the_state_of_their_callables(caller: Caller, processes: bool) -> None:
    """What one work does to what its callable holds, the next one does not see.

    Except in threads, which share all objects.
    """
    items: list[int] = []

    def closure(item: int) -> int:
        items.append(item)
        return len(items)

    stack = [1, 2, 3, 4]
    popped = [caller.call(stack.pop) for _ in range(4)]
    lengths = [caller.call(closure, n) for n in range(4)]
    assert popped == ([4] * 4 if processes else [4, 3, 2, 1])
    assert lengths == ([1] * 4 if processes else [1, 2, 3, 4])


@pytest.mark.parent_only
@pytest.mark.parametrize("work", [None, 3, "add", works.Adder(1)])
def test_what_is_not_callable_is_refused(caller: Caller, work: Any) -> None:
    with pytest.raises(TypeError, match="must be callable"):
        caller.submit(work)
    with pytest.raises(TypeError, match="must be callable"):
        caller.map(work, [1])


@pytest.mark.parent_only
def test_a_coroutine_object_is_refused_and_closed(caller: Caller) -> None:
    """The message says what to pass, and no warning says it was never awaited."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        coroutine = works.aadd(1, 2)
        with pytest.raises(TypeError, match=r"pass the coroutine function") as caught:
            caller.submit(coroutine)
        assert "aadd" in str(caught.value)
        del coroutine, caught
        gc.collect()


@pytest.mark.parent_only
def test_an_asynchronous_generator_function_is_refused(caller: Caller) -> None:
    with pytest.raises(TypeError, match="asynchronous generator function"):
        caller.submit(works.generator)


def test_a_refused_work_harms_nobody(caller: Caller) -> None:
    good = [caller.submit(works.aadd, n) for n in range(10)]
    with pytest.raises(TypeError):
        caller.submit(None)
    good += [caller.submit(works.aadd, n) for n in range(10)]
    assert [caller.result(future) for future in good] == [*range(10)] * 2


def test_submit_after_shutdown_is_refused(new_caller: Callable[..., Caller]) -> None:
    used, unused = new_caller(), new_caller()
    assert used.call(works.add, 1) == 1
    for caller in (used, unused):
        caller.pool.shutdown()
        for _ in range(2):
            with pytest.raises(RuntimeError, match="cannot submit a work after shutdown"):
                caller.submit(works.add, 1)
            with pytest.raises(RuntimeError, match="after shutdown"):
                caller.map(works.add, [1])
        with pytest.raises(RuntimeError, match="after shutdown"):
            caller.submit(works.add, works.Unpicklable())


def test_an_awaitable_submit_without_a_loop_says_so(engine: str) -> None:
    with make_pool(engine, awaitable=True) as pool:
        with pytest.raises(RuntimeError, match="no running event loop"):
            pool.submit(works.add, 1)


@pytest.mark.parent_only
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"pool_size": 0}, ValueError, "pool_size must be at least 1, got 0"),
        ({"pool_size": -3}, ValueError, "pool_size must be at least 1"),
        ({"pool_size": 1.5}, TypeError, "pool_size must be an int"),
        ({"max_works_per_worker": 0}, ValueError, "max_works_per_worker must be at least 1"),
        ({"load_balancer": 3}, TypeError, "load_balancer must be callable"),
        ({"worker_loop_factory": "uvloop"}, TypeError, "worker_loop_factory must be callable"),
        ({"initializer": 3}, TypeError, "initializer must be callable"),
        ({"exit_grace": -1}, ValueError, "exit_grace must not be negative"),
        ({"retries": None}, TypeError, "retries must be an int, not None"),
        ({"no_such_option": 1}, TypeError, "no_such_option"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_nonsense_options_are_refused(
    engine: str, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make_pool(engine, **options)


@pytest.mark.parametrize("seconds", [1e12, float("inf")])
def test_seconds_without_end_are_no_limit(
    new_caller: Callable[..., Caller], processes: bool, seconds: float
) -> None:
    """Longer than locks, selectors and epoll can wait; in every option and argument."""
    options = {"exit_grace": seconds, "restart_window": seconds}
    caller = new_caller(**options, **({"start_timeout": seconds} if processes else {}))
    limited = {"time_limit": seconds, "deadline": seconds, "kill_after": seconds}
    view = caller.through(caller.pool.options(**limited))
    for work in (works.span, works.aspan):
        assert caller.call(work, 0.05)
        assert view.call(work, 0.05)
        assert len(list(caller.map(work, [0.05] * 3, timeout=seconds))) == 3
        assert len(list(caller.map(work, [0.0] * 9, timeout=seconds, chunksize=2))) == 9
        if not caller.awaitable:
            assert caller.submit(work, 0.05).result(timeout=seconds)
            assert caller.submit(work, 0.05).exception(timeout=seconds) is None


def test_a_timeout_that_is_over_already_is_no_mistake(caller: Caller) -> None:
    """Programs compute what is left of one. As in the standard library."""
    with pytest.raises(TimeoutError):
        list(caller.map(works.span, [0.05], timeout=-0.1))
    with pytest.raises(ValueError, match="timeout must not be NaN"):
        caller.map(works.span, [0.05], timeout=float("nan"))
    with pytest.raises(TypeError, match="timeout must be a number of seconds or None, not '1'"):
        caller.map(works.span, [0.05], timeout="1")


def test_an_initializer_that_cannot_travel_is_refused_at_once() -> None:
    with pytest.raises(Exception, match="glued to its place") as caught:
        make_pool("spawn", initializer=works.remember, initargs=("a", works.Unpicklable()))
    assert type(caught.value).__name__ == "SerializationError"


@pytest.mark.parametrize("engine", ["thread", *PROCESSES], indirect=True)
def test_the_initializer_sets_up_every_worker(new_caller: Callable[..., Caller]) -> None:
    caller = new_caller(pool_size=2, initializer=works.remember, initargs=("key", [7]))
    futures = [caller.submit(work, "key") for work in (works.recall, works.arecall) * 4]
    assert [caller.result(future) for future in futures] == [[7]] * 8


@pytest.mark.parametrize("engine", ["thread", "template"], indirect=True)
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    "initializer",
    [works.aremember, functools.partial(works.aremember), works.ARememberer()],
    ids=["function", "partial", "object"],
)
def test_a_coroutine_function_as_initializer_runs_on_the_loop_of_the_worker(
    new_caller: Callable[..., Caller], loop: str, initializer: Callable[..., Any]
) -> None:
    caller = new_caller(loop=loop, initializer=initializer, initargs=("akey", 7))
    assert caller.call(works.recall, "akey") == 7
    assert caller.call(works.same_loop, "akey") == (7, 7, True)


@everywhere
def test_results_and_arguments_are_not_kept(caller: Caller) -> None:
    """They are collected as soon as the caller drops them, and the worker's thread has moved on."""
    for work in (works.tracked, works.atracked):
        argument = works.Tracked()
        future = caller.submit(work, argument)
        result = caller.result(future)
        collected: Queue[object] = Queue()
        kept = [weakref.ref(each, collected.put) for each in (argument, result, future)]
        del argument, future, result
        caller.assert_idle()
        for _ in kept:
            collected.get(timeout=1)
        assert [each() for each in kept] == [None] * 3


@everywhere
def test_callables_are_not_kept(caller: Caller) -> None:
    """Methods, and closures, have objects with them."""

    class Owner:
        def method(self, number: int) -> int:
            return number + 1

        async def amethod(self, number: int) -> int:
            return number + 1

        def closure(self) -> Callable[[int], int]:
            return lambda number: number + 1 if self else 0

        def items(self, number: int) -> Iterator[int]:
            yield number + 1

    for name in ("method", "amethod", "closure", "items"):
        owner = Owner()
        work: Any = owner.closure() if name == "closure" else getattr(owner, name)
        if name == "items":
            assert list(caller.stream(work, 1)) == [2]
        else:
            assert caller.call(work, 1) == 2
            assert list(caller.map(work, [1, 2], chunksize=2)) == [2, 3]
        collected: Queue[object] = Queue()
        kept = weakref.ref(owner, collected.put)
        del owner, work
        caller.assert_idle()
        collected.get(timeout=1)
        assert kept() is None


@everywhere
def test_what_has_a_deadline_is_not_kept_until_then(caller: Caller) -> None:
    late = caller.through(caller.pool.options(deadline=3600))
    for work in (works.tracked, works.atracked):
        argument = works.Tracked()
        futures = [late.submit(work, argument) for _ in range(3)]
        caller.wait(*futures)
        collected: Queue[object] = Queue()
        kept = weakref.ref(argument, collected.put)
        del argument, futures
        caller.assert_idle()
        collected.get(timeout=1)
        assert kept() is None


@everywhere
def test_exceptions_are_not_kept(caller: Caller) -> None:
    """Nor the arguments that the frames of their tracebacks hold, and without the collector."""
    for work in (works.fail_by_itself, works.afail_by_itself):
        argument = works.Tracked()
        error = caller.raised(work, argument)
        collected: Queue[object] = Queue()
        kept = [weakref.ref(each, collected.put) for each in (argument, error)]
        del argument, error
        caller.assert_idle()
        for _ in kept:
            collected.get(timeout=1)
        assert [each() for each in kept] == [None] * 2


@everywhere
def test_workers_do_not_keep_results_and_arguments(caller: Caller) -> None:
    kept = works.Tracked()

    def closure(_: Any) -> works.Tracked:
        return kept  # noqa: F821 - deleted below, when it has travelled

    for work in (works.nothing, works.anothing, works.tracked, works.atracked, closure):
        for _ in range(4):
            caller.call(work, works.Tracked())
    del kept
    for _ in range(4):  # the second one on each worker sees what the first has left
        count = caller.call(works.living)
    assert count == 0


@pytest.mark.parametrize("engine", ["thread", *PROCESSES], indirect=True)
def test_nothing_is_started_before_the_first_work(engine: str) -> None:
    """And an executor that was never used leaves nothing behind, closed or dropped."""
    make_pool(engine)
    pool = make_pool(engine)
    assert "0 workers" in repr(pool)
    pool.shutdown()
    Blocking(make_pool(engine)).close()
    gc.collect()
