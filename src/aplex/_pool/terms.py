"""The terms on which workers serve: when they are replaced, and how few there may be. Data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms on which the workers of one pool serve.

    Attributes:
        max_tasks: How many works a worker takes at most. None: any number.
        max_age: Seconds after which one that serves is replaced. None, infinite: never.
        max_memory: Bytes of memory at which one is replaced; the Manager looks. None: none.
        min_size: How many workers there are at least. None: as many as there may be.
        idle_timeout: Seconds after which workers end that were not needed.
    """

    max_tasks: int | None = None
    max_age: float | None = None
    max_memory: int | None = None
    min_size: int | None = None
    idle_timeout: float = 60.0

    @property
    def replaces(self) -> bool:
        """Whether workers are ever replaced that could go on."""
        return not (self.max_tasks is self.max_age is self.max_memory is None)


UNBOUND: Final = Terms()
"""Those of a pool whose workers stay. Such a pool has this very object: nothing looks inside."""


def terms_of(
    max_tasks: int | None = None,
    max_age: float | None = None,
    max_memory: int | None = None,
    min_size: int | None = None,
    idle_timeout: float = 60.0,
) -> Terms:
    """Return the terms; `UNBOUND` if they bind nobody."""
    if max_tasks is max_age is max_memory is min_size is None:
        return UNBOUND
    return Terms(max_tasks, max_age, max_memory, min_size, idle_timeout)
