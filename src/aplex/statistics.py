"""What ``pool.stats()`` returns: frozen records of one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

from aplex._common.histograms import Summary, Timings

__all__ = [
    "FunctionStats",
    "LimitStats",
    "Percentiles",
    "PoolStats",
    "RunningFunction",
    "WorkerStats",
]


@dataclass(frozen=True, slots=True)
class Percentiles:
    """How long works took, in seconds, right to 3 % (and to a microsecond).

    They are those of a log-linear histogram, as HdrHistogram has them, from the first work on.

    Attributes:
        count: Of how many works. Where short works come fast, one is measured and stands for up to
            16 that came before it, so the last 15 may be missing for a while.
        mean: The average.
        p50: The median: half of them took no longer.
        p90: Nine in ten took no longer.
        p99: 99 in 100 took no longer.
        max: The longest.
    """

    count: int
    mean: float
    p50: float
    p90: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class FunctionStats:
    """The works of one function.

    Attributes:
        name: Its qualified name with its module.
        waiting_time: From the submit until it began in a worker; None if that is not known.
        running_time: From then to its end; of a coroutine with the time in which it waited. None
            if none has ended.
    """

    name: str
    waiting_time: Percentiles | None
    running_time: Percentiles | None


def _percentiles(told: Summary | None) -> Percentiles | None:
    return None if told is None else Percentiles(*told)


_NONE: Final = Timings()


@dataclass(frozen=True, slots=True)
class RunningFunction:
    """The plain function that runs in a worker.

    Attributes:
        id: The number of the work, that of ``future.id``.
        name: Its qualified name with its module; of a chunk of a ``map``, that of the user's
            function.
        since: When it began, in seconds on the clock of ``time.monotonic``.
        seconds: For how long it has run.
    """

    id: int
    name: str
    since: float
    seconds: float


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """One worker.

    Attributes:
        slot: The place that this worker and its successors hold, from 0. While a worker is
            replaced in order, two of them may show the same one.
        id: Its number, unique in the pool (`Worker.id` of load balancers).
        pid: Its process; None of a worker of threads, and until it is ready.
        state: ``"starting"``, ``"standby"`` (will take the place of one that is about to be
            replaced), ``"serving"``, ``"retiring"`` (finishes what it has), ``"stopping"`` or
            ``"gone"``.
        in_flight: Works it has: those that run, and those that were sent ahead.
        coroutines: How many of these are coroutines.
        running: The plain function that runs, if one does. Known without the worker's help.
        done: Works that have ended on it, in whatever way.
        uptime: Seconds since its start was begun.
        rss: Bytes of memory that its process holds (resident set, with what it shares); None
            of a worker of threads, and where there is no ``/proc``.
        loop_lag: Seconds that a coroutine waits for its turn in the worker's event loop: how
            long turns took lately, or if one takes longer just now, for how long it has. Known
            without the worker's help.
        node: The machine on which a remote worker runs; None: this one.
        connect: How that is connected: ``"worker"`` (it has dialled this program), ``"caller"``
            (this program has dialled it) or ``"relay"`` (through the calls of the cluster). None:
            it is on this machine.
    """

    slot: int
    id: int
    pid: int | None
    state: Literal["starting", "standby", "serving", "retiring", "stopping", "gone"]
    in_flight: int
    coroutines: int
    running: RunningFunction | None
    done: int
    uptime: float
    rss: int | None
    loop_lag: float
    node: str | None = None
    connect: str | None = None


@dataclass(frozen=True, slots=True)
class LimitStats:
    """A bound that follows what a server bears: ``max_concurrency="auto"``.

    Attributes:
        key: What the works are counted by, as text: the ``limit_key``, or the callable's name.
        limit: The bound now, in works.
        running: Works of the key that hold a place.
        refused: Works that were told to slow down, ever.
        paused: Seconds for which no work of the key starts, as one was told so.
    """

    key: str
    limit: int
    running: int
    refused: int
    paused: float


@dataclass(frozen=True, slots=True)
class PoolStats:
    """A pool. Counts are of works, from the first submit on; a chunk of a ``map`` is one work.

    Attributes:
        state: ``"new"`` (nothing was submitted), ``"open"``, ``"closing"`` (takes nothing new),
            ``"closed"`` or ``"broken"``.
        size: How many workers there are to be.
        waiting: Works that wait for a worker, or for their turn.
        in_flight: Works that workers have. One whose future has failed early, as it does not
            end when its time is over, is still there.
        done: Works that have ended well.
        failed: Works that have raised, or could not be run, or were out of time.
        cancelled: Works that have ended cancelled.
        retried: How often a work was run again, as its worker had died.
        restarts: How often a worker was started in the place of one that had died.
        limits: The bounds that follow what servers bear, one for each key.
        workers: Those that are there, also those that start and those that leave.
        timings: What `waiting_time`, `running_time` and `by_name` are made of.
        cluster_away: Why no workers can be started now: their cluster cannot be reached, as its
            scheduler or head is gone. Works wait until it is back, their deadlines apply, and
            workers that are left go on. None: it is there, or there is none.
    """

    state: Literal["new", "open", "closing", "closed", "broken"]
    size: int
    waiting: int
    in_flight: int
    done: int
    failed: int
    cancelled: int
    retried: int
    restarts: int
    workers: tuple[WorkerStats, ...]
    limits: tuple[LimitStats, ...] = ()
    timings: Timings = field(default=_NONE, repr=False, compare=False)
    cluster_away: str | None = None

    @property
    def waiting_time(self) -> Percentiles | None:
        """From the submit of a work until it began in a worker; None if none has yet."""
        return _percentiles(self.timings.all()[0])

    @property
    def running_time(self) -> Percentiles | None:
        """From the begin of a work to its end, waiting included; None if none has ended yet."""
        return _percentiles(self.timings.all()[1])

    @property
    def by_name(self) -> Mapping[str, FunctionStats]:
        """The same of each function, by its qualified name with its module.

        Where works of several functions come mixed and fast, their counts are estimates. Those of
        a chunk of a ``map`` are the times of the chunk. At most 63 functions of a worker are told
        apart; others are ``"(other functions)"``.
        """
        of, names = self.timings.of, self.timings.sums
        return MappingProxyType(
            {name: FunctionStats(name, *map(_percentiles, of(name))) for name in names}
        )

    @property
    def submitted(self) -> int:
        """Works that were ever submitted."""
        return self.pending + self.finished

    @property
    def pending(self) -> int:
        """Works that have not ended."""
        return self.waiting + self.in_flight

    @property
    def finished(self) -> int:
        """Works that have ended, in whatever way."""
        return self.done + self.failed + self.cancelled
