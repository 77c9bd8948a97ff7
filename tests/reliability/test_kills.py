"""Kill at every step, the short form; and whether the harness itself can be trusted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reliability.killing.cases import short_form
from reliability.killing.hooks import locate
from reliability.killing.runner import run_cases
from reliability.killing.tables import p99
from reliability.kills import PROMISED
from reliability.points import POINTS

NOISE = 1.5
"""Seconds that a busy machine may add."""


@pytest.mark.timeout(300)
def test_works_are_resolved_whatever_happens_at_any_point() -> None:
    results = run_cases(short_form(), at_a_time=2)
    assert [f"{r.case}: {r.complaints}" for r in results if not r.passed] == []
    assert {result.case.point for result in results} == set(range(1, len(POINTS) + 1))
    # Forked workers only: how long a new interpreter takes to start is not our business.
    forked = [result.seconds for result in results if result.case.method == "fork"]
    assert p99(forked) < PROMISED + NOISE


def test_a_point_that_is_not_reached_is_a_failure() -> None:
    case = replace(short_form()[0], nth=1_000_000)
    (result,) = run_cases([case], at_a_time=1)
    assert result.complaints == ["the point was never reached"]


def test_a_point_names_a_function_that_exists() -> None:
    for point in POINTS:
        locate(point.target)
    with pytest.raises(AttributeError):
        locate("aplex._pool.pool:Pool.no_such_function")


def test_the_title_of_a_point_is_its_own() -> None:
    assert len({(point.side, point.title) for point in POINTS}) == len(POINTS)
