"""Load balancers that look at workloads, or at nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from aplex._balancers.base import PUBLIC, LoadBalancer, Worker

TRIES: Final = 6
"""Workers that are drawn before it is looked which of them have room."""


class RoundRobin(LoadBalancer):
    """Takes the workers in turn, skipping those without room. The default."""

    __module__ = PUBLIC
    keeps_choice = False

    def __init__(
        self,
        workers: Sequence[Worker],
        workloads: Mapping[Worker, int],
        max_works_per_worker: int,
    ) -> None:
        """Begin with the first worker."""
        super().__init__(workers, workloads, max_works_per_worker)
        self._turn = iter(self._workers)

    def get_proper_worker(self, load_balancing_meta: Any = None) -> Worker:  # noqa: ARG002
        """Return the next worker with room."""
        has_room = self._has_room
        for worker in self._turn:  # goes on where the last choice was made
            if has_room(worker):
                return worker
        self._turn = iter(self._workers)
        for worker in self._turn:
            if has_room(worker):
                return worker
        raise LookupError("no worker is available")

    def _choose_many(self, count: int, open_: Sequence[Worker]) -> Sequence[Worker]:
        """Make so many choices at once.

        Args:
            count: Choices.
            open_: The workers with room, in any order; they have it for their share of the works.

        Returns:
            The workers with room, in the order in which they are chosen, again and again.
        """
        order = open_
        if len(open_) > 1:
            workers, rest = list(self._workers), list(self._turn)
            begun = len(workers) - len(rest)
            order = [worker for worker in rest + workers[:begun] if worker.available]
        last = order[(count - 1) % len(order)]
        self._turn = iter(self._workers)
        while next(self._turn) is not last:
            pass
        return order


class Random(LoadBalancer):
    """Takes any worker with room, each with the same probability."""

    __module__ = PUBLIC
    keeps_choice = False

    def get_proper_worker(self, load_balancing_meta: Any = None) -> Worker:  # noqa: ARG002
        """Return one of the workers with room."""
        from random import choice  # not with the module, which all workers import

        return choice(self.get_available_workers())


class Average(LoadBalancer):
    """Takes the worker with the fewest works in flight."""

    __module__ = PUBLIC
    keeps_choice = False

    def get_proper_worker(self, load_balancing_meta: Any = None) -> Worker:  # noqa: ARG002
        """Return the worker with room that has the smallest workload."""
        return min(self.get_available_workers(), key=self._load)


class PowerOfTwoChoices(LoadBalancer):
    """Takes two workers with room at random, and of these the one with fewer works in flight.

    Nearly as even as `Average`, and as cheap with a thousand workers as with two. After
    Mitzenmacher, The Power of Two Choices in Randomized Load Balancing (IEEE Transactions on
    Parallel and Distributed Systems, 2001).
    """

    __module__ = PUBLIC
    keeps_choice = False

    def get_proper_worker(self, load_balancing_meta: Any = None) -> Worker:  # noqa: ARG002
        """Return one of the workers with room."""
        from random import choice, sample

        workers, has_room = self._workers, self._has_room
        chosen: list[Worker] = []
        for _ in range(TRIES):
            worker = choice(workers)
            if has_room(worker) and worker not in chosen:
                chosen.append(worker)
                if len(chosen) > 1:
                    break
        else:  # few have room: look who they are
            available = self.get_available_workers()
            chosen = sample(available, min(2, len(available)))
        return min(chosen, key=self._load)
