"""What forks workers, as far as who starts them knows it: the template process.

There is one on Linux only (`_backends.process.template`): elsewhere a fork is not safe, as
libraries of the system have threads and locks of their own (macOS), or cannot be made (Windows).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, Final, Protocol

from aplex._backends.process.main_module import MainModule

if sys.platform == "linux":
    from aplex._backends.process.template import Template

AVAILABLE: Final = (
    sys.platform == "linux"
    and hasattr(os, "pidfd_open")
    and hasattr(os, "memfd_create")
    and not getattr(sys, "frozen", False)
)
"""Whether workers can be forked from a template here."""


class Forker(Protocol):
    """A process that forks workers."""

    def start(self) -> None:
        """Start the process, unless it is there. Returns at once; it imports meanwhile.

        Raises:
            OSError: There are too many open files, or processes.
        """

    def preload(self, module: str) -> None:
        """Have it import a module; not if it has all that it was to import, or cannot."""

    def process(self, **arguments: Any) -> Any:
        """Return a process of ``multiprocessing`` that is forked when it is started.

        Its ``start`` may raise what is in `_backends.process.forker_errors`.
        """

    @property
    def is_ready(self) -> bool:
        """Whether it has imported everything, and lives, as far as is known."""
        ...

    def kill(self) -> None:
        """Kill the process, which may hang in an import. Any thread."""

    def close(self) -> None:
        """End the process, if there is one. Nothing that it has forked is harmed."""

    def abandon(self) -> None:
        """In a forked child: close the copies of what belongs to the parent."""


def make_forker(name: str, main: MainModule, preload: Sequence[str]) -> Forker | None:
    """Return what forks workers; None where there can be none.

    Args:
        name: Of the pool.
        main: What becomes of the main module in workers.
        preload: Names of modules to import besides.
    """
    if sys.platform == "linux" and AVAILABLE:
        return Template(name, main, preload)
    return None
