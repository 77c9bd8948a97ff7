"""Contract: ``map``, in order, within a window, and what becomes of the rest."""

from __future__ import annotations

import asyncio
import gc
import itertools
import operator
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.support import works
from tests.support.callers import DEADLINE, Awaiting, Caller, Steps, everywhere
from tests.support.inputs import Meter
from tests.support.signals import Gate, Signals

ChunkSize = int | Literal["auto"]
WORKS = [works.add, works.aadd, works.decorated]


@everywhere
@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.__name__)
@pytest.mark.parametrize("chunksize", [1, 3, "auto"])
def test_results_come_in_the_order_of_the_items(
    caller: Caller, work: Callable[..., Any], chunksize: ChunkSize
) -> None:
    count = 5000 if chunksize == "auto" else 20
    assert list(caller.map(work, range(count), chunksize=chunksize)) == list(range(count))


def test_results_come_in_order_whichever_is_done_first(
    caller: Caller, signals: Signals, new_gate: Callable[[], Gate]
) -> None:
    gates = [new_gate() for _ in range(3)]
    results = caller.map(works.aheld, [signals.path] * 3, [gate.path for gate in gates], range(3))
    for n in (2, 1, 0):
        gates[n].open()
    assert list(results) == [0, 1, 2]
    assert set(signals.said()) == {
        f"{what} {n}" for what in ("started", "passed") for n in range(3)
    }


@pytest.mark.parametrize("chunksize", [1, 2, "auto"])
def test_several_iterables_and_the_shortest_ends_it(caller: Caller, chunksize: ChunkSize) -> None:
    results = caller.map(works.aadd, itertools.count(), iter("abc"[:0]), chunksize=chunksize)
    assert list(results) == []
    results = caller.map(operator.add, itertools.count(), [10, 20, 30], chunksize=chunksize)
    assert list(results) == [10, 21, 32]
    assert list(caller.map(works.add, [], chunksize=chunksize)) == []


@everywhere
@pytest.mark.parametrize("chunksize", [1, 7])
def test_an_endless_input_is_pulled_within_a_window(caller: Caller, chunksize: int) -> None:
    """At most what the workers can hold, and one more for each result that is taken."""
    pulled = 0

    def endless() -> Iterator[int]:
        nonlocal pulled
        while True:
            pulled += 1
            yield pulled

    results = caller.map(works.aadd, endless(), chunksize=chunksize)
    window = 2 * 300 + 2 * chunksize
    for n, result in enumerate(itertools.islice(results, 900), 1):
        assert result == n
        assert pulled <= n + window
    results.close()
    assert pulled <= 900 + window


@pytest.mark.parametrize("chunksize", [1, 2, "auto"])
@pytest.mark.parametrize("work", [works.fail_if, works.afail_if])
@pytest.mark.parametrize("bad", [5, 700])
def test_a_work_that_raises_raises_there(
    caller: Caller, work: Callable[..., Any], chunksize: ChunkSize, bad: int
) -> None:
    results = caller.map(work, itertools.repeat(bad), range(bad + 1000), chunksize=chunksize)
    assert list(itertools.islice(results, bad)) == list(range(bad))
    with pytest.raises(LookupError) as caught:
        next(results)
    assert caught.value.args == (bad,)
    assert list(results) == []


@everywhere
def test_a_work_that_raises_cancels_what_is_left(caller: Caller, signals: Signals) -> None:
    other = caller.submit(works.endless, signals.path, "other")
    results = caller.map(_fail_behind, [signals.path] * 4, [0, 1, 2, 3])
    signals.expect("started 0", "started 2", "started 3", "started other")
    with pytest.raises(LookupError):
        next(results)
    signals.expect("finally 2", "finally 3")
    assert list(results) == []
    assert not other.done()
    caller.cancel(other)
    signals.expect("finally other")


async def _fail_behind(signals: str, n: int) -> None:
    if n == 0:
        works.say(signals, "started 0")
        raise LookupError
    await works.endless(signals, n)


