"""The records of the pool: works, workers, their states, and deaths. Data that decides nothing.

The Pool changes them, under the Manager's lock. Other rooms read them.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from aplex._common.messages import COROUTINE
from aplex._common.names import described
from aplex._common.options import DEFAULTS
from aplex._common.requests import Cancel, Credit


class WorkState(enum.Enum):
    """Where a work is."""

    WAITING = "waiting"
    IN_FLIGHT = "in flight"
    DONE = "done"


WAITING: Final = WorkState.WAITING  # the members of an enum are slow to look up
IN_FLIGHT: Final = WorkState.IN_FLIGHT
DONE: Final = WorkState.DONE


class WorkerState(enum.Enum):
    """Where a worker is in its life."""

    STARTING = "starting"
    STANDBY = "standby"
    SERVING = "serving"
    RETIRING = "retiring"
    STOPPING = "stopping"
    GONE = "gone"


STAYING: Final = (WorkerState.STARTING, WorkerState.STANDBY, WorkerState.SERVING)
"""States of a worker that works may wait for."""


class Work:
    """One submitted call, and where it is."""

    # Most works never need another value of these. (No slots: all of them would have to be
    # set for each work, which costs more than it saves.)
    id = 0
    seq = 0  # number in its lane on its worker, from 1
    state = WAITING
    worker: PoolWorker | None = None
    manager: Any = None  # whoever cancels it asks this; the pool does not look at it
    interrupted = False  # an exception broke into the load balancer while it was asked for this
    recalled = 0  # the seq for which it was recalled
    cancel_wanted = False  # the future's own note
    cancel_asked = False
    cancel_delivered = False  # the coroutine got it, and answers by its outcome
    submitted = 0  # nanoseconds; only where a back end sets it
    limited = False  # a plain function with a timeout
    detached_at = 0.0  # seconds: when it was first seen to be a coroutine after all
    interrupted_at = 0.0  # seconds, by the clock of the events
    failed_early = False  # its future has failed, and it goes on
    condemned_at = 0.0  # seconds: when its worker was condemned because of it
    error_if_cancelled: BaseException | None = None  # what its future raises if it ends cancelled
    options = DEFAULTS
    apart = False  # it waits in the `Limits`
    is_stream = False  # it yields: its future is an `Inflow`
    yielded = False  # items of it have arrived: it cannot run again
    target: Any = None  # the callable, for messages that name it
    deaths: tuple[BaseException, ...] = ()  # of workers that ran it
    retried = 0  # how often it was to run again
    judge: Any = None  # looks at its outcome before its future gets it; see `_pool.trials`
    on_trial = False  # its outcome is looked at, or it waits for its next attempt
    epoch = 0  # of its key's `Adaptation`, when it began
    awaits: Any = ()  # what it has waited for, a dictionary then; see ``_pool.nesting``

    def __init__(self, lane: int, function: Any, call: Any, meta: Any, future: Any) -> None:
        self.lane = lane
        self.function = function
        self.call = call
        self.meta = meta
        self.future = future

    def awaited(self) -> Work:
        """Return the work that a wait for its future waits for."""
        return self

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for a worker."""
        return self.state is WAITING

    @property
    def is_done(self) -> bool:
        """Whether it is settled."""
        return self.state is DONE

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.options.label or described(self.target)

    def __repr__(self) -> str:
        where = f" on {self.worker!r}" if self.worker else ""
        return f"<Work {self.id} {self.state.value}{where}>"


class Question:
    """What the load balancer of one pool is being asked.

    A pool and its workers share one. So a worker knows for which lane it has to be available,
    and a pool recognizes its own workers, without a worker knowing its pool.
    """

    __slots__ = ("lane", "turns_of")

    def __init__(self) -> None:
        self.lane = COROUTINE  # of the work to find a worker for
        # How long turns of a worker's loop take, see `Backend.turns`.
        self.turns_of: Callable[[PoolWorker], tuple[float, float]] = _no_turns


