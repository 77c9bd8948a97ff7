"""How long threads wait at a time: what locks, selectors and ``epoll`` can take. A leaf.

Each of them has a bound, far away from what anybody waits for, and raises ``OverflowError``
beyond it: ``threading.TIMEOUT_MAX``, or as many milliseconds as a C int can hold. A user's
number of seconds may be anything, infinite too.
"""

from __future__ import annotations

import threading
from typing import Final

LONGEST: Final = 3600.0
"""Seconds for which a selector waits at most. Who calls it looks at the time, and calls again."""


def of_selector(seconds: float) -> float:
    """Return for how long to let a selector wait."""
    return min(max(0.0, seconds), LONGEST)


def of_lock(seconds: float | None) -> float | None:
    """Return for how long to let a lock or a condition wait; None: for ever."""
    return None if seconds is None or seconds >= threading.TIMEOUT_MAX else seconds
