"""Telemetry: metrics of pools for Prometheus, and spans of their works for OpenTelemetry.

All is made in the process of the pool, of what that knows. The libraries are extras, imported
when they are asked for: ``aplex[prometheus]`` and ``aplex[otel]``.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from aplex._telemetry.spans import WorkSpans

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

    from aplex._telemetry.metrics import PoolCollector
    from aplex.executors import AsyncPoolExecutor

__all__ = ["WorkSpans", "opentelemetry", "prometheus"]


def prometheus(
    *pools: AsyncPoolExecutor[Any], functions: Collection[str] | None = None
) -> PoolCollector:
    """Return a collector of metrics, for a registry of ``prometheus_client``.

    It reads ``pool.stats()`` when it is scraped, and costs nothing else. Not for the multiprocess
    mode of ``prometheus_client``: all numbers are in this process. The metrics are
    ``aplex_works_total{pool,outcome}``, ``aplex_works_pending{pool,state}``,
    ``aplex_work_retries_total{pool}``, ``aplex_workers{pool,state}``,
    ``aplex_worker_restarts_total{pool}``, ``aplex_loop_lag_seconds{pool,slot}``, and the
    histograms ``aplex_work_wait_seconds`` and ``aplex_work_run_seconds``, with the powers of two
    from 4.096 microseconds as bounds.

    Args:
        *pools: Executors; its method ``add`` takes further ones. A registry takes one such
            collector only, as a metric must not be told of twice. Pools are not kept alive by it,
            and those that are garbage are left out.
        functions: Names (``"package.module.function"``) of the functions whose histograms are
            told apart, by the label ``function``; the rest is ``"(others)"``. None: there is no
            such label.

    Returns:
        The collector: ``prometheus_client.REGISTRY.register(collector)``.

    Raises:
        ImportError: There is no ``prometheus_client`` (``aplex[prometheus]``).
    """
    try:
        from aplex._telemetry.metrics import PoolCollector
    except ImportError as error:
        if _root(error) != "prometheus_client":
            raise
        raise ImportError(
            "metrics need prometheus_client: pip install 'aplex[prometheus]'"
        ) from error
    return PoolCollector(pools, functions)


def opentelemetry(
    pool: AsyncPoolExecutor[Any], *, tracer_provider: TracerProvider | None = None
) -> WorkSpans:
    """Make a span of each attempt of each work that is submitted from now on.

    The spans are made in this process, within a second of the end of the work, of what the pool
    knows (see ``pool.record()``): no worker needs an exporter, and none that dies loses a span. A
    span is the child of the caller's span at the submit (for a ``map``: at its call), begins at
    the submit, and has an event ``started``. Its kind is ``CONSUMER``. The sampler is asked before
    it is made. A chunk of a ``map`` is one work. Arguments, results and messages of exceptions are
    not in it.

    Processors of spans are called on a thread that the pool needs: use ``BatchSpanProcessor``,
    which does not wait for a network.

    Args:
        pool: An executor; all its views and faces count.
        tracer_provider: What the spans are made by. None: the global one.

    Returns:
        A `WorkSpans`, which ends with the pool, or by its ``stop()``.

    Raises:
        ImportError: There is no ``opentelemetry`` (``aplex[otel]``).
    """
    try:
        return WorkSpans(pool._gateway, tracer_provider)  # noqa: SLF001 - private to the package
    except ImportError as error:
        if _root(error) != "opentelemetry":
            raise
        raise ImportError("spans need opentelemetry: pip install 'aplex[otel]'") from error


def _root(error: ImportError) -> str:
    return (error.name or "").partition(".")[0]
