"""Random use of real pools: the short form of ``python3 dev.py reliability model``."""

from __future__ import annotations

import pytest
from reliability.model import run_part
from reliability.random_use.reference import CANCELLED, LOST, VALUE, Reference

COUNT = 6
STEPS = 20


def test_real_pools_do_what_the_reference_allows() -> None:
    run_part(1, COUNT, STEPS)


# -- the reference itself -------------------------------------------------------------------


@pytest.fixture
def reference() -> Reference:
    return Reference(size=1, limit=300)


def test_a_work_that_ran_in_a_killed_worker_is_lost_and_runs_no_more(reference: Reference) -> None:
    work = reference.submit(coroutine=True, held=True, fails=False, retries=0)
    reference.saw_start(work.number, 10)
    reference.kill(10)
    assert reference.must_end() == [work]
    work.opened = True
    with pytest.raises(AssertionError, match="ran again"):
        reference.saw_start(work.number, 11)
    reference.saw_end(work.number, LOST)


def test_a_work_that_runs_elsewhere_is_not_lost(reference: Reference) -> None:
    work = reference.submit(coroutine=False, held=True, fails=False, retries=0)
    reference.saw_start(work.number, 10)
    reference.kill(11)
    with pytest.raises(AssertionError, match="must not end so"):
        reference.saw_end(work.number, LOST)


def test_a_plain_function_behind_one_that_is_lost_is_not(reference: Reference) -> None:
    held, behind, coroutine = [
        reference.submit(coroutine=coroutine, held=True, fails=False, retries=0)
        for coroutine in (False, False, True)
    ]
    reference.saw_start(held.number, 10)
    reference.kill(10)
    assert held.allows(LOST)
    assert not behind.allows(LOST)
    assert coroutine.allows(LOST)  # it may have been about to say that it runs


def test_a_work_ends_by_itself_only_after_its_gate(reference: Reference) -> None:
    work = reference.submit(coroutine=False, held=True, fails=False, retries=0)
    with pytest.raises(AssertionError, match="must not end so"):
        reference.saw_end(work.number, VALUE)
    work.opened = True
    reference.saw_end(work.number, VALUE)
    with pytest.raises(AssertionError, match="has changed"):
        reference.saw_end(work.number, CANCELLED)


def test_only_a_shutdown_that_cancels_drops_works_that_wait(reference: Reference) -> None:
    running, waiting = [
        reference.submit(coroutine=False, held=True, fails=False, retries=0) for _ in range(2)
    ]
    reference.saw_start(running.number, 10)
    reference.shut(drop=False)
    assert not waiting.allows(CANCELLED)
    reference.shut(drop=True)
    assert waiting.allows(CANCELLED)
    assert not running.allows(CANCELLED)


def test_a_plain_function_that_waits_holds_up_others(reference: Reference) -> None:
    reference.submit(coroutine=False, held=True, fails=False, retries=0)
    behind = reference.submit(coroutine=False, held=False, fails=False, retries=0)
    beside = reference.submit(coroutine=True, held=False, fails=False, retries=0)
    assert reference.must_end() == [beside]
    reference.size = 2
    assert reference.must_end() == [behind, beside]


def test_a_plain_function_that_is_cancelled_may_run_on_and_holds_up_others(
    reference: Reference,
) -> None:
    held, behind = [
        reference.submit(coroutine=False, held=held, fails=False, retries=0)
        for held in (True, False)
    ]
    reference.saw_start(held.number, 10)
    held.cancel_asked = True
    reference.saw_end(held.number, CANCELLED)
    assert reference.must_end() == []
    reference.kill(10)
    assert reference.must_end() == [behind]
    assert not behind.allows(LOST)
