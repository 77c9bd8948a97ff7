"""What a ``map`` is to do: its options, checked, and the window that does it."""

from __future__ import annotations

import asyncio
import dataclasses
import operator
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, cast

from aplex._common.messages import COROUTINE
from aplex._common.names import described
from aplex._common.numbers import check_count
from aplex._common.options import WorkOptions
from aplex._map.input import AsyncInput, Input, Iterables, is_asynchronous, length_of
from aplex._map.order import AsCompleted, Bells, InOrder, InOrderWithBell
from aplex._map.sizes import ChunkSizes
from aplex._map.telling import Bell, TellingFuture
from aplex._map.window import ChunkWindow, Collect, GrowingWindow, Submit, Window, most_of
from aplex._worker.chunks import Chunk
from aplex._worker.chunks_coroutine import run_coroutine_chunk, run_measured_coroutines
from aplex._worker.chunks_measured import MeasuredChunk
from aplex._worker.chunks_plain import run_measured_plain, run_plain_chunk
from aplex.outcomes import Outcome

SubmitWork = Callable[..., Any]
"""``AsyncPoolExecutor._submit``, or what stands for it."""
CHUNKS_IN_A_LIFE: Final = 8
"""Chunks that a worker gets at least, where its life is counted in items."""
_NO_KWARGS: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Plan:
    """The options of a ``map``."""

    chunksize: int | Literal["auto"] = 1
    buffersize: int | None = None
    ordered: bool = True
    return_outcomes: bool = False
    judged: bool = False
    """Whether each work is judged by its outcome, and so has one item."""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            TypeError: A number is none.
            ValueError: A number is too small; or chunks are to be judged.
        """
        if self.judged and self.chunksize != 1:
            raise ValueError(
                "slow_down, retry_on and max_concurrency='auto' judge single works: give a map "
                "no chunksize"
            )
        if self.chunksize != "auto":
            check_count("chunksize", _index("chunksize must be an int or 'auto'", self.chunksize))
        if self.buffersize is not None:
            check_count("buffersize", _index("buffersize must be an int or None", self.buffersize))

    @property
    def in_chunks(self) -> bool:
        """Whether the works of the map are chunks."""
        return self.chunksize != 1 or (self.return_outcomes and not self.judged)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the works of a ``map`` run.

    Attributes:
        submit: Submits a work.
        workers: How many workers there are.
        limit: How many works each may have in flight.
        manager: Who reads reports for a caller who blocks; None: futures are awaited.
        max_tasks: How many items a worker takes in its life; None: any number.
    """

    submit: SubmitWork
    workers: int
    limit: int
    manager: Any
    max_tasks: int | None = None

    @property
    def most(self) -> int:
        """How many works the workers may have in flight."""
        return self.workers * self.limit


def check_input(iterables: Iterables, *, awaitable: bool) -> bool:
    """Return whether an input is asynchronous.

    Raises:
        TypeError: It is, but nobody awaits.
    """
    found = [each for each in iterables if is_asynchronous(each)]
    if found and not awaitable:
        raise TypeError(
            f"the input is an asynchronous iterable, {type(found[0]).__qualname__}, which only an "
            "executor made with awaitable=True can iterate: make it so and use `async for`, or "
            "collect the items first, `[item async for item in …]`"
        )
    return bool(found)


def open_window(
    place: Place,
    plan: Plan,
    options: WorkOptions,
    work: Callable[..., Any],
    lane: int,
    iterables: Iterables,
) -> Window:
    """Return the window of a map, still empty."""
    asynchronous = check_input(iterables, awaitable=place.manager is None)
    size = plan.buffersize or place.most
    singly = not plan.in_chunks
    if singly and plan.ordered and not asynchronous and not plan.return_outcomes:
        rows = zip(*cast("tuple[Iterable[Any], ...]", iterables), strict=False)
        return Window(lambda call: place.submit(options, work, call, _NO_KWARGS), rows, size)
    source = _source(iterables, asynchronous=asynchronous)
    line, submit = _line(place, plan, asynchronous=asynchronous)
    if singly:
        item = partial(_submit_item, submit, options, work)
        if not plan.return_outcomes:
            return ChunkWindow(item, source, line, size)
        each = OutcomeOfEach(item, several=len(iterables) > 1)
        return ChunkWindow(each.submit, source, line, size, collect=each.collect)
    place = dataclasses.replace(place, submit=submit)
    chunks = _submit_chunk(place, plan, options, work, lane)
    if not plan.return_outcomes:
        return _open_chunks(place, plan, source, line, chunks, length_of(iterables))
    outcomes = Outcomes(chunks, several=len(iterables) > 1)
    return _open_chunks(
        place, plan, source, line, outcomes.submit, length_of(iterables), outcomes.collect
    )


