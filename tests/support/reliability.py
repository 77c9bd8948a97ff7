"""Runs the short forms of the programs in `reliability/`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.support.programs import command

ROOT: Final = Path(__file__).parent.parent.parent
DEADLINE: Final = 55.0
"""Seconds after which it is hung; less than the time limit of a test."""


def run_short(name: str) -> None:
    """Run a program; all its bounds must be kept, and nothing must be left behind."""
    with command(["-m", f"reliability.{name}", "--short"], cwd=ROOT) as program:
        outcome = program.finish(DEADLINE)
    report = "\n".join(outcome.out) + outcome.err
    assert outcome.code == 0, report
    assert "Traceback" not in outcome.err, report  # the stacks of crashes that were wanted may be
    assert "Exception ignored" not in outcome.err, report
    assert outcome.temporary == [], report