@everywhere
@pytest.mark.parametrize("chunksize", [1, 2, "auto"])
def test_leaving_early_cancels_what_is_left(
    caller: Caller, signals: Signals, chunksize: ChunkSize
) -> None:
    results = caller.map(_first_is_quick, [signals.path] * 6, range(6), chunksize=chunksize)
    if chunksize != 2:
        assert next(results) == 0
    signals.expect(*[f"started {n}" for n in range(1, 6)])
    results.close()
    signals.expect(*[f"finally {n}" for n in range(1, 6)])


async def _first_is_quick(signals: str, n: int) -> int:
    if n:
        await works.endless(signals, n)
    return n


@everywhere
@pytest.mark.parametrize("chunksize", [1, "auto"])
def test_closing_before_the_first_result_cancels_too(
    caller: Caller, signals: Signals, chunksize: ChunkSize
) -> None:
    results = _map(caller, works.endless, [signals.path] * 3, range(3), chunksize=chunksize)
    signals.expect("started 0", "started 1", "started 2")
    _close(caller, results)
    signals.expect("finally 0", "finally 1", "finally 2", within=3)


def test_a_map_that_nobody_iterates_runs_all_the_same(
    caller: Caller, signals: Signals, gate: Gate
) -> None:
    _map(caller, works.aheld, [signals.path] * 2, [gate.path] * 2, range(2))
    signals.expect("started 0", "started 1")
    gc.collect()
    gate.open()
    signals.expect("passed 0", "passed 1")


@pytest.mark.parametrize("chunksize", [1, 3, "auto"])
def test_an_orderly_end_reads_out_the_input_of_a_map_that_nobody_iterates(
    new_caller: Callable[..., Caller], signals: Signals, chunksize: ChunkSize
) -> None:
    """As in the standard library. One that was kept can be iterated after the end, too."""
    caller = new_caller(pool_size=1, max_works_per_worker=4)
    _map(caller, works.say, [signals.path] * 40, range(40), chunksize=chunksize)
    kept = _map(caller, works.add, range(40), chunksize=chunksize)
    _end(caller)
    assert sorted(map(int, signals.said())) == list(range(40))
    assert list(_steps(caller, kept)) == list(range(40))


def test_an_orderly_end_reads_nothing_more_for_a_map_that_was_begun(
    new_caller: Callable[..., Caller],
) -> None:
    caller = new_caller(pool_size=1, max_works_per_worker=4)
    meter = Meter()
    results = _map(caller, works.add, meter.plain())  # endless
    assert next(_steps(caller, results)) == 0
    _end(caller)
    assert meter.taken < 20


def test_an_end_that_wants_no_works_reads_nothing_out(new_caller: Callable[..., Caller]) -> None:
    caller = new_caller(pool_size=1, max_works_per_worker=4)
    meter = Meter()
    _map(caller, works.add, meter.plain())
    caller.pool.shutdown(wait=False, cancel_futures=True)
    assert meter.taken == 4


def test_a_map_that_may_not_take_more_is_named(new_caller: Callable[..., Caller]) -> None:
    caller = new_caller(pool_size=1)
    _map(caller, works.add, range(40), buffersize=4)
    with pytest.warns(RuntimeWarning, match="nobody iterated this map") as warned:
        _end(caller)
    assert [warning.filename for warning in warned] == [__file__]


def test_what_the_input_raises_while_it_is_read_out_is_raised(
    new_caller: Callable[..., Caller],
) -> None:
    def broken() -> Iterator[int]:
        yield from range(20)
        raise LookupError("the input is broken")

    caller = new_caller(pool_size=1, max_works_per_worker=4)
    _map(caller, works.add, broken())
    with pytest.raises(LookupError, match="the input is broken"):
        _end(caller)


def _end(caller: Caller) -> None:
    """Leave the executor in order."""
    if isinstance(caller, Awaiting):
        caller.run(caller.pool.__aexit__(None, None, None))
    else:
        caller.pool.__exit__(None, None, None)


def _steps(caller: Caller, results: Any) -> Iterator[Any]:
    return Steps(caller, results) if isinstance(caller, Awaiting) else iter(results)


def _map(caller: Caller, *args: Any, **options: Any) -> Any:
    """Return what ``map`` returns, without anything around it."""
    if isinstance(caller, Awaiting):

        async def call() -> Any:
            return caller.pool.map(*args, **options)

        return caller.run(call())
    return caller.pool.map(*args, **options)


