"""Contract: what works raise, and what cannot travel, is told to their own future only."""

from __future__ import annotations

import asyncio
import functools
import re
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from aplex import BrokenPoolError, RemoteError, SerializationError
from tests.support import works
from tests.support.callers import Caller, everywhere

TOLD = "Not as it was in the worker, as it cannot be pickled: args"
FAILS = [works.fail, works.afail]


@everywhere
@pytest.mark.parametrize("fail", FAILS)
def test_an_exception_keeps_type_and_arguments(caller: Caller, fail: Callable[..., Any]) -> None:
    error = caller.raised(fail, works.Rich("one", [2]))
    assert type(error) is works.Rich
    assert error.args == ("one", [2])


@pytest.mark.parametrize("fail", [works.fail_richly, works.afail_richly])
def test_an_exception_keeps_notes_attributes_and_cause(
    caller: Caller, fail: Callable[..., Any]
) -> None:
    error = caller.raised(fail)
    assert type(error) is works.Rich
    assert error.args == ("one", 2)
    assert error.__notes__ == ["a note"]
    assert error.extra == "kept"
    assert type(error.__cause__) is ValueError
    assert error.__cause__.args == ("invalid literal for int() with base 10: 'x'",)


@everywhere
@pytest.mark.parametrize("fail", FAILS)
def test_an_exception_carries_the_traceback_of_the_worker(
    caller: Caller, fail: Callable[..., Any]
) -> None:
    text = "".join(traceback.format_exception(caller.raised(fail, LookupError("x"))))
    assert "works.py" in text
    assert f"in {fail.__name__}" in text
    assert "raise error" in text
    assert text.endswith("LookupError: x\n")


@everywhere
@pytest.mark.parametrize("fail", FAILS)
@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_what_would_end_a_program_ends_only_the_work(
    caller: Caller, fail: Callable[..., Any], kind: type[BaseException]
) -> None:
    before = {caller.call(works.pid) for _ in range(4)}
    others = [caller.submit(works.aspan, 0.05) for _ in range(4)]
    for _ in range(2):
        error = caller.raised(fail, kind(3))
        assert type(error) is kind
        assert error.args == (3,)
    caller.wait(*others)
    assert all(future.exception() is None for future in others)
    assert {caller.call(works.pid) for _ in range(4)} == before


@pytest.mark.parametrize("fail", FAILS)
@pytest.mark.parametrize("kind", [StopIteration, StopAsyncIteration, TimeoutError, RecursionError])
def test_exceptions_with_a_meaning_of_their_own(
    caller: Caller, fail: Callable[..., Any], kind: type[Exception]
) -> None:
    """No future of asyncio, and no coroutine, can raise ``StopIteration``: it is wrapped."""
    error = caller.raised(fail, kind("x"))
    wrapped = kind is StopIteration and (caller.awaitable or fail is works.afail)
    assert type(error) is (RuntimeError if wrapped else kind)


def test_exception_groups_arrive_whole(caller: Caller) -> None:
    inner = ExceptionGroup("inner", [works.Rich("a"), LookupError("b")])
    for fail in FAILS:
        error = caller.raised(fail, ExceptionGroup("outer", [inner, OSError(2, "c")]))
        assert isinstance(error, ExceptionGroup)
        matched, rest = error.split(works.Rich)
        assert matched is not None
        assert rest is not None
        assert matched.exceptions[0].exceptions[0].args == ("a",)
        assert rest.exceptions[1].errno == 2


def test_an_exception_whose_constructor_does_not_take_its_args(caller: Caller) -> None:
    error = caller.raised(works.fail_mismatched)
    assert type(error) is works.Mismatch
    assert error.args == ("3 at home",)
    assert (error.code, error.where) == (3, "home")


def test_an_exception_with_arguments_that_cannot_travel(caller: Caller, processes: bool) -> None:
    """It keeps its type; what cannot travel is told by its ``repr``."""
    error = caller.raised(_fail_with_generator)
    assert type(error) is works.Rich
    assert error.args[0] == "one"
    assert "generator object" in repr(error.args[1])
    assert getattr(error, "__notes__", []) == ([TOLD] if processes else [])


def _fail_with_generator() -> None:
    raise works.Rich("one", (number for number in range(3)))


@pytest.mark.parametrize("fail", [works.fail_locked, works.fail_loading])
def test_an_exception_that_cannot_travel_has_a_stand_in_or_travels_without_its_reduce(
    caller: Caller, processes: bool, fail: Callable[..., Any]
) -> None:
    error = caller.raised(fail)
    text = "".join(traceback.format_exception(error))
    assert f"in {fail.__name__}" in text
    if isinstance(error, RemoteError):
        assert processes
        assert error.type_name.endswith("Error")
        assert error.message in {"secret", "at home"}
        assert fail.__name__ in error.traceback
    else:
        assert type(error) in {works.LockedError, works.BadLoadError}
        assert str(error) in {"secret", "at home"}


@everywhere
@pytest.mark.parametrize("work", [works.echo, works.aecho])
def test_an_argument_that_cannot_travel(
    caller: Caller, processes: bool, work: Callable[..., Any]
) -> None:
    """The error names it, and the cure. Threads need not pickle it."""
    thing = works.Unpicklable()
    if not processes:
        assert caller.call(work, 1, thing, key=thing) == ((1, thing), {"key": thing})
        return
    for args, kwargs, name in [
        ((1, thing), {}, "argument 1"),
        ((1,), {"key": thing}, "argument 'key'"),
    ]:
        good = caller.submit(works.add, 1)
        error = caller.raised(work, *args, **kwargs)
        assert isinstance(error, SerializationError)
        assert name in str(error)
        assert work.__name__ in str(error)
        assert "glued to its place" in str(error)
        assert "ThreadAsyncPoolExecutor" in str(error)
        assert caller.result(good) == 1


