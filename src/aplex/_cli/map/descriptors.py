"""Keeps the descriptors of input and output for the run alone. IO only.

What functions print goes to standard error: standard output is for results. What they read comes
from /dev/null: a program that a function starts would read items, else.
"""

from __future__ import annotations

import os
import sys
from typing import NamedTuple


class Streams(NamedTuple):
    """Descriptors that nobody else has; None: it was closed."""

    input: int | None
    output: int | None
    errors: int


def take_streams() -> Streams:
    """Take the input and the output away from everybody else."""
    given = [_own(number) for number in range(3)]
    sink = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        if given[number] is None and number != sink:
            os.dup2(sink, number)  # else a pipe of ours would get that number
    os.dup2(sink, 0)
    os.dup2(2, 1)
    if sink > 2:  # noqa: PLR2004
        os.close(sink)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - until the end
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    return Streams(given[0], given[1], 2)


def _own(number: int) -> int | None:
    """Return a copy of a descriptor, above the three; None if it is closed."""
    try:
        if sys.platform == "win32":
            return os.dup(number)
        import fcntl

        return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3)
    except OSError:
        return None
