"""Contract: streams: in order, bounded, exceptions in place, closed wherever they are left."""

from __future__ import annotations

import gc
import itertools
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from aplex import SerializationError, WorkerLostError
from tests.support import works
from tests.support.callers import DEADLINE, KILLED, Caller, everywhere
from tests.support.signals import Signals

COUNTS = pytest.mark.parametrize("count_to", [works.count_to, works.acount_to])
ENDLESS = pytest.mark.parametrize("endless", [works.count_and_say, works.acount_and_say])
BIG = 1024 * 1024  # bytes


def sized(caller: Caller, size: int) -> Caller:
    return caller.through(caller.pool.options(buffersize=size))


def reach(caller: Caller, name: str, goal: int) -> int:
    """Ask until a stream is that far; return how far it is."""
    deadline = time.monotonic() + DEADLINE
    while (at := caller.call(works.how_far, name)) < goal:
        assert time.monotonic() < deadline, at
    return at


# -- items ----------------------------------------------------------------------------------


@everywhere
@COUNTS
def test_items_come_in_order(caller: Caller, count_to: Callable[..., Any]) -> None:
    assert list(caller.stream(count_to, 500)) == list(range(500))


@COUNTS
def test_an_empty_stream_ends_at_once(caller: Caller, count_to: Callable[..., Any]) -> None:
    stream = caller.stream(count_to, 0)
    assert list(stream) == []
    assert list(stream) == []


@pytest.mark.parametrize("stream", [works.echo_stream, works.aecho_stream])
def test_all_keyword_arguments_are_the_works(caller: Caller, stream: Any) -> None:
    kwargs = {"buffersize": 1, "work": 2, "load_balancing_meta": 3, "credit": 4}
    assert list(caller.stream(stream, 1, **kwargs)) == [(1,), kwargs]


@pytest.mark.parametrize("work", [works.yield_these, works.ayield_these])
def test_items_of_all_kinds_travel(caller: Caller, work: Callable[..., Any]) -> None:
    items = [1, None, "text", b"bytes", {"a": [1]}, works.Adder(3), 2.5, (), lambda: 1]
    got = list(caller.stream(work, *items))
    assert got[:-1] == items[:-1]
    assert got[-1]() == 1


@pytest.mark.parametrize("work", [works.yield_big, works.ayield_big])
def test_big_items_travel(caller: Caller, work: Callable[..., Any]) -> None:
    for number, item in enumerate(caller.stream(work, 40, BIG)):
        assert item == bytes([number]) * BIG


def test_whatever_can_be_iterated_is_a_stream(caller: Caller) -> None:
    assert list(caller.stream(range, 5)) == [0, 1, 2, 3, 4]
    assert list(caller.stream(works.decorated_stream, 40)) == list(range(40))


@COUNTS
def test_a_hundred_streams_at_once(caller: Caller, count_to: Callable[..., Any]) -> None:
    streams = [caller.stream(count_to, 40) for _ in range(100)]
    assert [list(stream) for stream in streams] == [list(range(40))] * 100


def test_many_asynchronous_streams_are_read_in_turns(caller: Caller) -> None:
    streams = [caller.stream(works.acount_to, 40) for _ in range(20)]
    assert [set(row) for row in zip(*streams, strict=True)] == [{n} for n in range(40)]


# -- the bound ------------------------------------------------------------------------------


