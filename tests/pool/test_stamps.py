"""Logic: when works were submitted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aplex._pool.stamps import MOST, Stamps


@given(st.lists(st.integers(1, 64), min_size=1, max_size=50))
def test_works_of_a_gathering_have_the_time_of_its_first(gatherings: list[int]) -> None:
    stamps = Stamps()
    expected: dict[int, int] = {}
    work_id = 0
    for second, count in enumerate(gatherings, start=1):
        stamps.add(work_id + 1, float(second))
        for _ in range(count):
            work_id += 1
            expected[work_id] = second * 10**9
    assert {one: stamps.of(one) for one in expected} == expected


def test_a_time_is_never_late_however_many_there_are() -> None:
    stamps = Stamps()
    for number in range(1, 20 * MOST):
        stamps.add(number, float(number))
    times = [stamps.of(number) for number in range(1, 20 * MOST)]
    assert times == sorted(times)
    assert all(time <= number * 10**9 for number, time in enumerate(times, start=1))
    assert times[0] == 10**9
    # The newest ones are exact; the others are early by few of the many.
    assert times[-100:] == [number * 10**9 for number in range(20 * MOST - 100, 20 * MOST)]
    assert max(number * 10**9 - time for number, time in enumerate(times, start=1)) < MOST * 10**9


def test_before_the_first_nothing_is_known() -> None:
    assert Stamps().of(1) == 0
