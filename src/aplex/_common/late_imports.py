"""The lock of modules that are imported when they are first needed. A leaf.

A child that is forked while another thread imports a module would wait for the end of that
import for ever: the thread is not there. So each such import has the lock, and each fork.
"""

from __future__ import annotations

from typing import Any

from aplex._common.locks import RLock

importing: Any = RLock()


def renew() -> None:
    """In a forked child: the lock may be held by a thread that is not here."""
    global importing  # noqa: PLW0603
    importing = RLock()
