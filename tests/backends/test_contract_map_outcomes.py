"""Contract: ``map(…, return_outcomes=True)``: an outcome for each item, whatever happens."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any, Literal

import pytest

from aplex import Outcome, SerializationError, WorkerLostError
from tests.support import works
from tests.support.callers import Caller, everywhere
from tests.support.signals import Signals

pytestmark = pytest.mark.few_engines

ChunkSize = int | Literal["auto"]


@everywhere
@pytest.mark.parametrize("chunksize", [1, 3, "auto"])
@pytest.mark.parametrize("ordered", [True, False])
def test_each_item_has_its_outcome_and_a_failure_stops_nothing(
    caller: Caller, chunksize: ChunkSize, ordered: bool
) -> None:
    for work in (works.fail_if, works.afail_if):
        outcomes: list[Outcome[int]] = list(
            caller.map(
                work, itertools.repeat(7), range(60),
                chunksize=chunksize, ordered=ordered, return_outcomes=True,
            )
        )  # fmt: skip
        inputs = [outcome.input for outcome in outcomes]
        assert (inputs if ordered else sorted(inputs)) == [(7, n) for n in range(60)]
        for outcome in outcomes:
            n = outcome.input[1]
            assert outcome.ok == (n != 7)
            if n == 7:
                assert type(outcome.exception) is LookupError
                with pytest.raises(LookupError):
                    outcome.result()
            else:
                assert outcome.result() == outcome.value == n
            assert outcome.worker is not None
            assert outcome.seconds_waiting is not None
            assert outcome.seconds_waiting >= 0
            assert outcome.seconds_running is not None
            assert outcome.seconds_running >= 0


@pytest.mark.parametrize("chunksize", [1, 2])
def test_the_input_of_one_iterable_is_the_item(caller: Caller, chunksize: int) -> None:
    outcomes = list(caller.map(works.add, [1, 2], chunksize=chunksize, return_outcomes=True))
    assert [(outcome.input, outcome.value) for outcome in outcomes] == [(1, 1), (2, 2)]
    assert list(caller.map(works.add, [], chunksize=chunksize, return_outcomes=True)) == []


@pytest.mark.parametrize("work", [works.span, works.aspan])
def test_seconds_are_those_of_the_work(caller: Caller, work: Callable[..., Any]) -> None:
    (outcome,) = caller.map(work, [0.05], return_outcomes=True)
    began, ended = outcome.value[:2]
    assert ended - began <= outcome.seconds_running < ended - began + 1


def test_an_item_waits_for_those_before_it_in_its_chunk(new_caller: Callable[..., Caller]) -> None:
    caller = new_caller(pool_size=1)
    first, second = caller.map(works.span, [0.1, 0.0], chunksize=2, return_outcomes=True)
    assert second.seconds_waiting >= first.seconds_waiting + 0.1
    assert first.seconds_running >= 0.1 > second.seconds_running


@everywhere
def test_the_worker_is_the_one_that_ran_it(caller: Caller, own_process: bool) -> None:
    """Its number is that of the pool's list, which its name ends with."""
    for work in (_name_of_worker, _aname_of_worker):
        for outcome in caller.map(work, [own_process] * 20, return_outcomes=True):
            assert outcome.value.removesuffix("-loop").endswith(f"-{outcome.worker}")


def _name_of_worker(in_process: bool) -> str:
    import multiprocessing
    import threading

    current: Any = multiprocessing.current_process() if in_process else threading.current_thread()
    return str(current.name)


async def _aname_of_worker(in_process: bool) -> str:
    return _name_of_worker(in_process)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), StopIteration("x")])
@pytest.mark.parametrize("work", [works.fail, works.afail])
def test_what_would_end_other_things_is_an_outcome(
    caller: Caller, work: Callable[..., Any], error: BaseException
) -> None:
    if isinstance(error, StopIteration) and work is works.afail:
        error = StopAsyncIteration("x")
    outcomes = list(caller.map(work, [error, LookupError()], return_outcomes=True))
    kinds = {RuntimeError, type(error)}  # a coroutine cannot raise StopAsyncIteration
    assert type(outcomes[0].exception) in kinds
    assert type(outcomes[1].exception) is LookupError


def test_a_coroutine_that_cancels_itself_is_an_outcome(caller: Caller) -> None:
    for chunksize in (1, 2):
        outcomes = list(
            caller.map(_cancel_if, [0, 1, 2], chunksize=chunksize, return_outcomes=True)
        )
        assert [outcome.value for outcome in outcomes] == [0, None, 2]
        assert type(outcomes[1].exception) is asyncio.CancelledError


async def _cancel_if(n: int) -> int:
    if n == 1:
        raise asyncio.CancelledError
    return n


def test_an_item_that_cannot_travel_is_an_outcome(caller: Caller, processes: bool) -> None:
    items = [1, works.Unpicklable(), 3]
    outcomes = list(caller.map(works.echo, items, return_outcomes=True))
    assert [outcome.ok for outcome in outcomes] == [True, not processes, True]
    if processes:
        assert isinstance(outcomes[1].exception, SerializationError)
        assert outcomes[1].input is items[1]
        assert outcomes[1].worker is outcomes[1].seconds_running is None


@pytest.mark.parametrize("engine", ["template"])
def test_a_work_whose_worker_died_is_an_outcome(new_caller: Callable[..., Caller]) -> None:
    caller = new_caller(pool_size=1)
    outcomes = list(caller.map(_die_if, range(3), buffersize=1, return_outcomes=True))
    assert [outcome.ok for outcome in outcomes] == [True, False, True]
    assert isinstance(outcomes[1].exception, WorkerLostError)
    assert outcomes[2].worker != outcomes[0].worker


def _die_if(n: int) -> None:
    if n == 1:
        works.die("exit")


def test_a_plain_function_that_returns_coroutines(caller: Caller) -> None:
    for chunksize in (1, 3):
        outcomes = list(
            caller.map(_later, [0.0, 0.05, -1.0], chunksize=chunksize, return_outcomes=True)
        )
        assert [outcome.value for outcome in outcomes] == [0.0, 0.05, None]
        assert type(outcomes[2].exception) is LookupError
        assert outcomes[1].seconds_running >= 0.05


def _later(seconds: float) -> Any:
    return _wait(seconds)


async def _wait(seconds: float) -> float:
    if seconds < 0:
        raise LookupError
    await asyncio.sleep(seconds)
    return seconds


@pytest.mark.parametrize("chunksize", [1, 2])
def test_leaving_early_cancels_what_is_left(
    caller: Caller, signals: Signals, chunksize: int
) -> None:
    results = caller.map(
        _first_is_quick, [signals.path] * 6, range(6),
        chunksize=chunksize, return_outcomes=True, ordered=False,
    )  # fmt: skip
    signals.expect(*[f"started {n}" for n in range(1, 6)])
    if chunksize == 1:
        assert next(results).value == 0
    results.close()
    signals.expect(*[f"finally {n}" for n in range(1, 6)])


async def _first_is_quick(signals: str, n: int) -> int:
    if n:
        await works.endless(signals, n)
    return n


def test_a_timeout_ends_the_map(caller: Caller, signals: Signals) -> None:
    results = caller.map(
        works.endless, [signals.path], ["a"], timeout=0.3, return_outcomes=True
    )  # fmt: skip
    with pytest.raises(TimeoutError):
        next(results)
    signals.expect("finally a")
