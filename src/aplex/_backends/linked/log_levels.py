"""Hears when a level of a logger changes in this process.

``logging`` tells nobody, but has every such change (``setLevel``, ``disable``, a configuration)
clear a cache, by a method of the one manager of all loggers. That method is wrapped, in the manager
itself, once a pool wants to know. Where a Python has no such method, workers keep the levels that
they had at their start.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

_watches: set[LevelWatch] = set()


class LevelWatch:
    """Has a function called when a level has changed, until it is closed."""

    def __init__(self, changed: Callable[[], None]) -> None:
        """Begin.

        Args:
            changed: Is called in the thread that has changed one, and must not wait.
        """
        self.changed = changed
        _watches.add(self)
        _wrap(logging.root.manager)

    def close(self) -> None:
        """End."""
        _watches.discard(self)


def _wrap(manager: Any) -> None:
    clear = getattr(manager, "_clear_cache", None)
    if clear is None or hasattr(clear, "is_of_aplex"):
        return

    def clear_and_tell() -> None:
        clear()
        for watch in tuple(_watches):
            watch.changed()

    clear_and_tell.is_of_aplex = True  # type: ignore[attr-defined]
    manager._clear_cache = clear_and_tell  # noqa: SLF001 - the only place that hears of it
