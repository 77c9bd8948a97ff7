"""Logic: the sizes of the chunks of a ``map``. Durations in, sizes out; no clock."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aplex._map import sizes
from aplex._map.input import Input, length_of
from aplex._map.order import InOrder
from aplex._map.results import BlockingChunks, FlatResults
from aplex._map.sizes import ChunkSizes
from aplex._map.window import AHEAD, GrowingWindow, most_of
from aplex._worker.chunks import Chunk
from aplex.futures import ConcurrentFuture


def after(each: float, chunks: int, policy: ChunkSizes | None = None) -> int:
    """The size after so many chunks of works that take so many seconds each."""
    policy = policy or ChunkSizes(2, None)
    for _ in range(chunks):
        policy.learn(policy.next(), policy.next() * each, None)
    return policy.next()


# -- the policy -----------------------------------------------------------------------------


def test_the_first_chunks_are_of_one_item() -> None:
    assert ChunkSizes(4, 1000).next() == 1


@pytest.mark.smoke
def test_chunks_of_short_works_grow_by_steps_to_the_biggest() -> None:
    policy = ChunkSizes(2, None)
    seen = [after(0.0, 1, policy) for _ in range(5)]
    assert seen == [16, 256, 2048, 2048, 2048]


@pytest.mark.parametrize("each", [1e-5, 1e-4, 1e-3])
def test_a_chunk_takes_as_long_as_it_is_to_take(each: float) -> None:
    assert after(each, 10) == pytest.approx(sizes.AIM / each, abs=1)


def test_works_that_take_long_travel_alone() -> None:
    assert after(0.005, 10) == 1
    assert after(60.0, 10) == 1


def test_chunks_shrink_at_once_and_grow_again_by_steps() -> None:
    policy = ChunkSizes(2, None)
    assert after(1e-6, 10, policy) == 2000
    policy.learn(2000, 2.0, None)
    assert policy.next() == 2
    # What was on its way tells that works are short again.
    policy.learn(2000, 0.002, None)
    assert policy.next() == 2 * sizes.GROWTH


def test_what_is_known_of_a_small_chunk_makes_no_big_one() -> None:
    policy = ChunkSizes(2, None)
    after(0.0, 10, policy)
    policy.learn(1, 0.0, None)
    assert policy.next() == sizes.GROWTH


def test_coroutines_that_wait_long_travel_alone_and_others_in_small_chunks() -> None:
    policy = ChunkSizes(2, None)
    for _ in range(10):
        policy.learn(policy.next(), 0.002, 0.001)
    assert policy.waiting
    assert policy.next() == sizes.MOST_WAITING
    for _ in range(10):
        policy.learn(policy.next(), 0.05, 0.05)
    assert policy.next() == 1
    # Wherever the time goes, it is not spent with waiting: the loop is busy.
    for _ in range(10):
        policy.learn(policy.next(), 0.05, 0.0)
    assert policy.next() == sizes.MOST_WAITING


def test_the_last_chunks_of_a_sized_input_get_smaller() -> None:
    policy = ChunkSizes(2, 100_000)
    after(0.0, 10, policy)
    left, sent = 100_000, []
    while left > 0:
        size = min(left, policy.next())
        policy.taken(size)
        sent.append(size)
        left -= size
    assert sent[0] == sizes.MOST
    assert sent == sorted(sent, reverse=True)
    assert max(sent[-4:]) <= sizes.MOST // sizes.TAIL
    assert len(sent) < 70


def test_an_input_longer_than_it_said_is_no_harm() -> None:
    policy = ChunkSizes(2, 3)
    policy.taken(10)
    assert policy.next() == 1


def test_the_length_of_an_input() -> None:
    assert length_of(([1, 2, 3],)) == 3
    assert length_of(([1, 2, 3], "ab", itertools.count())) == 2
    assert length_of((iter("ab"),)) is None
    assert length_of(()) is None


# -- the window -----------------------------------------------------------------------------


class FakeWorkers:
    """Run the chunks of a growing window at once, in so many seconds each item; or not."""

    def __init__(self, each: Callable[[int], float], *, at_once: bool = True) -> None:
        self.each = each
        self.at_once = at_once
        self.chunks: list[list[int]] = []
        self.pending: list[ConcurrentFuture[Any]] = []

    def submit(self, columns: list[Any]) -> Any:
        (items,) = columns
        self.chunks.append(items)
        future: ConcurrentFuture[Any] = ConcurrentFuture()
        if self.at_once:
            future.set_result(Chunk(items, None, sum(map(self.each, items))))
        else:
            self.pending.append(future)
        return future

    def map(self, items: Any, workers: int = 2, works: int = 600) -> FlatResults:
        policy = ChunkSizes(workers, length_of((items,)))
        self.window = GrowingWindow(self.submit, Input((items,)), InOrder(), policy, workers, works)
        return FlatResults.of(BlockingChunks(lambda: self.window, None))

    def sizes(self) -> list[int]:
        return [len(items) for items in self.chunks]


def counted(pulled: list[int]) -> Iterator[int]:
    for number in itertools.count():
        pulled.append(number)
        yield number


def test_a_call_takes_a_few_items_only() -> None:
    workers = FakeWorkers(lambda _: 1.0, at_once=False)
    pulled: list[int] = []
    workers.map(counted(pulled), 3)
    assert len(pulled) == 3 * AHEAD
    assert workers.sizes() == [1] * (3 * AHEAD)


def test_short_works_come_in_big_chunks_and_in_order() -> None:
    workers = FakeWorkers(lambda _: 1e-7)
    assert list(workers.map(range(100_000))) == list(range(100_000))
    assert max(workers.sizes()) == sizes.MOST
    assert len(workers.chunks) < 150


@pytest.mark.parametrize("each", [0.0, 1e-5, 1e-3, 1.0])
def test_never_more_is_taken_than_the_bound_allows(each: float) -> None:
    """``pool_size`` times 8,192, or what the workers can hold if that is more."""
    pulled: list[int] = []
    workers = FakeWorkers(lambda _: each)
    results = workers.map(counted(pulled))
    assert workers.window.bound == 2 * 8192
    most = 0
    for n, result in enumerate(itertools.islice(results, 60_000)):
        assert result == n
        most = max(most, len(pulled) - n)
    assert most <= workers.window.bound
    results.close()


def test_the_bound_is_never_less_than_what_workers_can_hold() -> None:
    workers = FakeWorkers(lambda _: 0.0)
    workers.map([], 1, 20_000)
    assert workers.window.bound == 20_000


def test_a_window_whose_first_result_does_not_come_is_filled_up() -> None:
    workers = FakeWorkers(lambda _: 0.0, at_once=False)
    results = workers.map(itertools.count(), 2, 50)

    def settle_when_full(call: Any) -> Any:
        future = FakeWorkers.submit(workers, call)
        if len(workers.pending) == 50:
            for number, pending in enumerate(workers.pending):
                pending.set_result(Chunk([number], None, 1.0))
        return future

    workers.window._submit = settle_when_full
    assert next(results) == 0
    assert workers.sizes() == [1] * 50
    results.close()


def test_a_window_that_was_filled_up_gets_small_again_when_works_get_short() -> None:
    workers = FakeWorkers(lambda n: 1.0 if n < 300 else 1e-7)
    results = workers.map(itertools.count())
    workers.window._size = 600
    for _ in itertools.islice(results, 600_000):
        pass
    assert workers.window._size == 2 * AHEAD
    results.close()


def test_an_end_of_the_input_is_not_asked_for_again() -> None:
    asked = 0

    def items() -> Iterator[int]:
        nonlocal asked
        yield from range(3)
        asked += 1

    assert list(FakeWorkers(lambda _: 0.0).map(items())) == [0, 1, 2]
    assert asked == 1


def test_a_failure_is_raised_in_its_place_and_teaches_nothing() -> None:
    workers = FakeWorkers(lambda _: 0.0)

    def submit(call: Any) -> Any:
        future: ConcurrentFuture[Any] = ConcurrentFuture()
        future.set_result(Chunk([], LookupError("no"), 0.0))
        return future

    results = workers.map(range(10))
    assert next(results) == 0
    workers.window._submit = submit
    with pytest.raises(LookupError, match="no"):
        list(results)
    assert list(results) == []


@pytest.mark.parametrize("each", [0.0, 1e-5, 1e-3, 1.0])
@pytest.mark.parametrize("size", [1, 5, 100, 5000])
def test_chunks_get_smaller_to_fit_a_buffer(each: float, size: int) -> None:
    pulled: list[int] = []
    workers = FakeWorkers(lambda _: each)
    policy = ChunkSizes(2, None, most_of(size, 2))
    source = Input((counted(pulled),))
    window = GrowingWindow(workers.submit, source, InOrder(), policy, 2, 600, size)
    results = FlatResults.of(BlockingChunks(lambda: window, None))
    most = 0
    for n, result in enumerate(itertools.islice(results, 20_000)):
        assert result == n
        most = max(most, len(pulled) - n)
    assert most <= size
    results.close()


def test_chunks_of_waiting_coroutines_that_do_not_fit_are_no_end() -> None:
    """A chunk of the size that would be best may be more than the bound allows."""
    seen: list[int] = []

    def submit(columns: list[Any]) -> Any:
        seen.append(len(columns[0]))
        future: ConcurrentFuture[Any] = ConcurrentFuture()
        future.set_result(Chunk(columns[0], None, 1e-4, 1e-4 * len(columns[0])))
        return future

    window = GrowingWindow(submit, Input((iter(range(500)),)), InOrder(), ChunkSizes(1, None), 1, 1)
    assert list(FlatResults.of(BlockingChunks(lambda: window, None))) == list(range(500))
    assert max(seen) <= AHEAD
