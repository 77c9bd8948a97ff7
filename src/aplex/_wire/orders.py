"""What a pool and the agent of a remote worker tell each other, over the control connection.

Down, after a first frame that says how to begin (`Welcome`), go numbers of 8 bytes, as over the
lifeline of a process (`_worker.lifeline`): what is not for the agent, it passes on to its worker.
The control connection *is* the lifeline: its end means that the pool is gone, or does not want
the worker any more.

Up go frames, each a tuple that begins with one of the words below. Times are those of the agent's
monotonic clock; it says with each how late it is there.
"""

from __future__ import annotations

import struct
from typing import Any, Final, NamedTuple, TypedDict

from aplex._wire.lent_files import Told

AGENT: Final = 1 << 62
"""In a number that is for the agent."""
_KIND: Final = 56
KILL: Final = AGENT | 1 << _KIND
"""Kill the worker."""
DOOM: Final = AGENT | 2 << _KIND
"""With the number of a plain function: kill the worker if that is what runs; answer `DOOMED`."""
BEAT: Final = AGENT | 3 << _KIND
"""Answer with a `COUNTED`."""
PAGE: Final = AGENT | 4 << _KIND
"""Answer with a `COUNTED` that has the page, too."""
RECORD: Final = AGENT | 5 << _KIND
"""With a level: have the worker note when works begin and end."""
_VALUE: Final = (1 << _KIND) - 1
NUMBER: Final = struct.Struct("<Q")

COUNTED: Final = 1
"""The time, the counters of the worker, its resident memory (0: not known), its page, or None."""
DOOMED: Final = 2
"""The number of a function, and whether the worker was killed for it."""
ENDED: Final = 3
"""The worker has ended: a `Certificate`."""
LEAVING: Final = 4
"""The machine wants the worker to go: in so many seconds, or 0.0 if that is not known."""
SETTLED: Final = 5
"""The first frame: an `Arrival`."""
BEREFT: Final = 6
"""What had started the agent is gone: the worker is killed for that."""
SET_UP: Final = 7
"""Whether the worker maps the pool's memory; where its machine has shared objects, and the modules;
and whether it needs these sent: they come in one more frame then."""


class Welcome(TypedDict):
    """How a worker is to begin."""

    pool: str
    index: int
    logs: bool  # whether the worker is to open a channel for log records
    slow_callback: float | None  # seconds
    recording: int
    setup: list[bytes]  # the parts of a `PackedSetup`
    modules: bytes | None  # a zip of what the program is made of
    modules_at: list[Told]  # where other workers of the machine have it
    path: list[str]  # of modules, on the pool's machine
    memory: list[Told]  # files for calls and for results, if that is this very machine
    common: list[Told]  # where other workers of the machine have the file of shared objects


class Arrival(NamedTuple):
    """Who has come."""

    host: str
    pid: int  # of the agent
    boot: str  # which run of which machine it is: where it is the pool's, clocks are the same
    now: int  # nanoseconds of its monotonic clock


class Certificate(NamedTuple):
    """How a worker has ended."""

    exitcode: int | None
    counters: bytes
    page: bytes
    words: bytes  # its last words
    left: bytes  # log records that it has left behind
    peak_rss: int | None  # bytes
    out_of_memory: bool | None


def value_of(number: int) -> int:
    """Return the number that goes with an order."""
    return number & _VALUE


def kind_of(number: int) -> int:
    """Return the order itself."""
    return number & ~_VALUE


def is_for_agent(number: int) -> bool:
    """Whether a number that came down is not for the worker."""
    return number >> 62 == 1


def boot_of_this_machine() -> str:
    """Return which run of which machine this is; empty if that is not known."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123
            return file.read().strip()
    except OSError:
        return ""


def plain(record: Any) -> tuple[Any, ...]:
    """Return a named tuple as ``marshal`` knows it."""
    return tuple(record)
