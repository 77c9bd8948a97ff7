"""Logic: what a worker measures of its works. No process."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aplex._common.histograms import Timings
from aplex._wire.page import COUNTER_COUNT, OTHERS, PLACES, RUNS, WorkerPage
from aplex._worker.chunks_plain import run_plain_chunk
from aplex._worker.meter import STRIDE, Meter, Names
from aplex._worker.timeouts import run_within


@pytest.fixture
def page() -> Any:
    page = WorkerPage(None)
    yield page
    page.close()


def counts(page: WorkerPage) -> dict[str, int]:
    timings = Timings([page.timings()])
    return {name: ran[0] if (ran := timings.of(name)[1]) else 0 for name in timings.sums}


def first() -> None:
    """A function."""


def second() -> None:
    """Another one."""


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.integers(1, 70), st.booleans())))
def test_every_work_is_counted_by_its_name(frames: list[tuple[int, int, bool]]) -> None:
    page = WorkerPage(None)
    names, counters = Names(page), [0] * COUNTER_COUNT
    for number, function in ((1, first), (2, second)):
        names.of_call(number, function, ())
    meter = Meter(page, names, counters)
    done, expected = 0, {1: 0, 2: 0}
    due = 0
    for function, count, idle in [*frames, (2, STRIDE, True), (1, STRIDE, True), (2, 1, True)]:
        due = meter.frame(done, count, time.monotonic_ns(), function, idle=idle)
        for _ in range(count):
            done += 1
            counters[RUNS] = function
            if done >= due:
                due = meter.ended(done, time.monotonic_ns())
        expected[function] += count
    found = counts(page)
    page.close()
    assert found[f"{__name__}.first"] == expected[1]
    assert found[f"{__name__}.second"] == expected[2]


def test_a_long_function_is_measured_where_others_are_not(page: WorkerPage) -> None:
    names, counters = Names(page), [0] * COUNTER_COUNT
    counters[RUNS] = names.of_call(1, first, ())
    meter = Meter(page, names, counters)
    assert meter.frame(1000, 64, 0, 1, idle=False) == 1000 + STRIDE
    meter.look(time.monotonic_ns())
    meter.look(time.monotonic_ns() - 10**9)
    waited, ran = Timings([page.timings()]).of(f"{__name__}.first")
    assert waited is None  # it is not known when they were submitted
    assert ran is not None
    assert (ran[0], round(ran[1], 1)) == (1, 1.0)


def test_functions_of_ours_have_the_name_of_the_users(page: WorkerPage) -> None:
    names = Names(page)
    names.of_call(5, run_plain_chunk, (first, [[1]]))
    names.of_call(6, run_within, (1.0, second, 3))
    names.of_call(0, first.__call__, ())
    assert set(counts(page)) >= {f"{__name__}.first", f"{__name__}.second"}
    assert not any("chunk" in name or "within" in name for name in counts(page))


def test_functions_for_which_there_is_no_place_share_the_last(page: WorkerPage) -> None:
    names = Names(page)
    places = [names.place_of(f"f{number}", number) for number in range(1, PLACES + 10)]
    assert places[: PLACES - 1] == list(range(PLACES - 1))
    assert set(places[PLACES - 1 :]) == {PLACES - 1}
    assert len(counts(page)) == PLACES
    assert OTHERS in counts(page)


def test_a_name_that_is_too_long_or_no_text_is_cut(page: WorkerPage) -> None:
    names = Names(page)
    names.place_of("x" * 1000)
    names.place_of("ä" * 1000)
    names.place_of("a\udcff")
    assert len(counts(page)) == 3