class PoolWorker:
    """What the Pool knows of one worker; load balancers see it as a `Worker`."""

    __slots__ = (
        "born",
        "cancels",
        "condemned_for",
        "credits",
        "depth",
        "elders",
        "failure",
        "given_back",
        "heir",
        "heir_paused",
        "id",
        "index",
        "items_beside",
        "limit",
        "look_at",
        "mark",
        "node",
        "outboxes",
        "pace",
        "pid",
        "pinned",
        "placed",
        "plain",
        "question",
        "recalls",
        "room",
        "seqs",
        "served",
        "state",
        "suspect",
        "way",
        "weighed_at",
        "why_killed",
        "works",
        "worn",
    )

    def __init__(self, question: Question, number: int, index: int = 0) -> None:
        self.question = question
        self.id = number
        self.index = index  # its place in the pool: that of the worker it replaces
        self.born = 0.0  # seconds: when its start was begun
        self.pid: int | None = None
        self.node: str | None = None  # the machine, if it is another one
        self.way: str | None = None  # who has made the connections to that
        self.state = WorkerState.STARTING
        self.works: dict[int, Work] = {}  # in flight, by their ids
        self.plain = 0  # how many of them are plain functions
        self.depth = 1  # how many plain functions may be in flight
        self.pace = 0.0  # seconds per plain function, lately
        self.room = [False, False]  # whether there is room for one more work, per lane
        self.served = False  # whether it has reported the end of a work
        self.failure: Any = None  # what it said before it ended without ever serving
        self.limit = 0  # works it may have in flight, as of the last look
        self.worn = False  # it serves only until its heir can
        self.heir: PoolWorker | None = None  # what takes its place, or has taken it
        self.placed = False  # whether it has what it may have had to wait for: its place
        self.heir_paused = False  # the last heir has failed: the next one is to wait
        self.elders: list[PoolWorker] = []  # those before it in its place that still have works
        self.given_back = 0  # works that it was handed and that it has not started
        self.items_beside = 0  # items in its chunks, beside the one that each work counts as
        self.mark: tuple[float, int] = (
            0.0,
            0,
        )  # when its rate was looked at last, and how many it had taken then
        self.weighed_at = 0.0  # seconds: when its memory was looked at last
        self.suspect = 0  # id of the last suspect it was given
        self.condemned_for: Work | None = None  # the stuck function because of which it retires
        self.why_killed: str | None = None  # if it was killed because of that
        self.look_at = math.inf  # when to look at what it runs, see `_pool.escalation`
        self.seqs = [0, 0]  # works handed out so far, per lane
        self.outboxes: list[list[Work]] = [[], []]  # works to send, per lane
        self.cancels: list[Cancel] = []  # to be sent after them
        self.recalls: list[Cancel] = []  # plain functions it is to give back
        self.credits: list[Credit] = []  # of streams in flight
        # Works that the load balancer insists on giving to this worker, per lane.
        self.pinned: tuple[deque[Work], deque[Work]] = (deque(), deque())

    @property
    def workload(self) -> int:
        """Works in flight."""
        return len(self.works)

    @property
    def works_done(self) -> int:
        """Works that have ended on it."""
        return self.seqs[0] + self.seqs[1] - self.given_back - len(self.works)

    @property
    def taken(self) -> int:
        """Works that were handed to it, and not given back. An item of a chunk counts as one."""
        return self.seqs[0] + self.seqs[1] - self.given_back + self.items_beside

    @property
    def loop_lag(self) -> float:
        """How long coroutines wait for their turn in its event loop, in seconds, lately."""
        return max(self.question.turns_of(self))

    @property
    def available(self) -> bool:
        """Whether it has room for the work that the load balancer is asked about."""
        return self.room[self.question.lane]

    def __repr__(self) -> str:
        return f"<worker {self.id} {self.state.value}, {len(self.works)} in flight>"


def _no_turns(_worker: PoolWorker) -> tuple[float, float]:
    """Stand for a back end that does not know."""
    return 0.0, 0.0


@dataclass(frozen=True, slots=True)
class Death:
    """The end of a worker."""

    started: tuple[int, int]  # how many works it had started, per lane
    error: BaseException | None  # what to tell the works it had started
    reason: BaseException | None  # why it never served, if that is known
    uptime: float | None = None  # seconds it lived; None: unknown
    blameless: bool = False  # the cluster is away: no start has failed, whatever it had done
