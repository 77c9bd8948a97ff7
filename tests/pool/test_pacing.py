"""Pacing, without a pool: how many functions are sent ahead, and which are recalled."""

from __future__ import annotations

import pytest

from aplex._common.messages import COROUTINE, PLAIN
from aplex._pool.pacing import (
    AHEAD_SECONDS,
    FAR_AHEAD_SECONDS,
    begun,
    depth,
    is_far_ahead,
    smoothed,
    to_recall,
)
from aplex._pool.state import PoolWorker, Question, Work


def worker_with(lanes: list[int]) -> PoolWorker:
    """Return a worker with works of these lanes in flight."""
    worker = PoolWorker(Question(), 1)
    for number, lane in enumerate(lanes, 1):
        work = worker.works[number] = Work(lane, None, None, None, None)
        worker.seqs[lane] = work.seq = worker.seqs[lane] + 1
        worker.plain += lane
    return worker


def test_a_pace_rises_at_once_and_falls_slowly() -> None:
    assert smoothed(0.001, 1.0) == 1.0
    assert smoothed(1.0, 0.0) == pytest.approx(0.7)
    assert smoothed(0.5, 0.5) == 0.5


@pytest.mark.parametrize(
    ("pace", "expected"),
    [
        (0.0, 100),  # no function took any time that could be measured
        (AHEAD_SECONDS / 1000, 100),
        (AHEAD_SECONDS / 50, 32),
        (AHEAD_SECONDS / 2.5, 2),
        (AHEAD_SECONDS, 1),
        (60.0, 1),
    ],
)
def test_as_many_functions_are_sent_ahead_as_are_soon_over(pace: float, expected: int) -> None:
    assert depth(pace, 100) == expected


def test_a_worker_is_far_ahead_if_it_has_too_many_functions_and_they_take_long() -> None:
    worker = worker_with([PLAIN] * 4)
    worker.depth = 2
    worker.pace = FAR_AHEAD_SECONDS / 4
    assert not is_far_ahead(worker)
    worker.pace *= 1.1
    assert is_far_ahead(worker)
    worker.depth = 4
    assert not is_far_ahead(worker)


def test_functions_are_recalled_behind_those_that_are_kept_and_once() -> None:
    worker = worker_with([PLAIN, COROUTINE, PLAIN, PLAIN])
    _, _, second, third = worker.works.values()
    assert to_recall(worker, 1) == [second, third]
    second.recalled = second.seq
    assert to_recall(worker, 1) == [third]
    assert to_recall(worker, 3) == []


def test_what_has_begun_is_counted_by_the_number_of_what_runs() -> None:
    worker = worker_with([PLAIN, PLAIN, PLAIN])
    next(iter(worker.works.values())).seq = 0  # it returned a coroutine
    assert begun(worker, 2) == 1
    assert begun(worker, 3) == 2
