"""Signal handlers and finalizers that use a pool, at random moments."""

from __future__ import annotations

from tests.support.reliability import run_short


def test_the_short_form() -> None:
    run_short("signals")
