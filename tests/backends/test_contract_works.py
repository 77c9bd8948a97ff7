"""Contract: what can be a work, and on which thread each kind of work runs."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import math
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import works
from tests.support.callers import PROCESSES, Caller, everywhere
from tests.support.signals import Signals

pytestmark = pytest.mark.timeout(60)
WORKS: dict[str, tuple[Callable[..., Any], tuple[Any, ...], Any]] = {
    "function": (works.add, (1, 2), 3),
    "coroutine function": (works.aadd, (1, 2), 3),
    "decorated coroutine function": (works.decorated, (1, 2), 3),
    "partial of a function": (functools.partial(works.add, 1), (2,), 3),
    "partial of a coroutine function": (functools.partial(works.aadd, y=2), (1,), 3),
    "partial of a partial": (functools.partial(functools.partial(works.aadd, 1), 2), (), 3),
    "partial of a decorated one": (functools.partial(works.decorated, 1), (2,), 3),
    "bound method": (works.Adder(1).method, (2,), 3),
    "bound coroutine method": (works.Adder(1).amethod, (2,), 3),
    "class method": (works.Adder.of_class, (1, 2), 3),
    "static coroutine method": (works.Adder.of_nobody, (1, 2), 3),
    "callable object": (works.Callee(1), (2,), 3),
    "callable object with async __call__": (works.AsyncCallee(1), (2,), 3),
    "partial of such an object": (functools.partial(works.AsyncCallee(1), 2), (), 3),
    "class": (works.Adder, (3,), works.Adder(3)),
    "built-in class": (int, ("3",), 3),
    "built-in function": (math.hypot, (3, 4), 5.0),
    "method of a built-in object": ("-".join, (["a", "b"],), "a-b"),
    "lambda": (lambda x: x + 2, (1,), 3),
    "lambda that returns a coroutine": (lambda x: works.aadd(x, 2), (1,), 3),
    "coroutine function of the library": (asyncio.sleep, (0, 3), 3),
}


@everywhere
@pytest.mark.parametrize("kind", WORKS)
def test_every_kind_of_callable_is_a_work(caller: Caller, kind: str) -> None:
    work, args, expected = WORKS[kind]
    assert caller.call(work, *args) == expected


@everywhere
def test_closures_are_works(caller: Caller) -> None:
    three = 3

    def closure(x: int) -> int:
        return x + three

    async def aclosure(x: int) -> int:
        await asyncio.sleep(0)
        return x + three

    assert caller.call(closure, 1) == 4
    assert caller.call(aclosure, 1) == 4


def test_an_awaitable_that_a_coroutine_function_returns_is_a_value_like_any_other(
    caller: Caller, processes: bool
) -> None:
    if not processes:
        returned = caller.call(works.Future)
        assert type(returned) is works.Future
    assert type(caller.call(works.Future)) is works.Future


@everywhere
def test_a_plain_function_never_runs_on_a_loop(caller: Caller, own_process: bool) -> None:
    """It runs on the main thread of a process worker."""
    for work in (works.where, functools.partial(works.where), lambda: works.where()):
        pid, _, is_main, has_loop = caller.call(work)
        assert not has_loop
        assert is_main is own_process
        assert (pid == os.getpid()) is not own_process


@everywhere
def test_a_coroutine_runs_on_a_loop(caller: Caller, own_process: bool) -> None:
    """And not on the main thread, which is for plain functions."""
    for work in (works.awhere, works.where_decorated, lambda: works.awhere()):
        pid, _, is_main, has_loop = caller.call(work)
        assert has_loop
        assert not is_main
        assert (pid == os.getpid()) is not own_process


@everywhere
def test_the_worker_loop_is_made_by_the_factory(
    caller: Caller, request: pytest.FixtureRequest
) -> None:
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        stock = type(loop).__module__
    wanted = "uvloop" if "uvloop" in request.node.callspec.id else stock
    assert caller.call(works.loop_class) == wanted


@everywhere
def test_a_plain_function_may_run_a_loop_of_its_own(caller: Caller) -> None:
    assert caller.call(works.own_loop, 4) == 8


@everywhere
def test_coroutines_of_a_worker_run_concurrently(caller: Caller) -> None:
    spans = [caller.submit(works.aspan, 0.2) for _ in range(4)]
    began, ended = zip(*map(caller.result, spans), strict=True)
    assert max(began) < min(ended)


@pytest.mark.parametrize("engine", ["thread", "template"], indirect=True)
def test_a_worker_runs_one_plain_function_at_a_time(
    new_caller: Callable[..., Caller],
) -> None:
    caller = new_caller(pool_size=1)
    spans = sorted(caller.result(f) for f in [caller.submit(works.span, 0.03) for _ in range(5)])
    assert len({where for _, _, where in spans}) == 1
    for (_, ended, _), (began, _, _) in itertools.pairwise(spans):
        assert ended <= began


def test_plain_functions_use_all_workers(caller: Caller, processes: bool) -> None:
    spans = [caller.result(f) for f in [caller.submit(works.span, 0.1) for _ in range(4)]]
    assert len({where for _, _, where in spans}) == 2


@pytest.mark.parametrize("engine", ["thread", *PROCESSES], indirect=True)
@pytest.mark.parametrize("loop", ["stock", "uvloop"])
@pytest.mark.parametrize("face", ["blocking"], indirect=True)
def test_a_worker_serves_coroutines_while_a_function_computes(
    new_caller: Callable[..., Caller], engine: str, loop: str, signals: Signals
) -> None:
    """100 coroutines that sleep for 10 ms end in less than 100 ms, beside hard computing.

    The best of a few attempts counts: other programs need the machine too. (Threads share
    one interpreter, which uvloop asks for anew at every timer.)
    """
    limit = 0.4 if (engine, loop) == ("thread", "uvloop") else 0.1
    caller = new_caller(pool_size=1, loop=loop)
    caller.call(works.anothing)
    burning = caller.submit(works.burn, 0.7, signals.path)
    signals.expect("burning")
    took = [10.0]
    while min(took) > limit and len(took) < 5:
        began = time.perf_counter()
        naps = [caller.submit(asyncio.sleep, 0.01) for _ in range(100)]
        caller.wait(*naps)
        took.append(time.perf_counter() - began)
    assert not burning.done()
    assert min(took) < limit
    assert caller.result(burning) == 0.7


def test_a_function_computes_while_the_loop_is_held_up(caller: Caller, signals: Signals) -> None:
    held_up = [caller.submit(works.aburn, 0.5, signals.path) for _ in range(2)]
    signals.expect("burning", "burning")
    assert caller.call(works.add, 1, 1) == 2
    assert not any(future.done() for future in held_up)
    caller.wait(*held_up)


def test_worker_threads_have_names_that_tell_the_executor(caller: Caller) -> None:
    name = type(caller.pool).__name__
    names = [thread.name for thread in threading.enumerate() if thread.name.startswith(name)]
    assert names, threading.enumerate()