def test_a_work_that_cannot_travel(caller: Caller, processes: bool) -> None:
    thing = works.Unpicklable()
    for work in (lambda: thing, functools.partial(works.echo, thing)):
        if processes:
            error = caller.raised(work)
            assert isinstance(error, SerializationError)
            assert "glued to its place" in str(error)
        else:
            caller.call(work)


@everywhere
@pytest.mark.parametrize("work", [works.unpicklable, works.aunpicklable])
def test_a_result_that_cannot_travel(
    caller: Caller, processes: bool, work: Callable[..., Any]
) -> None:
    if not processes:
        assert type(caller.call(work)) is works.Unpicklable
        return
    others = [caller.submit(works.aadd, n) for n in range(4)]
    error = caller.raised(work)
    assert isinstance(error, SerializationError)
    assert "the result, of type Unpicklable, cannot be pickled" in str(error)
    assert "glued to its place" in str(error)
    assert [caller.result(other) for other in others] == [0, 1, 2, 3]


@everywhere
@pytest.mark.parametrize("work", [works.unpicklable_at, works.aunpicklable_at])
def test_a_result_that_cannot_travel_is_one_failure_in_its_chunk(
    caller: Caller, processes: bool, work: Callable[..., Any]
) -> None:
    outcomes = caller.map(work, [2] * 4, range(4), chunksize=4, return_outcomes=True)
    errors = [outcome.exception for outcome in outcomes]
    assert [error is None for error in errors] == [True, True, not processes, True]
    if processes:
        assert isinstance(errors[2], SerializationError)
        assert "the result, of type Unpicklable, cannot be pickled" in str(errors[2])


@pytest.mark.needs("process")  # it tells workers by their process ids
@everywhere
@pytest.mark.parametrize("work", [works.bad_load, works.abad_load])
def test_a_result_that_cannot_be_unpickled_here(
    caller: Caller, processes: bool, work: Callable[..., Any]
) -> None:
    if not processes:
        assert type(caller.call(work)) is works.BadLoad
        return
    others = [caller.submit(works.aadd, n) for n in range(4)]
    error = caller.raised(work)
    assert isinstance(error, SerializationError)
    assert "its result cannot be unpickled here" in str(error)
    assert "not in this process" in str(error)
    assert [caller.result(other) for other in others] == [0, 1, 2, 3]


@pytest.mark.needs("process")  # it tells workers by their process ids
@pytest.mark.parametrize("work", [works.echo, works.aecho])
def test_an_argument_that_the_worker_cannot_unpickle(
    caller: Caller, processes: bool, work: Callable[..., Any]
) -> None:
    if not processes:
        caller.call(work, works.BadLoad())
        return
    error = caller.raised(work, works.BadLoad())
    assert isinstance(error, SerializationError)
    assert "the worker cannot unpickle the call" in str(error)
    assert "not in this process" in str(error)


def test_a_work_that_ends_itself_cancelled(caller: Caller) -> None:
    future = caller.submit(works.cancels_itself)
    caller.wait(future)
    assert future.cancelled()
    with pytest.raises(caller.Cancelled):
        future.result()


# -- workers that cannot start ------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"initializer": works.broken_start, "initargs": ("no data",)}, "no data"),
        ({"initializer": works.fail, "initargs": (SystemExit("out"),)}, "SystemExit"),
        ({"worker_loop_factory": works.broken_loop}, "no loop today"),
        ({"initializer": works.abroken_start, "initargs": ("no data",)}, "no data"),
        ({"initializer": works.aexiting_start}, "SystemExit: out"),
        ({"initializer": works.generator_start}, "without `yield`"),
    ],
    ids=["initializer", "exit", "loop", "coroutine", "coroutine's exit", "generator"],
)
def test_a_pool_whose_workers_cannot_start_is_broken_and_says_why(
    new_caller: Callable[..., Caller], options: dict[str, Any], message: str
) -> None:
    for work in works.add, works.aadd:
        caller = new_caller(**options)
        error = caller.raised(work, 1)
        assert isinstance(error, BrokenPoolError)
        assert message in str(error)
        assert re.search("LookupError|SystemExit|TypeError", str(error))
        shown = "".join(traceback.format_exception(error))
        assert "works.py" in shown or "yield" in message  # where it was raised
    with pytest.raises(BrokenPoolError, match=message):
        caller.submit(works.add, 1)
    with pytest.raises(BrokenPoolError, match=message):
        caller.map(works.add, [1])
    caller.pool.shutdown()


@pytest.mark.parametrize("engine", ["template"], indirect=True)
def test_a_pool_whose_workers_die_at_their_start_is_broken(
    new_caller: Callable[..., Caller],
) -> None:
    caller = new_caller(initializer=works.deadly_start)
    error = caller.raised(works.add, 1)
    assert isinstance(error, BrokenPoolError)
    assert "exited with code 5" in str(error)
    assert "this work had been started" not in str(error)


def test_an_exception_nobody_looks_at_is_told_by_asyncio_only(
    engine: str, caplog: pytest.LogCaptureFixture
) -> None:
    """aplex itself writes nothing about the failures of works."""
    from tests.support.callers import make_pool

    async def main() -> None:
        async with make_pool(engine, awaitable=True) as pool:
            pool.submit(works.fail, LookupError("lonely"))

    asyncio.run(main())
    assert [record.name for record in caplog.records] == ["asyncio"]
