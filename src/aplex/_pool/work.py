"""The Work: one submitted call, and where it is. A data structure; the `_pool.pool` decides."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Final

from aplex._common.names import described
from aplex._common.options import DEFAULTS

if TYPE_CHECKING:
    from aplex._pool.worker import PoolWorker


class WorkState(enum.Enum):
    """Where a work is."""

    WAITING = "waiting"
    ABOARD = "aboard"
    DONE = "done"


WAITING: Final = WorkState.WAITING  # the members of an enum are slow to look up
ABOARD: Final = WorkState.ABOARD
DONE: Final = WorkState.DONE


class Work:
    """One submitted call."""

    # Most works never need another value of these. (No slots: they would all have to be
    # set for each work, which costs more than it saves.)
    id = 0
    seq = 0  # number in its lane on its worker, from 1
    state = WAITING
    worker: PoolWorker | None = None
    manager: Any = None  # who is to be asked for a cancel; the pool does not look at it
    interrupted = False  # while the load balancer was asked
    recalled = 0  # the seq for which it was asked back
    cancel_wanted = False  # the future's own note
    cancel_asked = False
    cancel_delivered = False  # the coroutine has got it, and answers by its outcome
    limited = False  # a plain function with a time limit
    detached_at = 0.0  # seconds: when it was first seen to be a coroutine after all
    interrupted_at = 0.0  # seconds, of the clock of the events
    expelled_at = 0.0  # seconds: when its worker was, for its sake
    instead: BaseException | None = None  # what its future raises if it ends cancelled
    options = DEFAULTS
    apart = False  # it waits in the `Limits`
    is_stream = False  # it yields: its future is an `Inflow`
    yielded = False  # items of it have arrived: it cannot run again
    what: Any = None  # the callable, for messages that name it
    deaths: tuple[BaseException, ...] = ()  # of workers that ran it

    def __init__(self, lane: int, function: Any, call: Any, meta: Any, future: Any) -> None:
        self.lane = lane
        self.function = function
        self.call = call
        self.meta = meta
        self.future = future

    @property
    def is_waiting(self) -> bool:
        """Whether it is for a worker to come."""
        return self.state is WAITING

    @property
    def is_done(self) -> bool:
        """Whether it is settled."""
        return self.state is DONE

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.options.label or described(self.what)

    def __repr__(self) -> str:
        where = f" on {self.worker!r}" if self.worker else ""
        return f"<Work {self.id} {self.state.value}{where}>"
