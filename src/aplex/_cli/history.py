"""What a viewer knows besides the last moment: rates, and how they went. Logic only."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from aplex._cli.pools import SeenPool, SeenWorker

KEPT: Final = 60
"""Rates that are kept, for the line that shows how they went."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Of a moment: works that ended a second, and the same of each worker, with its processor.

    Attributes:
        pool: Works that ended, a second; None at the first look.
        begun: Works that began, a second, by the number of the worker.
        cpu: Processors it used, by the same: 1.0 is one of them.
    """

    pool: float | None
    begun: dict[int, float]
    cpu: dict[int, float]


class History:
    """Of one pool."""

    def __init__(self, ticks: int) -> None:
        """Know nothing yet.

        Args:
            ticks: Clock ticks a second, of `SeenWorker.ticks`.
        """
        self._ticks = ticks
        self._last: tuple[float, SeenPool] | None = None
        self.rates: deque[float] = deque(maxlen=KEPT)

    def take(self, now: float, pool: SeenPool) -> Rates:
        """Take in what there is at a time, in seconds; return the rates since the last one."""
        last, self._last = self._last, (now, pool)
        if last is None or now <= last[0]:
            return Rates(None, {}, {})
        seconds = now - last[0]
        before = {worker.id: worker for worker in last[1].workers}
        rate = max(0.0, (pool.finished - last[1].finished) / seconds)
        self.rates.append(rate)
        pairs = [(worker, before.get(worker.id)) for worker in pool.workers]
        return Rates(
            rate,
            {new.id: _begun(old, new) / seconds for new, old in pairs if old is not None},
            {new.id: _cpu(old, new) / self._ticks / seconds for new, old in pairs if old},
        )


def _begun(old: SeenWorker, new: SeenWorker) -> int:
    return max(0, new.begun - old.begun)


def _cpu(old: SeenWorker, new: SeenWorker) -> int:
    if old.ticks is None or new.ticks is None or old.pid != new.pid:
        return 0
    return max(0, new.ticks - old.ticks)
