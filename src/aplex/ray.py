"""Workers in a cluster of Ray: actors of its, linked to the pool by TCP.

For example::

    with RayAsyncPoolExecutor("auto", pool_size=8, num_cpus=1) as pool:
        ...

Ray places the workers, and tells when one is lost; works do not pass through it.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, overload

from aplex._calls.settings import PoolSettings
from aplex.load_balancers import LoadBalancerFactory, RoundRobin
from aplex.remote import _address, _modules, _port, _RemotePool
from aplex.typing import RayOptions

if TYPE_CHECKING:
    from aplex._backends.contract import Backend, Setup
    from aplex._backends.remote.launcher import Launcher
    from aplex._backends.remote.security import Security
    from aplex._backends.remote.shipping import Modules

__all__ = ["RayAsyncPoolExecutor"]

Awaits = TypeVar("Awaits", bound=bool)
Loop = asyncio.AbstractEventLoop


class RayAsyncPoolExecutor(_RemotePool[Awaits]):
    """Runs works in actors of a cluster of Ray.

    Each worker is the process of an actor, and has an event loop of its own, as a worker of
    `ProcessAsyncPoolExecutor` has; what that promises holds here as well. Inside works, Ray's own
    functions go on working: ``ray.get``, ``ray.put``, ``await reference``, tasks and actors.

    The nodes of the cluster need the same minor version of Python. What is defined in the main
    module travels by value, other modules of the program as source, see ``ship``; so does aplex
    itself, with cloudpickle, where it is missing or another version.

    A worker dials the pool, on an address that is reached by machines you trust only: see
    ``listen``. Only who proves to know the secret of this pool, and has the token of a worker that
    was launched, is let in (HMAC-SHA256, RFC 2104). Both travel through Ray. What goes over the
    connections is encrypted where Ray's own are: if ``RAY_USE_TLS`` is set here, by the files of
    ``RAY_TLS_SERVER_CERT``, ``RAY_TLS_SERVER_KEY`` and ``RAY_TLS_CA_CERT``, here and there.

    This process never connects to Ray, and does not import it: a process of its own does. If the
    head of the cluster dies, Ray ends that one, and the works that ran fail by `WorkerLostError`.
    """

    @overload
    def __init__(
        self: RayAsyncPoolExecutor[Literal[False]],
        address: str = ...,
        pool_size: int | None = ...,
        *,
        awaitable: Literal[False] = ...,
        **options: Unpack[RayOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: RayAsyncPoolExecutor[Literal[True]],
        address: str = ...,
        pool_size: int | None = ...,
        *,
        awaitable: Literal[True],
        **options: Unpack[RayOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: RayAsyncPoolExecutor[bool],
        address: str = ...,
        pool_size: int | None = ...,
        *,
        awaitable: bool,
        **options: Unpack[RayOptions],
    ) -> None: ...
    def __init__(
        self,
        address: str = "auto",
        pool_size: int | None = None,
        *,
        awaitable: bool = False,
        num_cpus: float = 1,
        num_gpus: float | None = None,
        memory: int | None = None,
        resources: Mapping[str, float] | None = None,
        scheduling_strategy: Any = None,
        runtime_env: Mapping[str, Any] | None = None,
        namespace: str | None = None,
        log_to_driver: bool = True,
        connect: Literal["auto", "worker", "caller", "relay"] = "worker",
        listen: str = "127.0.0.1",
        port: int = 0,
        ship: Literal["auto"] | Sequence[str] | None = "auto",
        forward_logs: bool | None = None,
        start_timeout: float | None = 60.0,
        max_workers: int | None = None,
        max_works_per_worker: int = 300,
        load_balancer: LoadBalancerFactory = RoundRobin,
        future_loop: Loop | None = None,
        worker_loop_factory: Callable[[], Loop] | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        lifespan: Callable[[], Any] | None = None,
        context: Iterable[ContextVar[Any]] = (),
        exit_grace: float = 5.0,
        retries: int = 0,
        quarantine_after: int = 3,
        max_restarts: int = 3,
        restart_window: float = 5.0,
        max_tasks_per_child: int | None = None,
        max_age: float | None = None,
        max_memory_per_worker: int | None = None,
        min_pool_size: int | None = None,
        idle_timeout: float | None = None,
        slow_callback: float | None = 0.5,
        max_pending: int | None = None,
        dump_signal: int | None = None,
        record: bool | str | os.PathLike[str] | None = None,
    ) -> None:
        """Make an executor; the workers start with the first work, as does the connection to Ray.

        All arguments that are not named here are those of `ProcessAsyncPoolExecutor`.

        Args:
            address: Of the cluster, as of ``ray.init``: ``"auto"`` (the variable ``RAY_ADDRESS``,
                or a cluster that runs on this machine), ``"HOST:PORT"``, ``"ray://HOST:PORT"``,
                or ``"local"`` for a new one that lives as long as the pool.
            pool_size: Number of workers. None: 1. Those for which the cluster has no room wait
                until it has.
            awaitable: As of `ProcessAsyncPoolExecutor`.
            num_cpus: CPUs that each worker takes, for Ray's bookkeeping.
            num_gpus: GPUs that each takes; the worker sees just these.
            memory: Bytes that each takes, for Ray's bookkeeping.
            resources: Others of the cluster's, by name.
            scheduling_strategy: Where workers are placed: ``"DEFAULT"``, ``"SPREAD"``, or a
                strategy of ``ray.util.scheduling_strategies``.
            runtime_env: What Ray is to prepare for them: packages, files, variables. See the
                documentation of Ray.
            namespace: Of the actors.
            log_to_driver: Whether what workers print is shown here too, with a prefix of Ray's; it
                is in the log files of Ray anyway.
            connect: Who makes the connections. ``"worker"``: the workers dial this program.
                ``"caller"``: each listens, on the interface of its node, until this program has
                dialled it; only who knows the secret gets an answer. ``"relay"``: nobody: what
                would go over them goes through calls of an actor on each node, which is slower by
                far. ``"auto"``: the first of these three that works, on each node. See
                `WorkerStats.connect`.
            listen: The address of the one interface to listen on, or a name that stands for it. By
                default only this machine can reach it: for workers on other machines, name the
                address that these reach. Nothing is listened to with ``"caller"`` and ``"relay"``.
            port: To listen on. 0: any that is free.
            ship: Which modules travel to the workers, as source: ``"auto"``: those that are loaded
                when a worker starts, from outside of ``site-packages`` and the standard library; or
                the names of modules and packages; or none. Before the initializer, to each worker.
            forward_logs: As of `ProcessAsyncPoolExecutor`, as all that follow.
            start_timeout: From when the actor of a worker has its place.
            max_workers: See there.
            max_works_per_worker: See there.
            load_balancer: See there.
            future_loop: See there.
            worker_loop_factory: See there.
            initializer: See there.
            initargs: See there; but locks, queues and shared values of ``multiprocessing`` cannot
                be inherited.
            lifespan: See there.
            context: See there.
            exit_grace: See there.
            retries: See there.
            quarantine_after: See there.
            max_restarts: See there.
            restart_window: See there.
            max_tasks_per_child: See there.
            max_age: See there.
            max_memory_per_worker: See there.
            min_pool_size: See there.
            idle_timeout: See there.
            slow_callback: See there.
            max_pending: See there.
            dump_signal: See there.
            record: See there.

        Raises:
            ImportError: Ray is not installed (``aplex[ray]``).
            ValueError: An option is out of range; or ``listen`` stands for all interfaces, or for
                none; or ``RAY_USE_TLS`` is set, and a variable with a file is missing.
            TypeError: An option is of the wrong kind.
            SerializationError: ``initializer``, ``initargs``, ``lifespan`` or
                ``worker_loop_factory`` cannot be pickled, or can only be inherited on one machine.
            OSError: The file to ``record`` to cannot be made; or a file that ``RAY_TLS_…`` names is
                not what it should be.
            RuntimeError: On Windows, where there are no remote workers.
        """
        init = {
            "address": _text("address", address),
            "namespace": None if namespace is None else _text("namespace", namespace),
            "runtime_env": _table("runtime_env", runtime_env),
            "log_to_driver": bool(log_to_driver),
            "logging_level": "warning",
        }
        options = {
            "num_cpus": _number("num_cpus", num_cpus),
            "num_gpus": _number("num_gpus", num_gpus),
            "memory": _number("memory", memory),
            "resources": _table("resources", resources),
            "scheduling_strategy": scheduling_strategy,
        }
        super().__init__(
            functools.partial(
                _backend,
                _launcher(init, options, connect),
                _address(listen),
                _port(port),
                _modules(ship),
                _security(),
            ),
            PoolSettings(
                awaitable=awaitable,
                pool_size=1 if pool_size is None and max_workers is None else pool_size,
                max_workers=max_workers,
                max_works_per_worker=max_works_per_worker,
                load_balancer=load_balancer,
                future_loop=future_loop,
                worker_loop_factory=worker_loop_factory,
                initializer=initializer,
                initargs=initargs,
                lifespan=lifespan,
                context=context,  # type: ignore[arg-type] # made a tuple there, once checked
                exit_grace=exit_grace,
                retries=retries,
                quarantine_after=quarantine_after,
                max_restarts=max_restarts,
                restart_window=restart_window,
                max_tasks_per_child=max_tasks_per_child,
                max_age=max_age,
                max_memory_per_worker=max_memory_per_worker,
                min_pool_size=min_pool_size,
                idle_timeout=idle_timeout,
                slow_callback=slow_callback,
                max_pending=max_pending,
                record=record,
                start_timeout=start_timeout,
                forward_logs=forward_logs,
                dump_signal=dump_signal,
            ),
        )


def _backend(
    launcher: Launcher,
    listen: str,
    port: int,
    ship: Modules,
    security: Security | None,
    setup: Setup,
) -> Backend:
    from aplex._backends.remote.backend import RemoteBackend

    return RemoteBackend(launcher, listen, port, None, setup, ship, security)


def _security() -> Security | None:
    """Return how TLS is spoken, if Ray does.

    Raises:
        ValueError: A variable is missing.
        OSError: A file cannot be read, or it is not what it should be.
    """
    from aplex._backends.remote.security import security_of_ray

    return security_of_ray(os.environ)


def _launcher(init: dict[str, Any], options: dict[str, Any], connect: str) -> Launcher:
    if find_spec("ray") is None:
        raise ImportError("workers in a cluster of Ray need ray: pip install 'aplex[ray]'")
    if sys.platform != "win32":
        from aplex._backends.remote.meetings import check_way
        from aplex._backends.remote.ray import RayLauncher

        given = {name: value for name, value in options.items() if value is not None}
        return RayLauncher(init, given, check_way(connect))
    raise RuntimeError("remote workers are not supported on Windows")


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {value!r}")
    return value


def _number(name: str, value: float | None) -> float | None:
    if value is not None:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{name} must be a number or None, not {value!r}")
        if not value >= 0:
            raise ValueError(f"{name} must be at least 0, got {value}")
    return value


def _table(name: str, value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a mapping or None, not {value!r}")
    given: Mapping[str, Any] = value
    return dict(given)
