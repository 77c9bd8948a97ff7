"""What a single work may ask for, beside its arguments. A leaf.

Every `Work` carries a `WorkOptions`; those of a pool are one object that all its usual
works share, so a work that asks for nothing pays for one attribute.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Any, Final

__all__ = ["WorkOptions"]

MOST: Final = 2**63 - 1
"""What anything counts at most: an idiom for "no limit", as it is ``sys.maxsize``."""


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
        limit_key: What the limits are counted by; None: the callable.
        buffersize: How many items of a stream or a map, at most, are ahead of who reads them;
            None: 16, or what a map takes by itself.
        label: What messages call the work; None: the name of its callable.
        time_limit: Seconds from the start of the work in its worker; None: no limit. (Infinite
            ones become None.)
        deadline: Seconds from submit; None: no limit, likewise.
        kill_after: Seconds that a plain function has to end after it was interrupted. Infinite:
            its worker is never killed.
        idle_timeout: Seconds for which the reader of a stream waits for an item; None: no limit,
            likewise.
        interruptible: Whether a plain function that runs may be interrupted.
        items: How many items of a ``map`` it is, with regard to ``max_tasks_per_child``.
        bounded: Whether its ``submit`` waits for room, if the pool has ``max_pending``.
        apart: Whether it does not wait in the usual line.
    """

    load_balancing_meta: Any = None
    retries: int = 0
    quarantine_after: int = 3
    max_concurrency: int | None = None
    rate: float | None = None
    priority: int = 0
    limit_key: Hashable = None
    buffersize: int | None = None
    label: str | None = None
    time_limit: float | None = None
    deadline: float | None = None
    idle_timeout: float | None = None
    kill_after: float = 2.0
    interruptible: bool = True
    items: int = 1
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
        check_count("buffersize", self.buffersize, optional=True)
        check_count("max_concurrency", self.max_concurrency, optional=True)
        check_rate("rate", self.rate)
        if not _is_int(self.priority):
            raise TypeError(f"priority must be an int, not {self.priority!r}")
        try:
            hash(self.limit_key)
        except TypeError:
            raise TypeError(f"limit_key must be hashable, {self.limit_key!r} is not") from None
        if not isinstance(self.interruptible, bool):
            raise TypeError(f"interruptible must be a bool, not {self.interruptible!r}")
        note = object.__setattr__  # frozen
        note(self, "time_limit", as_limit("time_limit", self.time_limit))
        note(self, "deadline", as_limit("deadline", self.deadline))
        note(self, "idle_timeout", as_limit("idle_timeout", self.idle_timeout))
        note(self, "kill_after", as_seconds("kill_after", self.kill_after))
        # Noted once, not asked for each work: most have none of these.
        note(self, "apart", self.limited or self.priority != 0)

    def for_map_of(self, work: Hashable) -> WorkOptions:
        """Return the options of the works that a ``map`` is made of.

        A chunk counts as the work it is a chunk of. A map is bounded by itself.
        """
        key = work if self.limited and self.limit_key is None else self.limit_key
        return replace(self, limit_key=key, bounded=False)

    @property
    def limited(self) -> bool:
        """Whether works of its key wait for each other."""
        return self.max_concurrency is not None or self.rate is not None


def _is_int(value: object) -> bool:
    """Whether it is an int that was meant as one: True is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def check_count(name: str, value: int | None, *, least: int = 1, optional: bool = False) -> None:
    """Check an option that counts something.

    Args:
        name: Of the option.
        value: What was given.
        least: What is allowed.
        optional: Whether None is, too.

    Raises:
        TypeError: It is no int.
        ValueError: It is too small, or too big for a machine.
    """
    if value is None and optional:
        return
    if value is None or not _is_int(value):
        allowed = "an int or None" if optional else "an int"
        raise TypeError(f"{name} must be {allowed}, not {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {_short(value)}")
    if value > MOST:
        raise ValueError(f"{name} must be at most {MOST}, got {_short(value)}")


def as_seconds(name: str, value: float) -> float:
    """Return an option that is a number of seconds, checked. Infinite: there is no limit.

    Raises:
        TypeError: It is no number.
        ValueError: It is negative, or not a number at all.
    """
    return _seconds(name, value, "a number of seconds")


def as_limit(name: str, value: float | None, *, passed: bool = False) -> float | None:
    """Return an option that limits a time, checked; None, as if it were infinite: no limit.

    Args:
        name: Of the option.
        value: What was given.
        passed: Whether it may be negative: the time is over already.

    Raises:
        TypeError: It is no number.
        ValueError: It is negative, or not a number at all.
    """
    if value is None:
        return None
    seconds = _seconds(name, value, "a number of seconds or None", passed=passed)
    return None if seconds == math.inf else seconds


def _seconds(name: str, value: object, allowed: str, *, passed: bool = False) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be {allowed}, not {value!r}")
    try:
        seconds = float(value)
    except OverflowError:  # of an int that is as good as infinite
        seconds = math.inf if value > 0 else -math.inf
    if math.isnan(seconds) or (seconds < 0 and not passed):
        refused = "NaN" if passed else "negative or NaN"
        raise ValueError(f"{name} must not be {refused} (seconds), got {_short(value)}")
    return seconds


def _short(number: float) -> str:
    """Return a number for a message; Python refuses to write very long ones."""
    try:
        return repr(number)
    except ValueError:
        return f"an int of {number.bit_length()} bits" if isinstance(number, int) else "a number"


def check_rate(name: str, value: float | None) -> None:
    """Check an option that is a number per second; None means that it has a default.

    Raises:
        TypeError: It is no number.
        ValueError: It is not positive, or not finite.
    """
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number per second or None, not {value!r}")
    if not 0 < value < math.inf:  # false of NaN, too
        raise ValueError(f"{name} must be positive and finite (per second), got {_short(value)}")


DEFAULTS = WorkOptions()
"""Those of a work that asks for nothing."""
