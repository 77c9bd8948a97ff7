"""The log records that come of a case: whether any is missing, doubled or out of place."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Iterator
from typing import Any

from reliability.killing.faults import folder
from reliability.killing.works import LOG, RECORDS


class Kept(logging.Handler):
    """Keeps where each record is from, and what it says."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[int, int], list[int]] = {}  # by process and work

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        found: Any = record
        number, index, _ = found.args
        self._seen.setdefault((found.worker_pid, number), []).append(index)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Hear what works log."""
        LOG.addHandler(self)
        LOG.setLevel(logging.INFO)
        LOG.propagate = False
        try:
            yield
        finally:
            LOG.removeHandler(self)
            LOG.setLevel(logging.NOTSET)

    def judged(self, struck: int | None, stopped: Collection[int]) -> Iterator[str]:
        """Say what is wrong.

        Args:
            struck: The process that was hit, whose last records may be missing.
            stopped: The works that were cancelled, and perhaps interrupted before they had logged.
        """
        for pid, number in _runs():
            seen = self._seen.pop((pid, number), [])
            whole = pid != struck and number not in stopped
            if seen != list(range(RECORDS if whole else len(seen))):
                yield f"the records of work {number} in {pid} (hit: {struck}) are {seen}"
        for pid, number in self._seen:
            yield f"there are records of work {number} in {pid}, which did not run there"


def _runs() -> Iterator[tuple[int, int]]:
    """Return each run of a work: in which process, and which work."""
    with contextlib.suppress(FileNotFoundError):
        for line in (folder() / "runs").read_text(encoding="utf-8").splitlines():
            number, pid = line.split()
            yield int(pid), int(number)
