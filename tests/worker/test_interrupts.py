"""When functions are not interrupted, though they are to be."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from aplex._worker.signals import Interrupts
from aplex.exceptions import WorkInterrupted

SEQ = 3


def test_an_interrupt_in_the_hook_that_asks_for_it_again_waits() -> None:
    """The watcher may send the next signal before the hook has returned: it would be lost."""
    lane: Any = SimpleNamespace(inside=SEQ, interrupted=SEQ)
    interrupts = Interrupts(
        lane,
        SimpleNamespace(),
        lambda: interrupts._handle(0, sys._getframe()),  # type: ignore[arg-type]
    )
    unraisable = SimpleNamespace(exc_value=WorkInterrupted("in a finalizer"))
    interrupts._swallowed(unraisable)
    with pytest.raises(WorkInterrupted):
        interrupts._handle(0, sys._getframe())
