"""Workers are killed at random: no work is lost, or done twice."""

from __future__ import annotations

from tests.support.reliability import run_short


def test_the_short_form() -> None:
    run_short("chaos")
