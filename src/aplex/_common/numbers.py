"""Checks of options that are numbers. A leaf.

Each message names the option, says what was given and what is allowed. A bool is no int here.
"""

from __future__ import annotations

import math
from typing import Final

MOST: Final = 2**63 - 1
"""What anything counts at most: an idiom for "no limit", as it is ``sys.maxsize``."""


def is_int(value: object) -> bool:
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
    if value is None or not is_int(value):
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
