"""Opens the pool of a run, and submits chunks of items to it."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aplex._cli.map.settings import Bounds, Settings
from aplex._cli.map.spread import outlive_terminal
from aplex._worker.chunks_coroutine import run_measured_coroutines
from aplex._worker.chunks_plain import run_measured_plain
from aplex.executors import ProcessAsyncPoolExecutor, ThreadAsyncPoolExecutor
from aplex.views import PoolView

if TYPE_CHECKING:
    from aplex._worker.chunks_measured import MeasuredChunk

Pool = ProcessAsyncPoolExecutor[Any] | ThreadAsyncPoolExecutor[Any]


def open_pool(
    workers: int,
    bounds: Bounds,
    *,
    threads: bool,
    lifespan: Callable[[], Any] | None,
    record: bool = False,
) -> Pool:
    """Return a pool whose futures are awaited. Nothing starts before the first item."""
    options: dict[str, Any] = {
        "awaitable": True,
        "lifespan": lifespan,
        "record": True if record else None,  # None: as the environment says
        "initializer": None if threads else outlive_terminal,
        # Each worker may have its share, so that the first one does not get all.
        "max_works_per_worker": max(2, -(-min(bounds.items, 2**31) // workers)),
    }
    made = ThreadAsyncPoolExecutor if threads else ProcessAsyncPoolExecutor
    return made(workers, **options)


def submitter(
    pool: Pool, function: Callable[..., Any], label: str, settings: Settings, *, awaited: bool
) -> Callable[[list[Any]], asyncio.Future[MeasuredChunk]]:
    """Return what submits a chunk of values for a function of one argument."""
    works: Any = {**settings.works, "limit_key": "aplex map"} if settings.works else {}
    view = pool.options(
        retries=settings.retries, quarantine_after=max(3, settings.retries + 1), **works
    )
    options = dataclasses.replace(view._options, label=label)  # noqa: SLF001 - of the package
    named = PoolView[Any](view._gateway, options)  # noqa: SLF001
    run = run_measured_coroutines if awaited else run_measured_plain

    def submit(values: list[Any]) -> asyncio.Future[MeasuredChunk]:
        future: Any = named.submit(run, function, [values], time.monotonic())
        return future  # type: ignore[no-any-return]

    return submit