def _open_chunks(
    place: Place,
    plan: Plan,
    source: Input,
    line: InOrder,
    submit: Submit,
    length: int | None,
    collect: Collect | None = None,
) -> Window:
    if plan.chunksize != "auto":
        return ChunkWindow(submit, source, line, *_chunks(place, plan), collect)
    most = most_of(plan.buffersize, place.workers)
    if place.max_tasks is not None:
        # A worker whose rest is less than a chunk is replaced: small ones leave little of it.
        most = max(1, min(most, place.max_tasks // CHUNKS_IN_A_LIFE))
    sizes = ChunkSizes(place.workers, length, most)
    bounds = (place.workers, place.most, plan.buffersize)
    return GrowingWindow(submit, source, line, sizes, *bounds, collect)


def _source(iterables: Any, *, asynchronous: bool) -> Input:
    return AsyncInput(iterables) if asynchronous else Input(iterables)


def _line(place: Place, plan: Plan, *, asynchronous: bool) -> tuple[InOrder, SubmitWork]:
    """Return the line of a map, and what submits works that shall stand in it."""
    if place.manager is None:
        bells = Bells(_loop_bell, _ring_loop_bell)
        if not plan.ordered:
            return AsCompleted(bells, told=False), place.submit
        return (InOrderWithBell(bells) if asynchronous else InOrder()), place.submit
    if plan.ordered:
        return InOrder(), place.submit
    line: AsCompleted

    def bell() -> Bell:
        return Bell(place.manager, line.awaited)

    line = AsCompleted(Bells(bell, Bell.ring), told=True)
    return line, lambda *args: place.submit(*args, TellingFuture(line.tell))


def _loop_bell() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


def _ring_loop_bell(bell: asyncio.Future[None]) -> None:
    bell.set_result(None)


def _chunks(place: Place, plan: Plan) -> tuple[int, int]:
    """Return how many chunks of a fixed size may be in the window, and that size."""
    size = int(plan.chunksize)
    if place.max_tasks is not None:
        size = min(size, place.max_tasks)
    if plan.buffersize is None:
        return (max(2 * place.workers, -(-place.most // size)) if size > 1 else place.most), size
    # Each worker shall have a chunk to run, and one that waits, if there are enough items.
    size = max(1, min(size, plan.buffersize // (2 * place.workers)))
    return plan.buffersize // size, size


def _submit_item(
    submit: SubmitWork, options: WorkOptions, work: Callable[..., Any], columns: list[Any]
) -> Any:
    return submit(options, work, tuple(column[0] for column in columns), _NO_KWARGS)


def _submit_chunk(
    place: Place, plan: Plan, options: WorkOptions, work: Callable[..., Any], lane: int
) -> Submit:
    """Return what submits a chunk."""
    options = dataclasses.replace(options, label=described(work))
    run: Callable[..., Any]
    if plan.return_outcomes:
        run = run_measured_coroutines if lane == COROUTINE else run_measured_plain
    else:
        run = run_coroutine_chunk if lane == COROUTINE else run_plain_chunk
    limited = plan.chunksize == "auto" and lane == COROUTINE
    limit = (place.limit,) if limited else ()
    counted: dict[int, WorkOptions] = {1: options}  # for each size, where that matters

    def submit(columns: list[Any]) -> Any:
        sent = (time.monotonic(),) if plan.return_outcomes else ()
        chosen = options
        if place.max_tasks is not None:
            items = len(columns[0])
            if items not in counted:
                counted[items] = dataclasses.replace(options, items=items)
            chosen = counted[items]
        return place.submit(chosen, run, (work, columns, *sent, *limit), _NO_KWARGS)

    return submit


class Outcomes:
    """Turns the futures of measured chunks into chunks of outcomes.

    Args:
        submit: Submits a measured chunk.
        several: Whether items are tuples, of several iterables.
    """

    def __init__(self, submit: Submit, *, several: bool) -> None:
        self._submit = submit
        self._several = several
        self._inputs: dict[Any, list[Any]] = {}  # of each future, in columns

    def submit(self, columns: list[Any]) -> Any:
        """Submit a chunk, and remember what it is of."""
        future = self._submit(columns)
        self._inputs[future] = columns
        return future

    def collect(self, future: Any) -> Chunk:
        """Return the outcomes of a chunk that is done."""
        columns = self._inputs.pop(future)
        items = zip(*columns, strict=True) if self._several else columns[0]
        error = future.exception()  # raises if it was cancelled: the user has ended the pool
        if error is not None:
            return Chunk([Outcome(item, exception=error) for item in items], None)
        chunk: MeasuredChunk = future.result()
        outcomes = [
            Outcome(item, value, raised, chunk.worker, waiting, running)
            for item, (value, raised, waiting, running) in zip(items, chunk.values, strict=True)
        ]
        return Chunk(outcomes, None, chunk.seconds, chunk.waited)


class OutcomeOfEach(Outcomes):
    """Turns the futures of works of one item into outcomes, of which nobody measured the times."""

    def collect(self, future: Any) -> Any:
        """Return the outcome of a work that is done."""
        columns = self._inputs.pop(future)
        item = tuple(column[0] for column in columns) if self._several else columns[0][0]
        error = future.exception()  # raises if it was cancelled: the user has ended the pool
        return Outcome(item, None if error else future.result(), error)


def _index(message: str, value: Any) -> int:
    if isinstance(value, bool):  # no number that anybody meant
        raise TypeError(f"{message}, not {value!r}")
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{message}, not {value!r}") from None
