"""A manager that sends each work when it is submitted: nothing gathers."""

from __future__ import annotations

import asyncio

from aplex._manager.manager import Manager
from aplex._pool.state import Work

Loop = asyncio.AbstractEventLoop


class PromptManager(Manager):
    """Takes works in, and sends each at once."""

    def submit(self, work: Work, loop: Loop | None = None) -> None:
        """Take a work in, and send it to its worker if there is room."""
        super().submit(work, loop)
        self._flush()
