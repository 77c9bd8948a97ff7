"""A load balancer that looks how long coroutines wait in the event loops of workers."""

from __future__ import annotations

from typing import Any, Final

from aplex._balancers.base import PUBLIC, LoadBalancer, Worker

EQUAL: Final = 0.005
"""Seconds: lags that differ by less are the same. Else all works of a moment would go to one."""


class LeastLag(LoadBalancer):
    """Takes the worker whose event loop is most prompt; of those alike, the one with least works.

    For coroutines that compute now and then: a worker in whose loop they hold each other up gets
    less of them. What counts as alike: lags in the same 5 ms.
    """

    __module__ = PUBLIC
    keeps_choice = False

    def get_proper_worker(self, load_balancing_meta: Any = None) -> Worker:  # noqa: ARG002
        """Return the worker with room that has the least lag."""
        return min(self.get_available_workers(), key=self._rank)

    def _rank(self, worker: Worker) -> tuple[int, int]:
        lag = getattr(worker, "loop_lag", 0.0)  # one that is of no pool may have none
        return int(lag / EQUAL), self._load(worker)
