"""The Answers: what the agents of workers have told, for threads that wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aplex._backends.remote.link import RemoteLink

LOOK: Final = 0.25
"""Seconds for which agents are waited for, at most: the last that is known does else."""


class Answers:
    """Lets threads wait until agents have told what they were asked."""

    def __init__(self) -> None:
        """Have none yet."""
        self._came = threading.Condition()  # its lock can be entered again

    def have_come(self) -> None:
        """Have those who wait look whether it is what they wait for."""
        with self._came:
            self._came.notify_all()

    def wait(
        self, links: Iterable[RemoteLink], order: int, locked: Callable[[Callable[[], None]], None]
    ) -> None:
        """Have agents tell, and wait for that, for `LOOK` seconds at most.

        Args:
            links: To their workers.
            order: What they are asked.
            locked: Makes a call under the lock of the pool.
        """
        numbers: dict[RemoteLink, int] = {}
        locked(lambda: numbers.update((link, link.ask(order)) for link in links))

        def have_told() -> bool:
            return all(link.has_told(number) for link, number in numbers.items())

        with self._came:
            self._came.wait_for(have_told, LOOK)