def _close(caller: Caller, results: Any) -> None:
    if isinstance(caller, Awaiting):

        async def close() -> None:
            await results.aclose()

        caller.run(close())
    else:
        results.close()


def test_async_for_and_break(awaitable_caller: Awaiting, signals: Signals) -> None:
    async def main() -> None:
        async for n in awaitable_caller.pool.map(_first_is_quick, [signals.path] * 4, range(4)):
            assert n == 0
            await signals.heard("started 1", "started 2", "started 3")
            break
        await signals.heard("finally 1", "finally 2", "finally 3")

    awaitable_caller.run(main())


def test_for_and_break(blocking_caller: Caller, signals: Signals) -> None:
    for n in blocking_caller.pool.map(_first_is_quick, [signals.path] * 4, range(4)):
        assert n == 0
        signals.expect("started 1", "started 2", "started 3")
        break
    signals.expect("finally 1", "finally 2", "finally 3")


def test_a_cancelled_task_cancels_its_map(awaitable_caller: Awaiting, signals: Signals) -> None:
    async def main(timeout: float | None) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                async for _ in awaitable_caller.pool.map(
                    works.endless, [signals.path] * 2, range(2), timeout=timeout
                ):
                    raise AssertionError
        await signals.heard("finally 0", "finally 1")

    awaitable_caller.run(main(None))
    awaitable_caller.run(main(60))


@pytest.mark.parametrize("chunksize", [1, 2, "auto"])
def test_the_timeout_counts_from_the_call(
    caller: Caller, signals: Signals, chunksize: ChunkSize
) -> None:
    caller.call(works.add, 1)  # or the time may be over before there is a worker
    began = time.monotonic()
    results = caller.map(
        _first_is_quick, [signals.path] * 3, [0, 1, 2], timeout=1.0, chunksize=chunksize
    )
    signals.expect("started 1", "started 2")  # so it is the call that counts, not the first look
    with pytest.raises(TimeoutError):
        for n in results:
            assert n == 0
    assert 1.0 <= time.monotonic() - began < DEADLINE / 2
    signals.expect("finally 1", "finally 2")


@pytest.mark.parametrize("chunksize", [1, 2, "auto"])
def test_no_timeout_passes_if_all_is_done(caller: Caller, chunksize: ChunkSize) -> None:
    results = caller.map(works.aadd, range(9), timeout=DEADLINE, chunksize=chunksize)
    assert list(results) == list(range(9))


def test_an_input_that_raises_cancels_what_was_submitted(caller: Caller, signals: Signals) -> None:
    """At the call while the window is filled, otherwise while iterating."""

    def broken() -> Iterator[int]:
        yield 0
        yield 1
        signals.expect("started 0", "started 1")
        raise LookupError("no more input")

    with pytest.raises(LookupError, match="no more input"):
        list(caller.map(works.endless, itertools.repeat(signals.path), broken()))
    signals.expect("finally 0", "finally 1")


def test_an_input_that_raises_later(caller: Caller) -> None:
    def broken() -> Iterator[int]:
        yield from range(1000)
        raise LookupError("no more input")

    results = caller.map(works.aadd, broken())
    assert next(results) == 0
    with pytest.raises(LookupError, match="no more input"):
        list(results)


def test_a_bool_is_no_number_of_items(caller: Caller) -> None:
    for name in ("chunksize", "buffersize"):
        with pytest.raises(TypeError, match=f"{name} must be an int or .* not True"):
            caller.map(works.add, [1], **{name: True})


@pytest.mark.parent_only
@pytest.mark.parametrize("chunksize", [0, -1])
def test_a_chunksize_less_than_one_is_refused(caller: Caller, chunksize: int) -> None:
    with pytest.raises(ValueError, match="chunksize must be at least 1"):
        caller.map(works.add, [1], chunksize=chunksize)


def test_the_coroutines_of_a_chunk_run_concurrently(caller: Caller) -> None:
    spans = list(caller.map(works.aspan, [0.2] * 4, chunksize=4))
    began, ended = zip(*spans, strict=True)
    assert max(began) < min(ended)


