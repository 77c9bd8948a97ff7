"""The PoolWorker: what the Pool knows of one worker. A data structure; the `_pool.pool` decides."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any

from aplex._common.messages import Cancel, Credit
from aplex._pool.work import Work
from aplex._pool.workforce import WorkerState

if TYPE_CHECKING:
    from aplex._pool.pool import Pool


class PoolWorker:
    """What the Pool knows of one worker; load balancers see it as a `Worker`."""

    __slots__ = (
        "cancels",
        "credits",
        "depth",
        "doom",
        "failure",
        "id",
        "look_at",
        "outboxes",
        "pace",
        "pid",
        "pinned",
        "plain",
        "pool",
        "recalls",
        "room",
        "seqs",
        "served",
        "state",
        "suspect",
        "why_killed",
        "works",
        "worn",
    )

    def __init__(self, pool: Pool, number: int) -> None:
        self.pool = pool
        self.id = number
        self.pid: int | None = None
        self.state = WorkerState.STARTING
        self.works: dict[int, Work] = {}  # aboard
        self.plain = 0  # of them, plain functions
        self.depth = 1  # how many plain functions may be aboard
        self.pace = 0.0  # seconds per plain function, lately
        self.room = [False, False]  # for one more work, per lane
        self.served = False  # whether it has reported the end of a work
        self.failure: Any = None  # what it said before it ended without ever serving
        self.worn = False  # it has done its works, and serves only until another can
        self.suspect = 0  # id of the last suspect it was given
        self.doom: Work | None = None  # for whose sake it is to go
        self.why_killed: str | None = None  # if it was for that
        self.look_at = math.inf  # when to look at what it runs, see `_pool.escalation`
        self.seqs = [0, 0]  # works handed out so far, per lane
        self.outboxes: list[list[Work]] = [[], []]  # works to send, per lane
        self.cancels: list[Cancel] = []  # to be sent after them
        self.recalls: list[Cancel] = []  # plain functions wanted back
        self.credits: list[Credit] = []  # of streams aboard
        # Works that a load balancer insists on giving to this worker, per lane.
        self.pinned: tuple[deque[Work], deque[Work]] = (deque(), deque())

    @property
    def workload(self) -> int:
        """Works aboard."""
        return len(self.works)

    @property
    def works_done(self) -> int:
        """Works that have ended on it."""
        return self.seqs[0] + self.seqs[1] - len(self.works)

    @property
    def available(self) -> bool:
        """Whether it has room for the work that the load balancer is asked about."""
        return self.room[self.pool.asked_lane]

    def __repr__(self) -> str:
        return f"<worker {self.id} {self.state.value}, {len(self.works)} aboard>"
