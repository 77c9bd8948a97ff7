"""Contract: works have the context variables of their caller, and leave nothing to the next."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from typing import Any

import pytest

from aplex import SerializationError
from aplex._wire import calls
from tests.support import contexts
from tests.support.callers import ENGINES, PROCESSES, Caller, make_pool
from tests.support.contexts import OTHER, REQUEST, TENANT

pytestmark = pytest.mark.few_engines

EVERY_ENGINE = pytest.mark.parametrize("engine", ENGINES, indirect=True)
EVERY_PROCESS = pytest.mark.parametrize("engine", PROCESSES, indirect=True)
BLOCKING = pytest.mark.parametrize("face", ["blocking"], indirect=True)
WORKS = [contexts.seen, contexts.aseen, contexts.seen_later]


def of(tenant: str, request: Any = 7, other: str = "ours") -> Context:
    context = copy_context()
    context.run(TENANT.set, tenant)
    context.run(REQUEST.set, request)
    context.run(OTHER.set, other)
    return context


@EVERY_ENGINE
@pytest.mark.parametrize("work", WORKS)
def test_works_see_what_their_caller_sees(
    new_caller: Callable[..., Caller], engine: str, work: Any
) -> None:
    """Of processes, the variables that are named."""
    caller = new_caller(context=[TENANT, REQUEST])
    other = "ours" if engine == "thread" else "default"
    assert of("a").run(caller.call, work) == ("a", 7, other)
    assert of("b", {"id": 3}).run(caller.call, work) == ("b", {"id": 3}, other)
    assert Context().run(caller.call, work) == ("nobody", None, "default")


@EVERY_ENGINE
@BLOCKING
def test_maps_and_streams_see_what_their_caller_sees(
    new_caller: Callable[..., Caller], engine: str
) -> None:
    caller = new_caller(context=[TENANT, REQUEST])
    other = "ours" if engine == "thread" else "default"
    context = of("a")
    for work in WORKS[:2]:
        for options in ({}, {"chunksize": 3}, {"chunksize": "auto"}, {"ordered": False}):
            results = context.run(caller.map, work, range(20), **options)
            assert list(results) == [("a", 7, other)] * 20  # iterated elsewhere
    for stream in (contexts.stream_seen, contexts.astream_seen):
        items = list(context.run(caller.stream, stream, 3))
        assert items == [("a", 7, o) for o in (other, "0", "1")]
    assert caller.call(contexts.seen) == ("nobody", None, "default")


@EVERY_ENGINE
@BLOCKING
@pytest.mark.parametrize("named", [True, False])
def test_nothing_a_work_sets_is_seen_by_the_next(
    new_caller: Callable[..., Caller], *, named: bool
) -> None:
    caller = new_caller(context=[TENANT, REQUEST] if named else [])
    nothing = ("nobody", None, "default")
    for work in (contexts.see_and_set, contexts.asee_and_set):
        assert [caller.call(work, "x") for _ in range(5)] == [nothing] * 5
        assert list(caller.map(work, ["x"] * 20, chunksize=7)) == [nothing] * 20
    assert caller.call(contexts.seen) == nothing
    assert TENANT.get("nobody") == "nobody"


@EVERY_PROCESS
@BLOCKING
def test_what_an_initializer_sets_is_seen_by_all_and_changed_by_none(
    new_caller: Callable[..., Caller],
) -> None:
    """By functions, which run in its thread."""
    caller = new_caller(initializer=contexts.see_and_set, initargs=("set",), context=[REQUEST])
    for _ in range(3):
        assert caller.call(contexts.see_and_set, "x") == ("set", None, "set")
    assert list(caller.map(contexts.see_and_set, "xyz", chunksize=3)) == [("set", None, "set")] * 3
    assert list(caller.map(contexts.see_and_fail, "xyz", chunksize=1, return_outcomes=True))
    assert caller.call(contexts.seen) == ("set", None, "set")


@EVERY_PROCESS
@BLOCKING
def test_functions_by_value_are_pickled_once_also_with_context(
    new_caller: Callable[..., Caller], monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = new_caller(context=[REQUEST])
    pickled: list[object] = []
    dumps = calls.dumps

    def counting(value: Any, *, by_value: bool = False, **options: Any) -> bytes:
        pickled.append(value)
        return dumps(value, by_value=by_value, **options)

    monkeypatch.setattr(calls, "dumps", counting)
    seen = [
        of("a", number).run(caller.call, lambda x: (x, contexts.REQUEST.get()), number)
        for number in range(20)
    ]
    assert seen == [(number, number) for number in range(20)]
    assert len(pickled) <= 3
    big = bytes(500_000)
    assert of("a", 1).run(caller.call, len, big) == len(big)


@EVERY_ENGINE
@BLOCKING
def test_interleaved_works_see_their_own(new_caller: Callable[..., Caller]) -> None:
    caller = new_caller(context=[TENANT], pool_size=2)
    kinds = [contexts.see_and_set, contexts.asee_and_set, contexts.aseen]
    submitted = [
        (str(n), of(str(n)).run(caller.submit, kinds[n % 3], *(["x"] * (n % 3 < 2))))
        for n in range(10_000)
    ]
    wrong = [(n, future) for n, future in submitted if caller.result(future, 60)[0] != n]
    assert not wrong


@BLOCKING
@pytest.mark.parametrize("engine", ["spawn"], indirect=True)
def test_what_cannot_travel_says_so(new_caller: Callable[..., Caller]) -> None:
    caller = new_caller(context=[REQUEST])
    error = of("a", threading.Lock()).run(caller.raised, contexts.seen)
    assert isinstance(error, SerializationError)
    assert "context variable 'REQUEST'" in str(error)
    error = of("a").run(caller.raised, contexts.seen, threading.Lock())
    assert "argument 0 of tests.support.contexts.seen" in str(error)
    with pytest.raises(ValueError, match="global name of a module"):
        make_pool("spawn", context=[ContextVar("local")])
    with pytest.raises(TypeError, match="only context variables"):
        make_pool("spawn", context=["tenant"])
    with pytest.raises(TypeError, match="list of context variables"):
        make_pool("thread", context=7)


@EVERY_ENGINE
@BLOCKING
def test_traces_and_baggage_travel_by_themselves(new_caller: Callable[..., Caller]) -> None:
    from opentelemetry import baggage, context, trace
    from opentelemetry.sdk.trace import TracerProvider

    caller = new_caller()
    works = (contexts.trace_and_baggage, contexts.atrace_and_baggage)
    with TracerProvider().get_tracer("test").start_as_current_span("caller") as span:
        token = context.attach(baggage.set_baggage("tenant", "a"))
        try:
            expected = (span.get_span_context().trace_id, "a")
            assert [caller.call(work) for work in works] == [expected] * 2
        finally:
            context.detach(token)
    names = {f"tests.support.contexts.{work.__name__}" for work in works}
    assert set(caller.pool.stats().by_name) <= names  # not what runs them with a context
    assert trace.get_current_span().get_span_context().trace_id == 0
    assert [caller.call(work) for work in works] == [(0, None)] * 2
