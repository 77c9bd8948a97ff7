"""The tests' own choice of combinations: no two values that can meet are left out."""

from __future__ import annotations

import itertools

import pytest

from tests.support.callers import ENGINES, FACES, LOOPS
from tests.support.covering import covering

COLUMNS = {"engine": ENGINES, "loop": LOOPS, "face": FACES}
FULL = [dict(zip(COLUMNS, values, strict=True)) for values in itertools.product(*COLUMNS.values())]


@pytest.mark.parametrize("first", range(len(FULL)))
def test_every_two_values_meet_in_half_the_rows(first: int) -> None:
    rows = [FULL[index] for index in covering(FULL, first)]
    assert len(rows) == 2 * len(ENGINES)
    for one, other in itertools.combinations(COLUMNS, 2):
        met = {(row[one], row[other]) for row in rows}
        assert met == set(itertools.product(COLUMNS[one], COLUMNS[other]))


def test_tests_that_begin_elsewhere_meet_other_rows() -> None:
    assert {index for first in range(20) for index in covering(FULL, first)} == set(range(20))


def test_a_parameter_alone_keeps_all_its_values() -> None:
    assert covering([{"engine": engine} for engine in ENGINES], 2) == [0, 1, 2, 3, 4]


def test_values_that_never_meet_are_not_asked_for() -> None:
    rows = [{"a": 1, "b": 1, "c": 1}, {"a": 2, "b": 2, "c": 2}, {"a": 2, "b": 2, "c": 2}]
    assert covering(rows) == [0, 1]
