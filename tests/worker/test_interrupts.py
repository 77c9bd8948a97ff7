"""When functions are not interrupted, though they are to be."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from aplex._worker.signals import Interrupts, spare
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


def _spared(interrupts: Interrupts) -> None:
    interrupts._handle(0, sys._getframe())


def test_an_interrupt_in_code_that_is_spared_comes_right_after_it() -> None:
    """A function that logs all the time is hardly ever elsewhere when the signal comes."""
    lane: Any = SimpleNamespace(inside=SEQ, interrupted=0)
    interrupts = Interrupts(lane, SimpleNamespace(), lambda: None)  # type: ignore[arg-type]
    spare(_spared.__code__)
    interrupts.again()
    interrupts.ask(SEQ)
    interrupts.again()
    _spared(interrupts)
    with pytest.raises(WorkInterrupted):
        interrupts.again()
    assert lane.interrupted == SEQ
    interrupts.again()
