"""Times that come from another machine are told by our clock."""

from __future__ import annotations

from array import array

from aplex._backends.remote.clocks import shifted
from aplex._common.messages import COROUTINE, DUMPED, ERROR, PLAIN, only


def column(*numbers: int) -> bytes:
    return array("q", numbers).tobytes()


def test_when_works_began_and_ended_is_shifted_and_their_numbers_are_not() -> None:
    frame = (*only((5, ERROR, b"")), (column(5, 100, 6, 200, 300), []))
    assert shifted(PLAIN, frame, 7)[6] == (column(5, 107, 6, 207, 307), [])
    frame = (*only((5, ERROR, b"")), (column(5, 100, 300, 6, 0, 300), []))
    assert shifted(COROUTINE, frame, -7)[6] == (column(5, 93, 293, 6, 0, 293), [])


def test_since_when_works_run_is_shifted() -> None:
    frame = only((1, DUMPED, [(5, PLAIN, 10.0, [], []), (6, COROUTINE, 0.0, [], [])]))
    rows = [(5, PLAIN, 12.5, [], []), (6, COROUTINE, 0.0, [], [])]
    assert shifted(PLAIN, frame, 2_500_000_000)[1] == [(1, DUMPED, rows)]


def test_what_has_no_times_stays_as_it_is() -> None:
    frame = (0.0, [], [1], [2], [], [])
    assert shifted(PLAIN, frame, 5) is frame
