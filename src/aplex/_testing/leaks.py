"""Finds the pools, workers and works that a piece of code has left behind."""

from __future__ import annotations

import concurrent.futures
import contextlib
import gc
import weakref
from typing import TYPE_CHECKING, Final, cast

from aplex._manager import exit_hooks

if TYPE_CHECKING:
    from aplex._manager.manager import Manager

GRACE: Final = 10.0
"""Seconds that a pool which was told to end may take for it."""


class Watch:
    """Remembers which pools there are, to tell later what has come and stayed."""

    def __init__(self) -> None:
        """Look at the pools of this process now."""
        self._pending = weakref.WeakKeyDictionary(
            {manager: manager.stats().pending for manager in _managers()}
        )

    def leaks(self) -> list[str]:
        """End what was left behind since; return a line on each piece.

        Pools that have been told to end, or are garbage, have `GRACE` seconds to be gone. One
        that was there before is left alone; works that were left in it are told.
        """
        gc.collect()  # what only a cycle keeps is no leak
        lines = [self._left_in(manager) for manager in _managers()]
        return sorted(filter(None, lines))

    def _left_in(self, manager: Manager) -> str:
        before = self._pending.get(manager)
        stats = manager.stats()
        if before is not None:
            left = max(0, stats.pending - before)
            return f"{manager.name}: {_counted(left, 'unresolved work')}" if left else ""
        if stats.state == "new":
            return ""  # it has started nothing
        if _ends(manager):
            with contextlib.suppress(concurrent.futures.TimeoutError):
                manager.gone.result(GRACE)
                return ""
        stats = manager.stats()
        manager.end_workers(kill=True)
        parts = (_counted(len(stats.workers), "worker"), _counted(stats.pending, "unresolved work"))
        what = "does not end" if stats.state == "closing" else "was not shut down"
        return f"{manager.name} {what}: {', '.join(parts)}"


def _managers() -> list[Manager]:
    return cast("list[Manager]", exit_hooks.remembered())


def _ends(manager: Manager) -> bool:
    """Whether a pool was told to end, or its executor is garbage, which does so."""
    return manager.is_shut or manager.before_exit() is None


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
