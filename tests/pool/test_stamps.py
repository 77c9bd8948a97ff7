"""Logic: when works were submitted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aplex._pool.stamps import MOST, Stamps


@given(st.lists(st.integers(1, 64), min_size=1, max_size=50))
def test_works_of_a_gathering_have_the_time_of_its_first(gatherings: list[int]) -> None:
    stamps = Stamps(int)
    expected: dict[int, int] = {}
    work_id = 0
    for second, count in enumerate(gatherings, start=1):
        stamps.add(work_id + 1, float(second))
        for _ in range(count):
            work_id += 1
            expected[work_id] = second * 10**9
    assert {one: stamps.of(one) for one in expected} == expected


COUNT = 20 * MOST


def test_of_works_that_all_wait_a_time_is_never_late_and_early_by_few() -> None:
    stamps = Stamps(int)
    for number in range(1, COUNT):
        stamps.add(number, float(number))
    early = [number - stamps.of(number) // 10**9 for number in range(1, COUNT)]
    assert min(early) == early[0] == 0
    assert max(early) <= 4 * COUNT // MOST


def test_of_works_that_go_on_the_times_stay_exact() -> None:
    done = [0]
    stamps = Stamps(lambda: done[0] + 1)
    for number in range(1, COUNT):
        stamps.add(number, float(number))
        done[0] = max(0, number - 100)
        assert stamps.of(number) == number * 10**9
    assert [stamps.of(number) for number in range(COUNT - 100, COUNT)] == [
        number * 10**9 for number in range(COUNT - 100, COUNT)
    ]


def test_before_the_first_nothing_is_known() -> None:
    assert Stamps(int).of(1) == 0
