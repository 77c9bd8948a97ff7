"""Logic: histograms of times."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aplex._common.histograms import BUCKETS, BYTES, Timings, added, bucket, middle, summary


def histogram(*nanoseconds: int) -> bytes:
    words = memoryview(bytearray(BYTES)).cast("Q")
    for one in nanoseconds:
        words[bucket(one)] += 1
    return bytes(words)


@given(st.integers(min_value=4096, max_value=2**43 - 1))
def test_a_time_is_right_to_three_percent(nanoseconds: int) -> None:
    assert middle(bucket(nanoseconds)) == pytest.approx(nanoseconds / 1e9, rel=0.032)


@given(st.integers(), st.integers())
def test_longer_times_are_in_no_earlier_bucket(one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert 0 <= bucket(low) <= bucket(high) < BUCKETS


def test_every_bucket_has_its_middle() -> None:
    assert [bucket(round(middle(number) * 1e9)) for number in range(BUCKETS)] == list(
        range(BUCKETS)
    )


@given(st.lists(st.integers(min_value=4096, max_value=10**12), min_size=1))
def test_percentiles_are_those_of_the_times(times: list[int]) -> None:
    told = summary(histogram(*times))
    assert told is not None
    count, mean, p50, p90, p99, longest = told
    assert count == len(times)
    assert mean == pytest.approx(statistics.mean(times) / 1e9, rel=0.032)
    ordered = sorted(times)
    for part, found in ((50, p50), (90, p90), (99, p99), (100, longest)):
        rank = max(1, -(-len(times) * part // 100))
        assert found == pytest.approx(ordered[rank - 1] / 1e9, rel=0.032)


def test_no_times_tell_nothing() -> None:
    assert summary(bytes(BYTES)) is None
    assert Timings().all() == (None, None)
    assert Timings().sums == {}


@given(st.lists(st.integers(0, 10**12)), st.lists(st.integers(0, 10**12)))
def test_histograms_are_added_by_adding(one: list[int], other: list[int]) -> None:
    assert added((histogram(*one), histogram(*other))) == histogram(*one, *other)


def test_a_full_bucket_does_not_run_over_into_the_next() -> None:
    words = memoryview(bytearray(BYTES)).cast("Q")
    words[3] = 2**62
    assert memoryview(added((bytes(words), bytes(words)))).cast("Q").tolist()[3:5] == [2**63, 0]


def test_parts_of_a_name_are_added_when_they_are_asked_for() -> None:
    asked = []

    def part() -> list[tuple[bytes, bytes]]:
        asked.append(1)
        return [(b"f", histogram(1000) + histogram(5000, 6000))]

    timings = Timings([part, part])
    assert not asked
    waited, ran = timings.of("f")
    assert waited is not None
    assert ran is not None
    assert (waited[0], ran[0]) == (2, 4)
    assert timings.all() == (waited, ran)
    assert len(asked) == 2
    with pytest.raises(KeyError):
        timings.of("g")