def test_a_chunk_keeps_what_came_before_the_failure(caller: Caller, processes: bool) -> None:
    """And the failure keeps type, arguments, cause and the worker's traceback."""
    results = caller.map(_rich_at, [1, 2, 3], chunksize=3)
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(works.Rich) as caught:
        next(results)
    assert caught.value.args == ("one", 2)
    assert caught.value.__notes__ == ["a note"]
    assert type(caught.value.__cause__) is ValueError


def _rich_at(n: int) -> int:
    return n if n < 3 else works.fail_richly()


def test_an_item_that_cannot_travel(caller: Caller, processes: bool) -> None:
    results = caller.map(works.echo, [1, works.Unpicklable(), 3])
    assert next(results) == ((1,), {})
    if processes:
        with pytest.raises(Exception, match=r"argument 0 .*glued to its place"):
            next(results)
    else:
        assert len(list(results)) == 2


@pytest.mark.parametrize("chunksize", [1, 10, "auto"])
def test_map_keeps_no_results(caller: Caller, chunksize: ChunkSize) -> None:
    """Memory stays flat, however long it goes on."""
    before = works.living()
    most = 0
    for result in caller.map(works.tracked, range(200), chunksize=chunksize):
        del result
        most = max(most, works.living() - before)
    assert most <= 201
    caller.assert_idle()
    gc.collect()
    assert works.living() == before


# -- chunks that adapt ----------------------------------------------------------------------


@everywhere
def test_an_endless_input_is_pulled_within_a_bound_by_chunks_that_adapt(caller: Caller) -> None:
    """Never more than 8,192 items for each worker are taken and not handed over."""
    pulled = 0

    def endless() -> Iterator[int]:
        nonlocal pulled
        while True:
            pulled += 1
            yield pulled

    results = caller.map(works.add, endless(), chunksize="auto")
    for n, result in enumerate(itertools.islice(results, 30_000), 1):
        assert result == n
        assert pulled < n + 2 * 8192
    results.close()


@pytest.mark.parametrize("work", [works.nothing, works.anothing])
def test_the_first_result_does_not_wait_for_a_slow_input(
    caller: Caller, work: Callable[..., Any]
) -> None:
    pulled = 0

    def slow() -> Iterator[int]:
        nonlocal pulled
        while True:
            time.sleep(0.01)
            pulled += 1
            yield pulled

    results = caller.map(work, slow(), chunksize="auto")
    next(results)
    assert pulled < 100
    results.close()


def test_works_of_uneven_length_travel_alone(caller: Caller, tmp_path: Path) -> None:
    """None waits behind a long one while a worker is idle: the long one waits for 35 others."""
    count = list(caller.map(_long_or_short, [str(tmp_path)] * 41, range(41), chunksize="auto"))
    assert count[0] >= 35


def _long_or_short(folder: str, number: int) -> int:
    """Be the first one, which ends when most of the others have; or another one."""
    if number:
        time.sleep(0.005)
        Path(folder, str(number)).touch()
        return number
    end = time.monotonic() + DEADLINE / 2
    while len(os.listdir(folder)) < 35 and time.monotonic() < end:
        time.sleep(0.005)
    return len(os.listdir(folder))


def test_coroutines_that_wait_are_many_at_a_time_and_respect_the_limit(
    new_caller: Callable[..., Caller],
) -> None:
    caller = new_caller(pool_size=1, max_works_per_worker=50)
    # Short ones first, so that chunks have grown when the long ones come.
    seconds = [0.0] * 3000 + [0.2] * 200
    spans = list(caller.map(_maybe_span, seconds, chunksize="auto"))[3000:]
    moments = sorted([(began, 1) for began, _ in spans] + [(ended, -1) for _, ended in spans])
    running = list(itertools.accumulate(step for _, step in moments))
    assert max(running) == 50


async def _maybe_span(seconds: float) -> tuple[float, float]:
    return await works.aspan(seconds) if seconds else (0.0, 0.0)


@pytest.mark.parent_only
@pytest.mark.parametrize("chunksize", ["big", None, 1.5])
def test_a_chunksize_of_another_kind_is_refused(caller: Caller, chunksize: Any) -> None:
    with pytest.raises(TypeError, match="chunksize must be an int or 'auto'"):
        caller.map(works.add, [1], chunksize=chunksize)
