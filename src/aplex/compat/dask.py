"""A scheduler of Dask that runs tasks in the pool of aplex. Importing it registers it.

    import dask
    import aplex.compat.dask

    dask.config.set(scheduler="aplex")

For Dask on one machine, in the place of ``scheduler="processes"``. See
https://docs.dask.org/en/stable/scheduling.html
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from aplex._common.cpus import usable_cpus
from aplex.compat._missing import missing
from aplex.compat._shared_pool import Pending, shared_pool, shutdown

try:
    import dask.base
    import dask.config
    import dask.multiprocessing
except ImportError as error:
    raise missing("dask", error) from error

__all__ = ["get", "scheduler", "shutdown"]

SEED = "6640"
"""What Dask itself sets, so that texts have the same hash in all its processes."""


class _Submits:
    """What Dask takes for an executor: submits for one computation."""

    def __init__(self, view: Any, workers: int) -> None:
        self._view = view
        self._max_workers = workers
        self._pending = Pending()

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Submit a batch of tasks."""
        return self._pending.add(self._view.submit(function, *args, **kwargs))

    def cancel(self) -> None:
        """Cancel what is left."""
        self._pending.cancel()


def get(
    dsk: Any,
    keys: Any,
    num_workers: int | None = None,
    pool: Any = None,
    retries: int = 0,
    **kwargs: Any,
) -> Any:
    """Compute the keys of a graph: what Dask calls.

    Args:
        dsk: The graph.
        keys: What is wanted of it.
        num_workers: How many workers; None: as Dask is configured, or as many as CPUs.
        pool: An executor to use, made without ``awaitable=True``. None: one for all
            computations, which is made when it is needed.
        retries: How many times a batch of tasks runs again whose worker has died.
        **kwargs: For ``dask.multiprocessing.get``.

    Returns:
        What ``dask.multiprocessing.get`` returns. If this raises, or is interrupted, the tasks
        that are left are cancelled.
    """
    pool = pool or dask.config.get("pool", None)
    if pool is None:
        wanted = num_workers or dask.config.get("num_workers", None) or usable_cpus()
        if os.environ.get("PYTHONHASHSEED") in (None, "0"):
            os.environ["PYTHONHASHSEED"] = SEED
        pool = shared_pool(wanted)
    submits = _Submits(pool.options(retries=retries), pool._max_workers)  # noqa: SLF001
    try:
        return dask.multiprocessing.get(dsk, keys, pool=submits, **kwargs)
    except BaseException:
        submits.cancel()
        raise


def scheduler(pool: Any, *, retries: int = 0) -> Callable[..., Any]:
    """Return a scheduler that uses an executor of yours: ``dask.config.set(scheduler=…)``.

    Args:
        pool: The executor, made without ``awaitable=True``.
        retries: As for `get`.
    """
    return partial(get, pool=pool, retries=retries)


dask.base.named_schedulers["aplex"] = get
