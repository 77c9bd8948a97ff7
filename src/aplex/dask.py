"""Workers on a Dask cluster: Dask gives them their places, and watches over them there.

For example, on a cluster that is there already::

    with DaskAsyncPoolExecutor("tcp://scheduler:8786") as pool:
        ...

Works do not go through Dask's scheduler. They travel on direct connections between this program and
its workers, so all that a pool can do, it can do here.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, overload

from aplex._calls.settings import PoolSettings
from aplex._common.numbers import check_count
from aplex.remote import _address, _port, _RemotePool
from aplex.typing import DaskOptions, PoolOptions

if TYPE_CHECKING:
    from aplex._backends.contract import Backend, Setup
    from aplex._backends.remote.security import Security
    from aplex._backends.remote.shipping import Modules

__all__ = ["DaskAsyncPoolExecutor"]

Awaits = TypeVar("Awaits", bound=bool)
Size = int | Literal["cluster"] | None


class DaskAsyncPoolExecutor(_RemotePool[Awaits]):
    """Runs works in processes on the machines of a Dask cluster.

    Each worker is a process of its own, with an event loop, started by a task of Dask that takes
    one of the cluster's places (a thread of a Dask worker, and ``resources`` if there are any) for
    as long as the worker is there. What `ProcessAsyncPoolExecutor` promises of works holds here as
    well. An order for a worker that finds no place waits for one, and has an adaptive cluster grow;
    a Dask worker that is retired has its workers replaced, which finish what they have as long as
    Dask waits for that (30 s); one that is killed takes its workers along, and what they had
    started.

    The workers dial this program: it has to be reachable from where they are, or see ``connect``.
    Only who knows the pool's secret, which travels through Dask, and has the token of a worker that
    was ordered, is let in. What travels then is encrypted where Dask's own connections are
    (``tls://``), by the certificates of the client's ``security`` here, and those of the Dask
    worker there.

    The same minor version of Python is required on both sides. Where the cluster has no aplex, or
    another version, this one is sent there; so are modules of your program, see ``ship``.
    """

    @overload
    def __init__(
        self: DaskAsyncPoolExecutor[Literal[False]],
        client: Any,
        pool_size: Size = ...,
        *,
        awaitable: Literal[False] = ...,
        **options: Unpack[DaskOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: DaskAsyncPoolExecutor[Literal[True]],
        client: Any,
        pool_size: Size = ...,
        *,
        awaitable: Literal[True],
        **options: Unpack[DaskOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: DaskAsyncPoolExecutor[bool],
        client: Any,
        pool_size: Size = ...,
        *,
        awaitable: bool,
        **options: Unpack[DaskOptions],
    ) -> None: ...
    def __init__(
        self,
        client: Any,
        pool_size: Size = None,
        *,
        awaitable: bool = False,
        max_pool_size: int | None = None,
        resources: Mapping[str, float] | None = None,
        workers: str | Iterable[str] | None = None,
        priority: int = 0,
        connect: Literal["auto", "worker", "caller", "relay"] = "worker",
        listen: str | None = None,
        port: int = 0,
        ship: Literal["auto"] | Sequence[str] | None = "auto",
        forward_logs: bool | None = None,
        max_memory_per_worker: int | None = None,
        **options: Unpack[PoolOptions],
    ) -> None:
        """Make an executor; the workers are ordered with the first work.

        All arguments that are not named here are those of `ProcessAsyncPoolExecutor`.

        Args:
            client: Of the cluster: a ``distributed.Client`` (an asynchronous one must have been
                awaited), a cluster object such as ``SLURMCluster``, the address of the scheduler,
                or the path of its scheduler file. The pool makes a client of its own to the same
                scheduler, and closes that at its end.
            pool_size: Number of workers. ``"cluster"``, or None: as many as the cluster has
                places, also when that changes; but one at least, and ``max_pool_size`` at most.
            awaitable: As of `ProcessAsyncPoolExecutor`.
            max_pool_size: With ``"cluster"``: the pool orders a worker for each work, up to so
                many, whether there are places or not, which makes an adaptive cluster grow
                (``adapt``); and lets them go when they idle. ``min_pool_size`` stay, one if that is
                not given.
            resources: What each worker takes of the resources of its Dask worker; as of
                ``Client.submit``.
            workers: On which Dask workers there may be some: addresses, names or hosts; as of
                ``Client.submit``.
            priority: Of the orders, against other tasks of the cluster; as of ``Client.submit``.
            connect: Who makes the connections. ``"worker"``: the workers dial this program.
                ``"caller"``: each listens, on the interface of its Dask worker, until this program
                has dialled it; only who knows the secret gets an answer. ``"relay"``: nobody: what
                would go over them goes through Dask's scheduler, which is slower by far.
                ``"auto"``: the first of these three that works, on each machine. See
                `WorkerStats.connect`.
            listen: The address of the one interface to listen on. None: of that which leads to the
                scheduler. Nothing is listened to with ``"caller"`` and ``"relay"``.
            port: To listen on. 0: any that is free.
            ship: Which modules travel to the workers, as source: ``"auto"``: those that are loaded
                when a worker starts, from outside of ``site-packages`` and the standard library; or
                the names of modules and packages; or none. Before the initializer, to each worker.
            forward_logs: As of `ProcessAsyncPoolExecutor`, as all that follow.
            max_memory_per_worker: See there. That of the Dask worker is not counted.
            options: See there. ``start_timeout``, 60 s by default, counts from when a worker has
                its place.

        Raises:
            ImportError: Dask is not installed.
            ValueError: An option is out of range; or the client is not connected; or the scheduler
                speaks TLS, and the client has no certificate.
            TypeError: An option is of the wrong kind.
            SerializationError: ``initializer``, ``initargs``, ``lifespan`` or
                ``worker_loop_factory`` cannot be pickled, or can only be inherited on one machine.
            OSError: The scheduler file, or a certificate, cannot be read; or no interface leads to
                the scheduler.
            RuntimeError: On Windows.
        """
        if sys.platform == "win32":
            raise RuntimeError("remote workers are not supported on Windows")
        from aplex._backends.remote.dask.cluster import DaskCluster
        from aplex._backends.remote.meetings import check_way
        from aplex._backends.remote.security import security_of
        from aplex._backends.remote.shipping import Modules

        follow = pool_size in (None, "cluster") and options.get("max_workers") is None
        check_count("max_pool_size", max_pool_size, optional=True)
        if max_pool_size is not None and not follow:
            raise TypeError("max_pool_size goes with pool_size='cluster'")
        size: int | None = None
        if follow:
            size = max_pool_size or options.get("min_pool_size") or 1
        elif isinstance(pool_size, str):
            raise TypeError(f"pool_size must be an int, 'cluster' or None, not {pool_size!r}")
        else:
            size = pool_size
        if max_pool_size is not None:
            options.setdefault("min_pool_size", 1)
        options.setdefault("start_timeout", 60.0)
        cluster = DaskCluster(client)
        tasks: dict[str, Any] = {"priority": priority}
        if resources is not None:
            tasks["resources"] = dict(resources)
        if workers is not None:
            tasks["workers"] = workers if isinstance(workers, str) else list(workers)
        host = _address(cluster.our_host() if listen is None else listen)
        credentials = cluster.credentials()
        backend = functools.partial(
            _backend,
            cluster,
            tasks,
            least=size if follow and max_pool_size is None else None,
            connect=check_way(connect),
            listen=host,
            port=_port(port),
            ship=Modules(ship),
            security=None if credentials is None else security_of(credentials),
        )
        settings = PoolSettings(
            awaitable=awaitable,
            pool_size=size,
            forward_logs=forward_logs,
            max_memory_per_worker=max_memory_per_worker,
            **options,  # type: ignore[arg-type, unused-ignore] # context: made a tuple there, once checked
        )
        super().__init__(backend, settings)


def _backend(
    cluster: Any,
    tasks: dict[str, Any],
    setup: Setup,
    *,
    least: int | None,
    connect: str,
    listen: str,
    port: int,
    ship: Modules,
    security: Security | None,
) -> Backend:
    from aplex._backends.remote.backend import RemoteBackend
    from aplex._backends.remote.dask.launcher import DaskLauncher

    launcher = DaskLauncher(cluster, tasks, least, connect)
    return RemoteBackend(launcher, listen, port, None, setup, ship, security)
