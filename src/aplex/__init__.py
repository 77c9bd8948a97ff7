"""aplex, asynchronous pool executor: coroutines and functions in pools of workers.

The names are loaded when they are first used (PEP 562): a worker process imports
``aplex._worker.process``, and should not pay for what only a parent needs.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    from typing import Any

    from aplex._version import __version__
    from aplex.dask import DaskAsyncPoolExecutor
    from aplex.dumps import PoolDump, StackFrame, TaskDump, WorkDump, WorkerDump
    from aplex.exceptions import (
        AplexError,
        AplexWorkerError,
        BrokenPoolError,
        JournalError,
        LoadBalancerError,
        PoolFullError,
        RemoteError,
        RemoteTraceback,
        SerializationError,
        SharedHandleError,
        WorkerLostError,
        WorkerStartError,
        WorkInterrupted,
        WorkQuarantinedError,
    )
    from aplex.executors import (
        AsyncPoolExecutor,
        ProcessAsyncPoolExecutor,
        ThreadAsyncPoolExecutor,
    )
    from aplex.futures import AsyncioFuture, ConcurrentFuture
    from aplex.handles import SharedHandle
    from aplex.interpreters import InterpreterAsyncPoolExecutor
    from aplex.journals import Journal
    from aplex.limits import AdaptiveLimit
    from aplex.load_balancers import LoadBalancer
    from aplex.outcomes import Outcome
    from aplex.ray import RayAsyncPoolExecutor
    from aplex.recordings import Recording, read
    from aplex.remote import RemoteAsyncPoolExecutor
    from aplex.statistics import (
        FunctionStats,
        LimitStats,
        Percentiles,
        PoolStats,
        RunningFunction,
        WorkerStats,
    )
    from aplex.streams import AsyncStream, Stream
    from aplex.views import PoolView
    from aplex.workers import CurrentWorker, current_worker

__all__ = [
    "AdaptiveLimit",
    "AplexError",
    "AplexWorkerError",
    "AsyncPoolExecutor",
    "AsyncStream",
    "AsyncioFuture",
    "BrokenPoolError",
    "ConcurrentFuture",
    "CurrentWorker",
    "DaskAsyncPoolExecutor",
    "FunctionStats",
    "InterpreterAsyncPoolExecutor",
    "Journal",
    "JournalError",
    "LimitStats",
    "LoadBalancer",
    "LoadBalancerError",
    "Outcome",
    "Percentiles",
    "PoolDump",
    "PoolFullError",
    "PoolStats",
    "PoolView",
    "ProcessAsyncPoolExecutor",
    "RayAsyncPoolExecutor",
    "Recording",
    "RemoteAsyncPoolExecutor",
    "RemoteError",
    "RemoteTraceback",
    "RunningFunction",
    "SerializationError",
    "SharedHandle",
    "SharedHandleError",
    "StackFrame",
    "Stream",
    "TaskDump",
    "ThreadAsyncPoolExecutor",
    "WorkDump",
    "WorkInterrupted",
    "WorkQuarantinedError",
    "WorkerDump",
    "WorkerLostError",
    "WorkerStartError",
    "WorkerStats",
    "__version__",
    "current_worker",
    "read",
]

_MODULES = {
    "dask": ("DaskAsyncPoolExecutor",),
    "dumps": ("PoolDump", "StackFrame", "TaskDump", "WorkDump", "WorkerDump"),
    "exceptions": (
        "AplexError",
        "AplexWorkerError",
        "BrokenPoolError",
        "JournalError",
        "LoadBalancerError",
        "PoolFullError",
        "RemoteError",
        "RemoteTraceback",
        "SerializationError",
        "SharedHandleError",
        "WorkInterrupted",
        "WorkQuarantinedError",
        "WorkerLostError",
        "WorkerStartError",
    ),
    "executors": ("AsyncPoolExecutor", "ProcessAsyncPoolExecutor", "ThreadAsyncPoolExecutor"),
    "futures": ("AsyncioFuture", "ConcurrentFuture"),
    "handles": ("SharedHandle",),
    "interpreters": ("InterpreterAsyncPoolExecutor",),
    "journals": ("Journal",),
    "limits": ("AdaptiveLimit",),
    "load_balancers": ("LoadBalancer",),
    "outcomes": ("Outcome",),
    "progress": (),
    "ray": ("RayAsyncPoolExecutor",),
    "recordings": ("Recording", "read"),
    "remote": ("RemoteAsyncPoolExecutor",),
    "statistics": (
        "FunctionStats",
        "LimitStats",
        "Percentiles",
        "PoolStats",
        "RunningFunction",
        "WorkerStats",
    ),
    "streams": ("AsyncStream", "Stream"),
    "telemetry": (),
    "testing": (),
    "typing": (),
    "views": ("PoolView",),
    "worker": (),
    "workers": ("CurrentWorker", "current_worker"),
}
"""The public modules, and which of their names are public here, too."""
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load a public name, or a public module."""
    if name in _MODULES:
        return import_module(f"aplex.{name}")
    if name == "__version__":
        globals()[name] = import_module("aplex._version").__version__
        return globals()[name]
    if name in _HOMES:
        globals()[name] = getattr(import_module(f"aplex.{_HOMES[name]}"), name)
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
