"""Notes: what a pool tells whoever records it, of what is rare. Data.

A pool writes them only while somebody wants them (``Ledger.notes`` is a list then); the ends of
works that end well, and what is sent, are seen in the frames themselves.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from aplex._pool.state import Death, PoolWorker


class Ended(NamedTuple):
    """A work is settled, and not by a result. One that goes on may be settled twice."""

    id: int
    lane: int
    kind: int  # of its report
    name: str
    error: BaseException | None  # None if it is still encoded


class Rerun(NamedTuple):
    """A work waits again: its worker was lost, or has given it back, or its outcome was judged."""

    id: int
    worker: int  # 0: it has ended there, and is retried for its outcome
    started: bool  # it had begun there, and this is a retry


class Spawned(NamedTuple):
    """A worker is to be started."""

    worker: PoolWorker


class Ready(NamedTuple):
    """A worker serves."""

    worker: PoolWorker


class Retiring(NamedTuple):
    """A worker gets no more works."""

    worker: PoolWorker


class Gone(NamedTuple):
    """A worker has ended."""

    worker: PoolWorker
    death: Death
    asked: bool  # it was asked to


class Resized(NamedTuple):
    """There are to be so many workers."""

    size: int


Note: TypeAlias = Ended | Rerun | Spawned | Ready | Retiring | Gone | Resized
