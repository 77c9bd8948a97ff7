"""Documents: the examples of how workers live run, and show what they say."""

from __future__ import annotations

import re

from tests.support.examples import ran


def printed_by(name: str) -> str:
    outcome = ran(name)
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout + outcome.stderr


def test_recycling() -> None:
    printed = printed_by("recycling")
    assert "25 works a worker: 100 works in" in printed
    assert ", 25 at most" in printed
    assert "each work alone: 20 works in 20 processes, 1 at most" in printed
    assert "at first: 1 of 4 workers" in printed
    assert "idle again: 1 of 4 workers" in printed


def test_a_watched_loop() -> None:
    printed = printed_by("watched_loop")
    assert "crawl (" in printed
    assert "blocks the event loop of worker 1 (slot 0, pid" in printed
    assert "time.sleep(1)" in printed
    assert "slots that answer now: {1}" in printed
    assert printed.count(": 1 worker") == 3


def test_context_and_logs() -> None:
    printed = printed_by("context_and_logs")
    assert "INFO work - in slot -: the service begins\n" in printed
    assert "the tenant is nobody again" in printed
    for name in ("Ann", "Ben", "Cho"):
        assert re.search(rf"^INFO work \d+ in slot [01]: a bill for {name}$", printed, re.MULTILINE)
    assert re.search(r"^ERROR work \d+ in slot [01]: Cho gets nothing$", printed, re.MULTILINE)
    assert "KeyError: 3" in printed
    assert "which nobody wants" not in printed
