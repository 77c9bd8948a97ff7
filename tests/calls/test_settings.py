"""Logic: every option of an executor is checked, in one place, with one clear message."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import multiprocessing
from typing import Any

import pytest

from aplex import ProcessAsyncPoolExecutor, ThreadAsyncPoolExecutor
from aplex._calls.settings import PoolSettings
from aplex._common.numbers import MOST
from aplex._common.options import WorkOptions

COUNTS = {"max_works_per_worker": 1, "retries": 0, "quarantine_after": 1, "max_restarts": 0}
"""Options that count something, and the least that is allowed."""
COUNTS_OR_NONE = {
    "pool_size": 1,
    "max_workers": 1,
    "max_tasks_per_child": 1,
    "max_pending": 1,
    "max_memory_per_worker": 1,
    "min_pool_size": 1,
}
SECONDS = ("exit_grace", "restart_window")
LIMITS = ("start_timeout",)
POSITIVE = ("max_age", "idle_timeout", "slow_callback")
OTHERS = {
    "awaitable",
    "load_balancer",
    "future_loop",
    "worker_loop_factory",
    "initializer",
    "lifespan",
    "forward_logs",
} | {"initargs", "context", "record", "dump_signal"}
NAN = float("nan")
HUGE = 10**5000  # more digits than Python writes


def settings(**options: Any) -> PoolSettings:
    return PoolSettings(**options)


def refused(name: str, value: object, error: type[Exception], *words: str) -> None:
    """It is refused, and the message has all that is to be known."""
    with pytest.raises(error) as caught:
        settings(**{name: value})
    message = str(caught.value)
    assert message.startswith(f"{name} must ")
    assert all(word in message for word in words), message


def test_every_option_is_tried_here() -> None:
    names = {field.name for field in dataclasses.fields(PoolSettings) if field.init}
    assert names == {*COUNTS, *COUNTS_OR_NONE, *SECONDS, *LIMITS, *POSITIVE, *OTHERS}


@pytest.mark.parametrize("name", [*COUNTS, *COUNTS_OR_NONE])
def test_a_count_is_an_int_that_is_big_enough(name: str) -> None:
    least = {**COUNTS, **COUNTS_OR_NONE}[name]
    assert getattr(settings(**{name: least}), name) == least
    assert getattr(settings(**{name: MOST}), name) == MOST
    allowed = "an int" if name in COUNTS else "an int or None"
    for value in (1.5, "3", True, math.inf, *((None,) if name in COUNTS else ())):
        refused(name, value, TypeError, allowed, repr(value))
    refused(name, least - 1, ValueError, f"at least {least}", repr(least - 1))
    refused(name, HUGE, ValueError, f"at most {MOST}")
    refused(name, -HUGE, ValueError, f"at least {least}")


@pytest.mark.parametrize("name", COUNTS_OR_NONE)
def test_a_count_that_has_a_default_may_be_none(name: str) -> None:
    assert getattr(settings(**{name: None}), name) is None


@pytest.mark.parametrize("name", [*SECONDS, *LIMITS])
def test_seconds_are_a_number_that_is_not_negative(name: str) -> None:
    for value in (0, 0.5, 10**12, 1e300):
        assert getattr(settings(**{name: value}), name) == value
    for value in ("1", True, [], *((None,) if name in SECONDS else ())):
        refused(name, value, TypeError, "a number of seconds", repr(value))
    for value in (-1, -0.1, NAN, -math.inf):
        refused(name, value, ValueError, "negative", repr(value))
    refused(name, -HUGE, ValueError, "negative")


@pytest.mark.parametrize("value", [math.inf, HUGE], ids=["inf", "huge"])
def test_infinite_seconds_mean_no_limit(value: float) -> None:
    made = settings(exit_grace=value, restart_window=value, start_timeout=value)
    assert made.exit_grace == made.restart_window == math.inf
    assert made.start_timeout is settings(start_timeout=None).start_timeout is None
    works = WorkOptions(time_limit=value, deadline=value, kill_after=value)
    assert works.time_limit is works.deadline is None
    assert works.kill_after == math.inf


@pytest.mark.parametrize("name", ["load_balancer", "worker_loop_factory", "initializer"])
def test_what_is_called_must_be_callable(name: str) -> None:
    refused(name, 3, TypeError, "callable", "3")
    if name == "load_balancer":
        refused(name, None, TypeError, "callable", "None")
    else:
        assert getattr(settings(**{name: None}), name) is None


def test_other_options_are_of_their_kind() -> None:
    refused("awaitable", 1, TypeError, "a bool", "1")
    refused("future_loop", 3, TypeError, "an event loop or None", "3")
    refused("initargs", 3, TypeError, "a tuple", "3")
    refused("initargs", "ab", TypeError, "a tuple", "'ab'")
    assert settings(initargs=[1, 2]).initargs == (1, 2)
    loop = asyncio.new_event_loop()
    try:
        assert settings(future_loop=loop, awaitable=True).future_loop is loop
        with pytest.raises(ValueError, match="future_loop needs awaitable=True"):
            settings(future_loop=loop)
    finally:
        loop.close()


def test_works_have_the_options_of_their_executor() -> None:
    works = settings(retries=2, quarantine_after=5).works
    assert (works.retries, works.quarantine_after) == (2, 5)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"retries": None}, TypeError, "retries must be an int, not None"),
        ({"quarantine_after": None}, TypeError, "quarantine_after must be an int, not None"),
        ({"buffersize": True}, TypeError, "buffersize must be an int or None, not True"),
        ({"max_concurrency": True}, TypeError, "max_concurrency must be an int or None, not True"),
        ({"priority": True}, TypeError, "priority must be an int, not True"),
        ({"rate": True}, TypeError, "rate must be a number per second or None, not True"),
        (
            {"time_limit": True},
            TypeError,
            "time_limit must be a number of seconds or None, not True",
        ),
        ({"deadline": NAN}, ValueError, "deadline must not be negative or NaN"),
        ({"kill_after": NAN}, ValueError, "kill_after must not be negative or NaN"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_options_of_works_are_checked_likewise(
    options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        WorkOptions(**options)


def test_executors_have_the_same_checks() -> None:
    """None of the options goes past them."""
    for options in ({"retries": None}, {"max_restarts": None}, {"quarantine_after": None}):
        with pytest.raises(TypeError, match="must be an int, not None"):
            ThreadAsyncPoolExecutor(**options)  # type: ignore[call-overload]
    for name in ("start_timeout", "exit_grace"):
        with pytest.raises(ValueError, match=f"{name} must not be negative"):
            ProcessAsyncPoolExecutor(**{name: -1.0})  # type: ignore[arg-type]


def test_a_context_is_of_multiprocessing_or_like_it() -> None:
    with pytest.raises(ValueError, match=r"mp_context must be one of .*'spawn'.* got 'spwan'"):
        ProcessAsyncPoolExecutor(mp_context="spwan")
    with pytest.raises(TypeError, match=r"mp_context must be one of .*, not 3"):
        ProcessAsyncPoolExecutor(mp_context=3)  # type: ignore[call-overload]
    for context in (multiprocessing, multiprocessing.get_context("spawn"), "spawn", None):
        ProcessAsyncPoolExecutor(mp_context=context).shutdown()  # type: ignore[arg-type]


def test_max_workers_is_another_name_of_pool_size() -> None:
    assert settings(max_workers=3).pool_size == 3
    with pytest.raises(TypeError, match="pool_size and max_workers are the same"):
        settings(pool_size=3, max_workers=3)


@pytest.mark.parametrize("name", POSITIVE)
def test_some_seconds_are_more_than_none(name: str) -> None:
    refused(name, 0, ValueError, "more than 0")
    refused(name, -1.0, ValueError, "negative")
    refused(name, "1", TypeError, "number of seconds or None")
    for value in (None, 0.5):
        assert getattr(settings(**{name: value}), name) == value
    assert getattr(settings(**{name: math.inf}), name) in (math.inf, None)


def test_an_elastic_pool_has_one_worker_at_least_unless_it_is_told() -> None:
    assert settings().min_pool_size is None
    assert settings(idle_timeout=5).min_pool_size == 1
    assert settings(idle_timeout=5, min_pool_size=3).min_pool_size == 3
    with pytest.raises(ValueError, match="min_pool_size must be at most pool_size, 2, got 3"):
        settings(pool_size=2, min_pool_size=3)
