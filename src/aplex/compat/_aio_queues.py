"""The queues of aiomultiprocess: which workers share the works of one. No queue is there.

Workers are assigned to queues in turn. A scheduler says which queue a work goes to, and only the
workers of that queue run it.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NewType

from aplex.load_balancers import LoadBalancer
from aplex.load_balancers import Worker as PoolWorker

QueueID = NewType("QueueID", int)
TaskID = NewType("TaskID", int)


class Scheduler(ABC):
    """Says which queue a work goes to."""

    @abstractmethod
    def register_queue(self, tx: Any) -> QueueID:
        """Learn of a queue, and return its id.

        Args:
            tx: A mark of it. (In aiomultiprocess, it was the queue.)
        """

    @abstractmethod
    def register_process(self, qid: QueueID) -> None:
        """Learn that one more worker serves a queue."""

    @abstractmethod
    def schedule_task(
        self,
        task_id: TaskID,
        func: Callable[..., Any],
        args: Sequence[Any],
        kwargs: dict[str, Any],
    ) -> QueueID:
        """Return the queue that a work goes to."""

    @abstractmethod
    def complete_task(self, task_id: TaskID) -> None:
        """Learn that a work is done."""


class RoundRobin(Scheduler):
    """Takes the queues in turn, each as often as it has workers."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers = itertools.count()
        self._shares: list[QueueID] = []
        self._turn = 0

    def register_queue(self, tx: Any) -> QueueID:  # noqa: ARG002
        """Return the next number."""
        return QueueID(next(self._numbers))

    def register_process(self, qid: QueueID) -> None:
        """Give a queue one more turn; begin with the first one again."""
        self._shares.append(qid)
        self._turn = 0

    def schedule_task(
        self,
        task_id: TaskID,  # noqa: ARG002
        func: Callable[..., Any],  # noqa: ARG002
        args: Sequence[Any],  # noqa: ARG002
        kwargs: dict[str, Any],  # noqa: ARG002
    ) -> QueueID:
        """Return the next queue."""
        chosen = self._shares[self._turn % len(self._shares)]
        self._turn += 1
        return chosen

    def complete_task(self, task_id: TaskID) -> None:
        """Do nothing."""


class ByQueue(LoadBalancer):
    """Chooses among the workers of a queue; if none of them has room, the work waits for one."""

    def __init__(
        self,
        count: int,
        workers: Sequence[PoolWorker],
        workloads: Mapping[PoolWorker, int],
        max_works_per_worker: int,
    ) -> None:
        """Keep how many queues there are."""
        super().__init__(workers, workloads, max_works_per_worker)
        self._count = count

    def get_proper_worker(self, load_balancing_meta: Any = None) -> PoolWorker:
        """Return the worker of a queue that has the least to do.

        Args:
            load_balancing_meta: Which one of the queues: its place among them.
        """
        queue = [
            worker
            for worker in self.workers
            if getattr(worker, "index", worker.id) % self._count == load_balancing_meta
        ]
        return min(queue, key=lambda worker: (not self.is_available(worker), worker.workload))
