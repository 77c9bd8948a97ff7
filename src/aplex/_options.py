"""What a single work may ask for, beside its arguments. A leaf.

Every `Work` carries a `WorkOptions`; those of a pool are one object that all its usual
works share, so a work that asks for nothing pays for one attribute.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Any

__all__ = ["WorkOptions"]


@dataclass(frozen=True, slots=True)
class WorkOptions:
    """The options of a work.

    Attributes:
        load_balancing_meta: Passed to the load balancer.
        retries: How many times the work runs again, at most, after its worker has died.
        quarantine_after: Deaths of workers after which it does not run again, whatever
            ``retries`` allows.
        max_concurrency: How many works of its key run at once, at most.
        rate: How many works of its key start in a second, at most.
        priority: The higher, the earlier it gets to a worker.
        key: What the limits are counted by; None: the callable.
        buffersize: How many items of a stream or a map, at most, are ahead of who reads them;
            None: 16, or what a map takes by itself.
        label: What messages call the work; None: the name of its callable.
        timeout: Seconds from the start of the work in its worker; None: no limit.
        deadline: Seconds from submit; None: no limit.
        grace: Seconds that a plain function has to end after it was interrupted. Infinite:
            its worker is never killed.
        interruptible: Whether a plain function that runs may be interrupted.
        bounded: Whether its ``submit`` waits for room, if the pool has ``max_pending``.
        apart: Whether it does not wait in the usual line.
    """

    load_balancing_meta: Any = None
    retries: int = 0
    quarantine_after: int = 3
    max_concurrency: int | None = None
    rate: float | None = None
    priority: int = 0
    key: Hashable = None
    buffersize: int | None = None
    label: str | None = None
    timeout: float | None = None
    deadline: float | None = None
    grace: float = 2.0
    interruptible: bool = True
    bounded: bool = True
    apart: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            TypeError: A value is of the wrong kind.
            ValueError: A value is too small.
        """
        check_count("retries", self.retries, least=0)
        check_count("quarantine_after", self.quarantine_after)
        check_count("buffersize", self.buffersize)
        check_count("max_concurrency", self.max_concurrency)
        check_rate("rate", self.rate)
        if not isinstance(self.priority, int):
            raise TypeError(f"priority must be an int, not {self.priority!r}")
        try:
            hash(self.key)
        except TypeError:
            raise TypeError(f"key must be hashable, {self.key!r} is not") from None
        check_limit("timeout", self.timeout)
        check_limit("deadline", self.deadline)
        check_seconds("grace", self.grace)
        if not isinstance(self.interruptible, bool):
            raise TypeError(f"interruptible must be a bool, not {self.interruptible!r}")
        # Noted once, not asked for each work: most have none of these.
        object.__setattr__(self, "apart", self.limited or self.priority != 0)

    def for_map_of(self, work: Hashable) -> WorkOptions:
        """Return the options of the works that a ``map`` is made of.

        A chunk counts as the work it is a chunk of. A map is bounded by itself.
        """
        key = work if self.limited and self.key is None else self.key
        return replace(self, key=key, bounded=False)

    @property
    def limited(self) -> bool:
        """Whether works of its key wait for each other."""
        return self.max_concurrency is not None or self.rate is not None


def check_count(name: str, value: int | None, *, least: int = 1) -> None:
    """Check an option that counts something; None means that it has a default.

    Raises:
        TypeError: It is no int.
        ValueError: It is too small.
    """
    if value is None:
        return
    if not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value!r}")


def check_seconds(name: str, value: float) -> None:
    """Check an option that is a number of seconds.

    Raises:
        TypeError: It is no number.
        ValueError: It is negative, or not a number at all.
    """
    if not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {value!r}")
    if not value >= 0:  # true of NaN, too
        raise ValueError(f"{name} must not be negative (seconds), got {value!r}")


def check_rate(name: str, value: float | None) -> None:
    """Check an option that is a number per second; None means that it has a default.

    Raises:
        TypeError: It is no number.
        ValueError: It is not positive, or not finite.
    """
    if value is None:
        return
    if not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number per second, not {value!r}")
    if not 0 < value < float("inf"):  # false of NaN, too
        raise ValueError(f"{name} must be positive and finite (per second), got {value!r}")


def check_limit(name: str, value: float | None) -> None:
    """Check an option that limits a time; None means no limit.

    Raises:
        TypeError: It is no number.
        ValueError: It is negative, infinite, or not a number at all.
    """
    if value is None:
        return
    check_seconds(name, value)
    if value == math.inf:
        raise ValueError(f"{name} must be finite (seconds); None means no limit")


DEFAULTS = WorkOptions()
"""Those of a work that asks for nothing."""
