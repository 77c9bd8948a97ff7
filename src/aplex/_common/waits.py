"""How long a selector waits at a time. A leaf.

Selectors and ``epoll`` take as many milliseconds as a C int can hold, and raise
``OverflowError`` beyond it. A user's number of seconds may be anything, infinite too.
"""

from __future__ import annotations

from typing import Final

LONGEST: Final = 3600.0
"""Seconds for which a selector waits at most. Who calls it looks at the time, and calls again."""


def of_selector(seconds: float) -> float:
    """Return for how long to let a selector wait."""
    return min(max(0.0, seconds), LONGEST)
