"""Programs end at random moments, with pools in all sorts of states."""

from __future__ import annotations

from tests.support.reliability import run_short


def test_the_short_form() -> None:
    run_short("exits")
