"""The line of progress on a terminal, and the last words. Logic only."""

from __future__ import annotations

import math


def status(done: int, failed: int, total: int | None, seconds: float) -> str:
    """Return what the line says.

    Args:
        done: Items that have ended.
        failed: Those of them that have failed.
        total: How many there will be; None: that is not known.
        seconds: Since the beginning.
    """
    parts = [f"{done}" if total is None else f"{done}/{total} ({_percent(done, total)} %)"]
    if failed:
        parts.append(f"{failed} failed")
    if seconds > 1 and done:
        parts.append(f"{done / seconds:.3g}/s")
        if total is not None and done < total:
            parts.append(f"{_clock((total - done) * seconds / done)} left")
    return "aplex: " + ", ".join(parts)


def summary(done: int, failed: int, skipped: int, journal: str | None) -> str:
    """Return the last line."""
    text = f"{done - failed} done"
    if failed:
        text += f", {failed} failed"
    if skipped:
        text += f", {skipped} done before"
    if failed and journal:
        text += f" (--resume-failed --joblog {journal} runs them again)"
    return text


def _percent(done: int, total: int) -> int:
    return 100 * done // total if total else 100


def _clock(seconds: float) -> str:
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
