"""What a single work may ask for, beside its arguments. A leaf.

Every `Work` carries a `WorkOptions`; those of a pool are one object that all its usual
works share, so a work that asks for nothing pays for one attribute.
"""

from __future__ import annotations

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
        buffersize: How many items of a stream or a map, at most, are ahead of who reads them;
            None: 16, or what a map takes by itself.
        label: What messages call the work; None: the name of its callable.
    """

    load_balancing_meta: Any = None
    retries: int = 0
    quarantine_after: int = 3
    buffersize: int | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            TypeError: A count is no int.
            ValueError: A count is too small.
        """
        check_count("retries", self.retries, least=0)
        check_count("quarantine_after", self.quarantine_after)
        check_count("buffersize", self.buffersize)


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


DEFAULTS = WorkOptions()
"""Those of a work that asks for nothing."""
