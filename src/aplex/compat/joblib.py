"""A back end of joblib that runs works in the pool of aplex. Importing it registers it.

    import joblib
    import aplex.compat.joblib

    with joblib.parallel_config(backend="aplex", n_jobs=4):
        joblib.Parallel()(joblib.delayed(f)(x) for x in items)

It is what scikit-learn and others use then, too. See
https://joblib.readthedocs.io/en/stable/custom_parallel_backend.html
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from aplex._common.identity import this_worker
from aplex.compat._missing import missing
from aplex.compat._shared_pool import Pending, shared_pool, shutdown

try:
    import joblib
    from joblib._parallel_backends import AutoBatchingMixin, FallbackToBackend, SequentialBackend
    from joblib.parallel import ParallelBackendBase
except ImportError as error:
    raise missing("joblib", error) from error

__all__ = ["AplexBackend", "shutdown"]

THREADS = ParallelBackendBase.MAX_NUM_THREADS_VARS
"""Environment variables that say how many threads libraries for numbers start."""
_threads_now = 0  # what this worker process was told last


class AplexBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc] # untyped
    """The back end ``"aplex"``.

    Its workers are kept for the next call, as those of loky are. If one dies, only the batch that
    it ran fails, with a `WorkerLostError`, or runs again.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    uses_threads = False
    supports_sharedmem = False

    def __init__(self, *args: Any, pool: Any = None, retries: int = 0, **kwargs: Any) -> None:
        """Make one; joblib does, with the keyword arguments of ``parallel_config``.

        Args:
            *args: For joblib.
            pool: An executor to use, made without ``awaitable=True``. None: one for all calls,
                which is made when it is needed.
            retries: How many times a batch runs again whose worker has died.
            **kwargs: For joblib.
        """
        super().__init__(*args, **kwargs)
        self._pool = pool
        self._retries = retries
        self._view: Any = None
        self._threads = 0
        self._pending = Pending()

    def effective_n_jobs(self, n_jobs: int | None) -> Any:
        """Return how many batches can run at a time."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None or this_worker() is not None:  # a worker has no pool of its own
            return 1
        if n_jobs < 0:
            n_jobs = max(1, joblib.cpu_count() + 1 + n_jobs)
        return n_jobs if self._pool is None else min(n_jobs, self._pool._max_workers)  # noqa: SLF001

    def configure(
        self,
        n_jobs: int | None = 1,
        parallel: Any = None,
        prefer: Any = None,  # noqa: ARG002 - of joblib
        require: Any = None,  # noqa: ARG002
        **options: Any,
    ) -> Any:
        """Get the pool ready for a call of ``Parallel``, and return the number of workers."""
        workers: int = self.effective_n_jobs(n_jobs)
        if workers == 1 and self._pool is None:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        pool = self._pool or shared_pool(workers)
        self._view = pool.options(retries=options.get("retries", self._retries))
        if workers < pool._max_workers:  # noqa: SLF001 - the user's
            self._view = self._view.options(max_concurrency=workers, limit_key=object())
        self._threads = self.inner_max_num_threads or max(1, joblib.cpu_count() // workers)
        self.parallel = parallel
        return workers

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], Any] | None = None) -> Any:
        """Submit a batch."""
        explicit = self.inner_max_num_threads is not None
        run = functools.partial(_run, func, self._threads, explicit=explicit)
        future = self._pending.add(self._view.submit(run))
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out: Any) -> Any:
        """Return the results of a batch whose future is done."""
        return out.result()

    def terminate(self) -> None:
        """Forget the call. The workers stay."""
        self._pending = Pending()
        self.reset_batch_stats()

    def abort_everything(self, ensure_ready: bool = True) -> None:  # noqa: ARG002, FBT001, FBT002
        """Cancel what is left; functions that run are interrupted."""
        self._pending.cancel()


def _run(batch: Callable[[], Any], threads: int, *, explicit: bool) -> Any:
    """Run a batch in a worker, whose libraries start no more threads than they may."""
    global _threads_now  # noqa: PLW0603 - of the process
    if threads != _threads_now:
        _threads_now = threads
        for name in THREADS:  # for libraries that are yet to be loaded
            if explicit or name not in os.environ:
                os.environ[name] = str(threads)
        _limit_loaded(threads)
    return batch()


def _limit_loaded(threads: int) -> None:
    """Tell the libraries that are loaded, if there is what tells them."""
    if "numpy" in sys.modules:
        try:
            threadpoolctl = importlib.import_module("threadpoolctl")
        except ImportError:
            return
        threadpoolctl.threadpool_limits(threads)


joblib.register_parallel_backend("aplex", AplexBackend)