@COUNTS
@pytest.mark.parametrize("size", [1, 2, 3, 16, 50])
def test_never_more_than_buffersize_items_are_ahead(
    new_caller: Callable[..., Caller], count_to: Callable[..., Any], size: int
) -> None:
    caller = new_caller()
    name = f"bound-{uuid.uuid4()}"  # worker threads live in this process, as their counts do
    stream = sized(caller, size).stream(count_to, 4 * size + 5, name)
    assert reach(caller, name, size) == size
    slack = max(1, size // 2) - 1  # credit that is not sent yet
    for handed, number in enumerate(itertools.islice(stream, 3 * size)):
        assert number == handed
        assert handed + size - slack <= reach(caller, name, handed + size - slack)
        assert caller.call(works.how_far, name) <= handed + size
    assert list(stream) == list(range(3 * size, 4 * size + 5))


@pytest.mark.parametrize("size", [0, -1])
def test_a_buffer_holds_at_least_one_item(caller: Caller, size: int) -> None:
    with pytest.raises(ValueError, match="buffersize must be at least 1"):
        caller.pool.options(buffersize=size)


# -- exceptions -----------------------------------------------------------------------------


@pytest.mark.parametrize("work", [works.yield_then_fail, works.ayield_then_fail])
@pytest.mark.parametrize("good", [0, 1, 16, 40])
def test_an_exception_comes_after_the_items_before_it(
    caller: Caller, work: Callable[..., Any], good: int
) -> None:
    stream = caller.stream(work, good, LookupError("gone"))
    assert list(itertools.islice(stream, good)) == list(range(good))
    with pytest.raises(LookupError, match="gone"):
        next(stream)
    assert list(stream) == []


def test_an_argument_that_cannot_travel_is_named(caller: Caller, processes: bool) -> None:
    stream = caller.stream(works.count_to, threading.Lock())
    with pytest.raises(SerializationError if processes else TypeError, match=r"argument 0|integer"):
        next(stream)


@pytest.mark.needs("process")  # it tells workers by their process ids
@pytest.mark.parametrize("work", [works.yield_these, works.ayield_these])
def test_an_item_that_cannot_be_read_ends_the_stream(
    caller: Caller, processes: bool, work: Callable[..., Any]
) -> None:
    if processes:
        stream = caller.stream(
            works.yield_badly if work is works.yield_these else works.ayield_badly
        )
        assert next(stream) == 1
        with pytest.raises(SerializationError):
            next(stream)
        assert list(stream) == []


@pytest.mark.parent_only
def test_what_is_no_stream_is_refused(caller: Caller) -> None:
    with pytest.raises(TypeError, match="coroutine function"):
        caller.stream(works.aadd, 1)
    with pytest.raises(TypeError, match="generator object"):
        caller.stream(works.count_to(1))
    with pytest.raises(TypeError, match="must be callable"):
        caller.stream(3)
    with pytest.raises(TypeError, match="use submit"):
        next(caller.stream(works.add, 1))


# -- leaving --------------------------------------------------------------------------------


@ENDLESS
def test_close_waits_until_the_cleanup_has_run(
    caller: Caller, endless: Callable[..., Any], signals: Signals
) -> None:
    stream: Any = caller.stream(endless, signals.path)
    assert [next(stream), next(stream)] == [0, 1]
    stream.close()
    assert signals.said() == ["finally"]
    assert list(stream) == []
    stream.close()


@ENDLESS
def test_a_stream_that_is_dropped_is_closed(
    caller: Caller, endless: Callable[..., Any], signals: Signals
) -> None:
    for number in caller.stream(endless, signals.path):
        if number == 20:
            break
    gc.collect()
    signals.expect("finally")


def test_a_generator_that_awaits_is_cancelled_there(caller: Caller, signals: Signals) -> None:
    stream: Any = caller.stream(works.await_and_say, signals.path)
    assert next(stream) == 0
    stream.close()
    assert signals.said() == ["finally"]


@COUNTS
def test_a_stream_that_was_not_begun_can_be_closed(
    caller: Caller, count_to: Callable[..., Any]
) -> None:
    streams: list[Any] = [caller.stream(count_to, 10**9) for _ in range(20)]
    for stream in streams:
        stream.close()
        assert list(stream) == []


@ENDLESS
def test_leaving_the_executor_ends_the_streams_that_its_user_reads(
    new_caller: Callable[..., Caller], endless: Callable[..., Any], signals: Signals
) -> None:
    caller = new_caller()
    if caller.awaitable:
        caller.run(_leave_async(caller.pool, endless, signals.path))  # type: ignore[attr-defined]
    else:
        with caller.pool as pool:
            kept = pool.stream(endless, signals.path)
            assert next(kept) == 0
        with pytest.raises(caller.Cancelled):
            list(kept)
    signals.expect("finally")


async def _leave_async(pool: Any, endless: Callable[..., Any], signals: str) -> None:
    async with pool:
        kept = pool.stream(endless, signals)
        assert await anext(kept) == 0
    assert [number async for number in _until_cancelled(kept)]


async def _until_cancelled(stream: Any) -> Any:
    import asyncio

    try:
        async for item in stream:
            yield item
    except asyncio.CancelledError:
        return
    raise AssertionError("it was not cancelled")


def test_a_shutdown_lets_a_stream_go_on_that_another_thread_reads(
    new_caller: Callable[..., Caller],
) -> None:
    caller = new_caller()
    stream = caller.stream(works.acount_to, 200)
    assert next(stream) == 0
    caller.pool.shutdown(wait=False)
    assert list(stream) == list(range(1, 200))


# -- death ----------------------------------------------------------------------------------


@pytest.mark.parametrize("work", [works.yield_then_die, works.ayield_then_die])
@pytest.mark.parametrize("engine", ["template"], indirect=True)
def test_a_death_comes_after_the_items_that_had_arrived(
    new_caller: Callable[..., Caller], work: Callable[..., Any]
) -> None:
    caller = new_caller()
    stream = caller.through(caller.pool.options(retries=2)).stream(work, 17)
    got = [next(stream) for _ in range(16)]  # then it has credit for more
    with pytest.raises(WorkerLostError) as caught:
        got += stream
    assert got == list(range(len(got)))
    assert caught.value.exitcode == -KILLED
    assert caller.call(works.add, 1, 2) == 3


# -- how fast -------------------------------------------------------------------------------


@pytest.mark.parametrize("work", [works.yield_then_wait, works.ayield_then_wait])
def test_the_first_item_does_not_wait_for_the_second(
    caller: Caller, work: Callable[..., Any], gate: Any
) -> None:
    stream = caller.stream(work, gate.path)
    assert next(stream) == "first"
    gate.open()
    assert list(stream) == ["second"]
