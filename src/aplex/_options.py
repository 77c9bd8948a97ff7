"""What a single work may ask for, beside its arguments. A leaf.

Every `Work` carries a `WorkOptions`; those of a pool are one object that all its usual
works share, so a work that asks for nothing pays for one attribute.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
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
        label: What messages call the work; None: the name of its callable.
        timeout: Seconds from the start of the work in its worker; None: no limit.
        deadline: Seconds from submit; None: no limit.
        grace: Seconds that a plain function has to end after it was interrupted. Infinite:
            its worker is never killed.
        interruptible: Whether a plain function that runs may be interrupted.
    """

    load_balancing_meta: Any = None
    retries: int = 0
    quarantine_after: int = 3
    label: str | None = None
    timeout: float | None = None
    deadline: float | None = None
    grace: float = 2.0
    interruptible: bool = True

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            TypeError: A count is no int, a time no number, or ``interruptible`` no bool.
            ValueError: A count or a time is too small, or a limit infinite.
        """
        check_count("retries", self.retries, least=0)
        check_count("quarantine_after", self.quarantine_after)
        check_limit("timeout", self.timeout)
        check_limit("deadline", self.deadline)
        check_seconds("grace", self.grace)
        if not isinstance(self.interruptible, bool):
            raise TypeError(f"interruptible must be a bool, not {self.interruptible!r}")


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
