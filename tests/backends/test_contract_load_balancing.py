"""Contract: the load balancer is asked for each work, and its choice is obeyed."""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from aplex import LoadBalancer
from aplex.exceptions import LoadBalancerError
from aplex.load_balancers import Average, Random, RoundRobin, Worker
from tests.support import works
from tests.support.callers import Caller, make_pool
from tests.support.signals import Gate, Signals

pytestmark = pytest.mark.few_engines


class MyAwesomeLoadBalancer(LoadBalancer):
    """As in the documentation of 2019, which had no parameter here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.awesome = "yes"

    def get_proper_worker(self) -> Worker:  # type: ignore[override]
        return self.get_available_workers()[0]


class ByMeta(LoadBalancer):
    """Obeys the caller."""

    def get_proper_worker(self, load_balancing_meta: Any = None) -> Worker:
        return self.workers[load_balancing_meta or 0]


class Raising(LoadBalancer):
    def get_proper_worker(self, load_balancing_meta: Any = None) -> Worker:
        if load_balancing_meta == "raise":
            raise ValueError("cannot decide")
        return self.get_available_workers()[0]


class Nonsense(LoadBalancer):
    def get_proper_worker(self, load_balancing_meta: Any = None) -> Any:
        return load_balancing_meta or self.get_available_workers()[0]


class Full(LoadBalancer):
    """Prefers a worker that has no room, and does not insist."""

    keeps_choice = False

    def get_proper_worker(self, load_balancing_meta: Any = None) -> Worker:
        busy = [worker for worker in self.workers if worker.workload]
        return (busy or self.get_available_workers())[0]


BLOCKING = pytest.mark.parametrize("face", ["blocking"], indirect=True)


@BLOCKING
@pytest.mark.parametrize("balancer", [RoundRobin, Random, Average, MyAwesomeLoadBalancer])
def test_every_work_gets_a_worker(
    new_caller: Callable[..., Caller], balancer: type[LoadBalancer]
) -> None:
    caller = new_caller(pool_size=2, load_balancer=balancer, max_works_per_worker=5)
    futures = [caller.submit((works.add, works.aadd)[n % 2], n) for n in range(200)]
    assert [caller.result(future) for future in futures] == list(range(200))


def warm(caller: Caller) -> None:
    """Let all workers serve."""
    caller.call(works.anothing)
    while "(0 starting)" not in repr(caller.pool):
        caller.call(works.anothing)


@BLOCKING
@pytest.mark.parametrize("engine", ["template"], indirect=True)
@pytest.mark.parametrize("balancer", [RoundRobin, Random, Average])
def test_the_load_is_spread(
    new_caller: Callable[..., Caller],
    balancer: type[LoadBalancer],
    signals: Signals,
    gate: Gate,
) -> None:
    caller = new_caller(pool_size=2, load_balancer=balancer)
    warm(caller)
    held = [caller.submit(_pid_at, gate.path) for _ in range(40)]
    gate.open()
    counts = collections.Counter(caller.result(future) for future in held)
    assert len(counts) == 2
    if balancer is Random:
        assert min(counts.values()) >= 3
    else:
        assert set(counts.values()) == {20}


async def _pid_at(gate: str) -> int:
    await works.apass_gate(gate)
    return works.pid()


@pytest.mark.parametrize("engine", ["template"], indirect=True)
def test_the_meta_reaches_the_balancer_and_the_choice_is_obeyed(
    new_caller: Callable[..., Caller],
) -> None:
    caller = new_caller(pool_size=2, load_balancer=ByMeta)
    warm(caller)
    first: set[Any] = set()
    for which in (0, 1):
        chosen = {
            caller.call(work, load_balancing_meta=which) for work in (works.pid, works.apid) * 5
        }
        chosen |= set(caller.map(_pid_of, range(5), load_balancing_meta=which))
        chosen |= set(caller.map(_pid_of, range(5), chunksize=2, load_balancing_meta=which))
        assert len(chosen) == 1
        assert chosen != first
        first = chosen


def _pid_of(_: Any) -> int:
    return works.pid()


def test_the_meta_does_not_reach_the_work(new_caller: Callable[..., Caller]) -> None:
    caller = new_caller(load_balancer=ByMeta)
    assert caller.call(works.echo, 1, a=2, load_balancing_meta=0) == ((1,), {"a": 2})


def test_a_work_waits_for_the_worker_that_the_balancer_insists_on(
    new_caller: Callable[..., Caller], signals: Signals, gate: Gate
) -> None:
    """While others, for which there is room, go past it."""
    caller = new_caller(pool_size=2, load_balancer=ByMeta, max_works_per_worker=1)
    warm(caller)
    caller.wait(*[caller.submit(works.anothing, load_balancing_meta=n) for n in (0, 1)])
    held = caller.submit(works.aheld, signals.path, gate.path, load_balancing_meta=1)
    signals.expect("started None")
    pinned = caller.submit(works.aadd, 1, load_balancing_meta=1)
    cancelled = caller.submit(works.aadd, 1, load_balancing_meta=1)
    for n in range(3):
        assert caller.call(works.aadd, n, load_balancing_meta=0) == n
    assert not pinned.done()
    caller.cancel(cancelled)
    assert cancelled.cancelled()
    gate.open()
    caller.wait(held)
    assert caller.result(pinned) == 1


def test_a_balancer_that_raises_fails_that_work_only(
    new_caller: Callable[..., Caller],
) -> None:
    caller = new_caller(pool_size=2, load_balancer=Raising)
    good = [caller.submit(works.aadd, n) for n in range(5)]
    error = caller.raised(works.add, 1, load_balancing_meta="raise")
    assert isinstance(error, LoadBalancerError)
    assert "raised ValueError('cannot decide')" in str(error)
    assert type(error.__cause__) is ValueError
    good += [caller.submit(works.aadd, n) for n in range(5)]
    assert [caller.result(future) for future in good] == [*range(5)] * 2


@pytest.mark.parametrize("choice", [7, object()], ids=["int", "object"])
def test_a_balancer_that_chooses_nonsense_fails_that_work_only(
    new_caller: Callable[..., Caller], choice: Any
) -> None:
    caller = new_caller(pool_size=2, load_balancer=Nonsense)
    assert caller.call(works.add, 1) == 1
    error = caller.raised(works.add, 1, load_balancing_meta=choice)
    assert isinstance(error, LoadBalancerError)
    assert repr(choice) in str(error)
    assert "must return one of self.workers" in str(error)
    assert caller.call(works.add, 2) == 2


def test_a_worker_without_room_is_nonsense_if_the_balancer_does_not_insist(
    new_caller: Callable[..., Caller], signals: Signals, gate: Gate
) -> None:
    caller = new_caller(pool_size=2, load_balancer=Full, max_works_per_worker=1)
    warm(caller)
    held = caller.submit(works.aheld, signals.path, gate.path)
    signals.expect("started None")
    error = caller.raised(works.aadd, 1)
    assert isinstance(error, LoadBalancerError)
    assert "no available worker" in str(error)
    gate.open()
    caller.wait(held)


def test_a_worker_of_another_pool_is_nonsense(new_caller: Callable[..., Caller]) -> None:
    chosen: list[Any] = []

    class Spy(RoundRobin):
        def get_proper_worker(self, load_balancing_meta: Any = None) -> Worker:
            chosen.append(super().get_proper_worker())
            return chosen[-1]

    assert new_caller(load_balancer=Spy).call(works.add, 1) == 1
    other = new_caller(load_balancer=Nonsense)
    error = other.raised(works.add, 1, load_balancing_meta=chosen[0])
    assert isinstance(error, LoadBalancerError)


def test_a_balancer_sees_read_only_views(new_caller: Callable[..., Caller]) -> None:
    """And any factory that takes the same arguments may be passed."""
    seen: list[Any] = []

    class Looking(LoadBalancer):
        def __init__(self, greeting: str, *args: Any) -> None:
            super().__init__(*args)
            self.greeting = greeting

        def get_proper_worker(self, load_balancing_meta: Any = None) -> Worker:
            worker = self.workers[0]
            seen.append((self.greeting, self.max_works_per_worker, len(self.workers)))
            seen.append((worker.workload, self.workloads[worker], dict(self.workloads)))
            assert isinstance(self.workers, Sequence)
            assert isinstance(self.workloads, Mapping)
            for change in (
                lambda: self.workers.append(1),  # type: ignore[attr-defined]
                lambda: self.workloads.update({}),  # type: ignore[attr-defined]
            ):
                with pytest.raises(AttributeError):
                    change()
            with pytest.raises(TypeError):
                self.workloads[worker] = 3  # type: ignore[index]
            return worker

    def factory(*args: Any) -> LoadBalancer:
        return Looking("hello", *args)

    caller = new_caller(load_balancer=factory, max_works_per_worker=7)
    assert caller.call(works.aadd, 1) == 1
    assert seen[0] == ("hello", 7, 1)
    assert seen[1][:2] == (0, 0)
    assert list(seen[1][2].values()) == [0]


@pytest.mark.parent_only
def test_what_is_no_load_balancer_is_refused_at_once(engine: str) -> None:
    with pytest.raises(TypeError, match="must make a LoadBalancer"):
        make_pool(engine, load_balancer=lambda *_: object())


def test_a_balancer_that_cannot_be_made_raises_at_once(engine: str) -> None:
    def factory(*_: Any) -> LoadBalancer:
        raise LookupError("no balance today")

    with pytest.raises(LookupError, match="no balance today"):
        make_pool(engine, load_balancer=factory)
