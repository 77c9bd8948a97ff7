"""Logic: the constants of the messages, which other files rely on by their order."""

from __future__ import annotations

import pytest

from aplex._common import messages
from aplex._common.messages import (
    CANCELLED,
    DELIVERED,
    DETACHED,
    ERROR,
    FAILED,
    LANES,
    PICKLED,
    RAISED,
    READY,
    RETURNED,
    VALUE,
)


@pytest.mark.smoke
def test_the_kinds_of_reports_are_all_different() -> None:
    kinds = [VALUE, PICKLED, ERROR, RAISED, CANCELLED, DELIVERED, DETACHED, READY, FAILED, RETURNED]
    assert len(set(kinds)) == len(kinds)


def test_the_kinds_that_end_a_work_come_before_the_others() -> None:
    assert max(VALUE, PICKLED, ERROR, RAISED, CANCELLED) < DELIVERED
    assert min(DETACHED, READY, FAILED, RETURNED) > DELIVERED


def test_the_lanes_count_from_zero() -> None:
    """They are used as indices; and as the number of plain functions that a work counts for."""
    assert (messages.COROUTINE, messages.PLAIN) == LANES == (0, 1)
