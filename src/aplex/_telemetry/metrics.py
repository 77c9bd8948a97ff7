"""The collector: metrics of Prometheus, made of ``pool.stats()`` when they are scraped."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from aplex._common.histograms import BYTES, added, octaves
from aplex.statistics import PoolStats

if TYPE_CHECKING:
    from aplex.executors import AsyncPoolExecutor

STATES: Final = ("starting", "standby", "serving", "retiring", "stopping")
OTHERS: Final = "(others)"
"""Value of the label ``function`` for those that are not allowed to be named."""


class PoolCollector(Collector):
    """A collector of Prometheus for some pools, which it does not keep alive."""

    def __init__(
        self, pools: Iterable[AsyncPoolExecutor[Any]], functions: Collection[str] | None
    ) -> None:
        """Use `aplex.telemetry.prometheus`."""
        self._functions = None if functions is None else frozenset(functions)
        self._pools: list[tuple[str, Callable[[], AsyncPoolExecutor[Any] | None]]] = []
        for pool in pools:
            self.add(pool)

    def add(self, pool: AsyncPoolExecutor[Any]) -> None:
        """Tell of one more pool."""
        name = pool._gateway.manager.name  # noqa: SLF001 - private to the package
        self._pools.append((name, weakref.ref(pool)))

    def describe(self) -> Iterable[Metric]:
        """Return the metrics without values, so that a registry refuses a second collector."""
        return self._families(())

    def collect(self) -> Iterable[Metric]:
        """Return the metrics as they are now."""
        pools = [(name, pool()) for name, pool in list(self._pools)]
        self._pools = [each for each in self._pools if each[1]() is not None]
        return self._families([(name, pool.stats()) for name, pool in pools if pool is not None])

    def _families(self, told: Collection[tuple[str, PoolStats]]) -> Iterator[Metric]:
        works = CounterMetricFamily(
            "aplex_works", "Works that have ended, by how.", labels=("pool", "outcome")
        )
        pending = GaugeMetricFamily(
            "aplex_works_pending", "Works that have not ended.", labels=("pool", "state")
        )
        retries = CounterMetricFamily(
            "aplex_work_retries", "Works that were run again.", labels=("pool",)
        )
        workers = GaugeMetricFamily(
            "aplex_workers", "Workers, by where they are in their lives.", labels=("pool", "state")
        )
        restarts = CounterMetricFamily(
            "aplex_worker_restarts", "Workers that replaced one that had died.", labels=("pool",)
        )
        lag = GaugeMetricFamily(
            "aplex_loop_lag_seconds",
            "How long coroutines wait for their turn in a worker's event loop.",
            labels=("pool", "slot"),
        )
        for pool, stats in told:
            for outcome in ("done", "failed", "cancelled"):
                works.add_metric((pool, outcome), getattr(stats, outcome))
            pending.add_metric((pool, "waiting"), stats.waiting)
            pending.add_metric((pool, "in_flight"), stats.in_flight)
            retries.add_metric((pool,), stats.retried)
            restarts.add_metric((pool,), stats.restarts)
            for state in STATES:
                there = sum(worker.state == state for worker in stats.workers)
                workers.add_metric((pool, state), there)
            lags: dict[int, float] = {}  # two may be in one slot, while one is replaced
            for worker in stats.workers:
                lags[worker.slot] = max(worker.loop_lag, lags.get(worker.slot, 0.0))
            for slot, seconds in lags.items():
                lag.add_metric((pool, str(slot)), seconds)
        yield from (works, pending, retries, workers, restarts, lag)
        yield from self._times(told)

    def _times(self, told: Collection[tuple[str, PoolStats]]) -> Iterator[Metric]:
        labels = ("pool",) if self._functions is None else ("pool", "function")
        waits = HistogramMetricFamily(
            "aplex_work_wait_seconds", "From submit until a work begins.", labels=labels
        )
        runs = HistogramMetricFamily(
            "aplex_work_run_seconds", "From the begin of a work to its end.", labels=labels
        )
        for pool, stats in told:
            for names, pair in self._sums(stats):
                _add(waits, (pool, *names), pair[:BYTES])
                _add(runs, (pool, *names), pair[BYTES:])
        yield from (waits, runs)

    def _sums(self, stats: PoolStats) -> Iterator[tuple[tuple[str, ...], bytes]]:
        """Return labels of the functions, and histograms of how long they waited and ran."""
        sums = stats.timings.sums
        allowed = self._functions
        if allowed is None:
            yield (), _sum(sums.values())
            return
        for name in sorted(allowed & sums.keys()):
            yield (name,), sums[name]
        yield (OTHERS,), _sum(pair for name, pair in sums.items() if name not in allowed)


def _sum(pairs: Iterable[bytes]) -> bytes:
    return added((bytes(2 * BYTES), *pairs))


def _add(family: HistogramMetricFamily, labels: tuple[str, ...], histogram: bytes) -> None:
    bounds, count, total = octaves(histogram)
    buckets = [(f"{bound:.9g}", float(below)) for bound, below in bounds]
    family.add_metric(labels, [*buckets, ("+Inf", float(count))], total)
