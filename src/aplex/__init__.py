"""aplex, asynchronous pool executor: coroutines and functions in pools of workers."""

from aplex._version import __version__
from aplex.exceptions import (
    AplexError,
    AplexWorkerError,
    BrokenPoolError,
    LoadBalancerError,
    RemoteError,
    RemoteTraceback,
    SerializationError,
    WorkerLostError,
    WorkerStartError,
)
from aplex.executors import (
    AsyncPoolExecutor,
    ProcessAsyncPoolExecutor,
    ThreadAsyncPoolExecutor,
)
from aplex.futures import AsyncioFuture, ConcurrentFuture
from aplex.load_balancers import LoadBalancer

__all__ = [
    "AplexError",
    "AplexWorkerError",
    "AsyncPoolExecutor",
    "AsyncioFuture",
    "BrokenPoolError",
    "ConcurrentFuture",
    "LoadBalancer",
    "LoadBalancerError",
    "ProcessAsyncPoolExecutor",
    "RemoteError",
    "RemoteTraceback",
    "SerializationError",
    "ThreadAsyncPoolExecutor",
    "WorkerLostError",
    "WorkerStartError",
    "__version__",
]
