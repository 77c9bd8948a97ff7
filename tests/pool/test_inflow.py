"""The parent's side of a stream: order, credit, frames that come twice, the end."""

from __future__ import annotations

from typing import Any

import pytest

from aplex._common.messages import ITEMS, TOO_LATE, VALUE
from aplex._pool.inflow import NOTHING, Inflow

READER = 1, None


def items(*values: Any) -> list[tuple[bool, Any]]:
    return [(False, value) for value in values]


def drained(inflow: Inflow) -> list[Any]:
    """What the reader gets now."""
    values = []
    while (item := inflow.next()) is not NOTHING:
        values.append(item[1])
    return values


def test_items_come_out_in_their_order_whatever_the_order_of_their_frames() -> None:
    inflow = Inflow(16, None, READER)
    inflow.take(2, items("c", "d"))
    assert drained(inflow) == []
    inflow.take(0, items("a", "b"))
    assert drained(inflow) == ["a", "b", "c", "d"]


def test_a_frame_that_comes_twice_changes_nothing() -> None:
    inflow = Inflow(16, None, READER)
    inflow.take(0, items("a", "b"))
    inflow.take(0, items("a", "b"))
    assert drained(inflow) == ["a", "b"]
    inflow.take(0, items("a", "b"))
    assert drained(inflow) == []
    inflow.take(2, items("c"))
    assert drained(inflow) == ["c"]


@pytest.mark.parametrize("size", [1, 2, 3, 16, 17])
def test_credit_never_lets_more_than_size_items_be_ahead_and_never_runs_dry(size: int) -> None:
    inflow = Inflow(size, None, READER)
    credit, messages, count = size, 0, 10 * size
    for number in range(count):
        due = inflow.due()
        if due:
            assert due == number + size
            inflow.sent(due)
            credit, messages = due, messages + 1
        assert number < credit <= number + size
        inflow.take(number, items(number))
        assert inflow.next() == (False, number)
    assert messages == (count - 1) // max(1, size // 2)


def test_no_credit_is_due_after_the_end() -> None:
    inflow = Inflow(1, None, READER)
    inflow.take(0, items("a"))
    assert drained(inflow) == ["a"]
    assert inflow.due() == 2
    inflow._settle(VALUE, None)
    assert inflow.due() == 0
    assert inflow.ended_well


def test_the_bell_is_rung_by_items_and_by_the_end() -> None:
    inflow = Inflow(1, None, READER)
    rung: list[str] = []
    inflow.bell = lambda: rung.append("items")
    inflow._settle(TOO_LATE, None)
    assert rung == []
    inflow._settle(ITEMS, None)
    assert rung == ["items"]
    inflow._settle(ITEMS, None)  # perhaps it was broken into the first time
    assert rung == ["items", "items"]
    inflow.bell = lambda: rung.append("end")
    inflow._settle(VALUE, None)
    assert rung == ["items", "items", "end"]


def test_what_was_dropped_takes_nothing_in() -> None:
    inflow = Inflow(4, None, READER)
    inflow.take(0, items("a", "b"))
    assert inflow.next() == (False, "a")
    inflow.drop()
    inflow.take(2, items("c"))
    assert drained(inflow) == []
    assert not inflow.is_ready()
