"""Contract: ``time_limit``, ``deadline`` and ``idle_timeout`` of streams."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from aplex import WorkerLostError
from tests.support import stuck, works
from tests.support.callers import Caller, everywhere
from tests.support.signals import Gate, Signals

pytestmark = pytest.mark.few_engines

SHORT = 0.2
"""Seconds."""
FOREVER = 60.0
"""Seconds that no test reaches."""
ENDLESS = pytest.mark.parametrize("endless", [works.count_and_say, works.acount_and_say])
INTERRUPTED = pytest.param(works.yield_then_wait, marks=pytest.mark.needs("posix"))  # by signals
WAITS = pytest.mark.parametrize("work", [INTERRUPTED, works.ayield_then_wait])


def limited(caller: Caller, **options: Any) -> Caller:
    return caller.through(caller.pool.options(**options))


def read_to_timeout(stream: Any, option: str) -> list[Any]:
    """Return the items before the ``TimeoutError``, which names the option; then it is over."""
    got: list[Any] = []
    with pytest.raises(TimeoutError, match=rf"\({option}\)"):
        while True:
            got.append(next(stream))
    assert list(stream) == []
    stream.close()
    return got


# -- the whole ------------------------------------------------------------------------------


@everywhere
@ENDLESS
@pytest.mark.parametrize("option", ["time_limit", "deadline"])
def test_a_stream_ends_when_its_time_is_over(
    caller: Caller, endless: Callable[..., Any], option: str, signals: Signals
) -> None:
    stream = limited(caller, **{option: SHORT}).stream(endless, signals.path)
    got = read_to_timeout(stream, option)
    assert got == list(range(len(got)))
    signals.expect("finally")
    assert caller.call(works.add, 1, 2) == 3


@ENDLESS
@pytest.mark.parametrize("option", ["time_limit", "deadline"])
def test_the_time_goes_on_while_nobody_reads(
    caller: Caller, endless: Callable[..., Any], option: str, signals: Signals
) -> None:
    """The generator waits for credit then. What has arrived can be read."""
    stream = limited(caller, **{option: SHORT}).stream(endless, signals.path)
    signals.expect("finally")
    assert read_to_timeout(stream, option) == list(range(16))


@pytest.mark.needs("process")  # signals interrupt what waits in C
@WAITS
@pytest.mark.parametrize("option", ["time_limit", "deadline", "idle_timeout"])
def test_a_generator_that_waits_is_stopped(
    caller: Caller, work: Callable[..., Any], option: str, gate: Gate, processes: bool
) -> None:
    stream = limited(caller, **{option: SHORT}).stream(work, gate.path)
    assert read_to_timeout(stream, option) == ["first"]
    if not processes and work is works.yield_then_wait:
        gate.open()  # nothing can stop a thread
    assert caller.call(works.add, 1, 2) == 3


def test_the_deadline_comes_to_a_stream_that_waits(
    new_caller: Callable[..., Caller], gate: Gate, signals: Signals
) -> None:
    caller = new_caller()
    busy = caller.submit(works.held, signals.path, gate.path)
    signals.expect("started None")
    behind = caller.submit(works.add, 1, 1)  # no function is sent ahead of it
    stream = limited(caller, deadline=SHORT).stream(works.count_to, 3)
    assert read_to_timeout(stream, "deadline") == []
    gate.open()
    caller.wait(busy, behind)


def test_a_plain_function_may_return_an_asynchronous_generator(
    caller: Caller, signals: Signals, gate: Gate
) -> None:
    stream = limited(caller, time_limit=SHORT).stream(works.yield_in_loop, signals.path, gate.path)
    read_to_timeout(stream, "time_limit")
    signals.expect("finally")


def test_a_stream_that_ends_in_time_ends_as_ever(caller: Caller) -> None:
    view = limited(caller, time_limit=FOREVER, deadline=FOREVER, idle_timeout=FOREVER)
    for work in (works.count_to, works.acount_to):
        assert list(view.stream(work, 40)) == list(range(40))
    with pytest.raises(TimeoutError, match="mine"):
        list(view.stream(works.ayield_then_fail, 3, TimeoutError("mine")))


# -- between items --------------------------------------------------------------------------


@pytest.mark.needs("process")  # signals interrupt what waits in C
@everywhere
@WAITS
def test_a_reader_waits_no_longer_than_the_idle_timeout(
    caller: Caller, work: Callable[..., Any], gate: Gate
) -> None:
    stream = limited(caller, idle_timeout=SHORT).stream(work, gate.path)
    began = time.monotonic()
    assert read_to_timeout(stream, "idle_timeout") == ["first"]
    assert time.monotonic() - began >= SHORT
    gate.open()


@pytest.mark.parametrize("count_to", [works.count_to, works.acount_to])
def test_the_time_of_the_reader_is_not_idle(caller: Caller, count_to: Callable[..., Any]) -> None:
    stream = limited(caller, idle_timeout=SHORT).stream(count_to, 20)
    assert next(stream) == 0
    time.sleep(2 * SHORT)  # what is tried is that time passes
    assert list(stream) == list(range(1, 20))


def test_the_cleanup_has_run_when_the_error_comes(caller: Caller, signals: Signals) -> None:
    stream = limited(caller, idle_timeout=SHORT).stream(works.await_and_say, signals.path)
    assert read_to_timeout(stream, "idle_timeout") == [0]
    assert signals.said() == ["finally"]


# -- what does not want to stop ---------------------------------------------------------------


@pytest.mark.parametrize("option", ["time_limit", "idle_timeout"])
@pytest.mark.parametrize("engine", ["spawn"], indirect=True)
def test_a_generator_that_ignores_the_interrupt_loses_its_worker(
    new_caller: Callable[..., Caller], option: str, signals: Signals
) -> None:
    caller = new_caller()
    pid = caller.call(works.pid)
    view = limited(caller, **{option: SHORT, "kill_after": SHORT})
    stream = view.stream(works.yield_then_run, stuck.ignores, signals.path)
    assert read_to_timeout(stream, option) == ["first"]
    assert caller.call(works.pid) != pid


@pytest.mark.parametrize("engine", ["spawn"], indirect=True)
def test_one_that_is_not_to_be_interrupted_goes_on_to_its_next_yield(
    new_caller: Callable[..., Caller], gate: Gate
) -> None:
    caller = new_caller()
    pid = caller.call(works.pid)
    view = limited(caller, time_limit=SHORT, interruptible=False)
    stream = view.stream(works.yield_then_wait, gate.path)
    assert next(stream) == "first"
    with pytest.raises(TimeoutError, match="time_limit"):
        next(stream)
    gate.open()
    assert caller.call(works.pid) == pid


@pytest.mark.parametrize("engine", ["spawn"], indirect=True)
def test_a_death_before_the_end_of_the_time_is_a_death(new_caller: Callable[..., Caller]) -> None:
    caller = new_caller()
    stream = limited(caller, time_limit=FOREVER, idle_timeout=FOREVER).stream(
        works.yield_then_die, 3
    )
    with pytest.raises(WorkerLostError):
        list(stream)


# -- values ---------------------------------------------------------------------------------


def test_an_infinite_time_is_none(caller: Caller) -> None:
    view = limited(caller, time_limit=float("inf"), idle_timeout=float("inf"))
    assert list(view.stream(works.count_to, 3)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("value", "error"), [(-1, ValueError), (float("nan"), ValueError), ("1", TypeError)]
)
def test_the_idle_timeout_is_a_number_of_seconds(
    caller: Caller, value: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="idle_timeout must"):
        caller.pool.options(idle_timeout=value)
