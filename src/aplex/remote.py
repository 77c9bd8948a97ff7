"""Workers on other machines: started by a command of yours, linked to the pool by TCP.

For example, 16 workers that a Slurm job has room for, from a program that runs in the job::

    with RemoteAsyncPoolExecutor(
        ["srun", "--ntasks=1", "--exact", "python", "-m", "aplex.worker"],
        pool_size=16,
        listen=socket.gethostbyname(socket.gethostname()),
    ) as pool:
        ...
"""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, Unpack, overload

from aplex._calls.settings import PoolSettings
from aplex.executors import AsyncPoolExecutor
from aplex.load_balancers import LoadBalancerFactory, RoundRobin
from aplex.typing import RemoteOptions

if TYPE_CHECKING:
    from aplex._backends.contract import Backend, Setup
    from aplex._backends.remote.launcher import Launcher
    from aplex._backends.remote.shipping import Modules

__all__ = ["RemoteAsyncPoolExecutor"]

Awaits = TypeVar("Awaits", bound=bool)
Loop = asyncio.AbstractEventLoop
SHORTEST: Final = 16
"""Characters of a secret."""


class _RemotePool(AsyncPoolExecutor[Awaits]):
    """What all executors have whose workers dial in."""

    def terminate_workers(self) -> None:
        """End all workers at once by SIGTERM; see `ProcessAsyncPoolExecutor.terminate_workers`."""
        self._end_workers(kill=False)

    def kill_workers(self) -> None:
        """End all workers at once by SIGKILL; see `ProcessAsyncPoolExecutor.kill_workers`."""
        self._end_workers(kill=True)

    def _end_workers(self, *, kill: bool) -> None:
        self._gateway.finalizer.detach()
        self._manager.end_workers(kill=kill)


class RemoteAsyncPoolExecutor(_RemotePool[Awaits]):
    """Runs works in processes that a command starts, on this machine or on others.

    Each worker dials the pool, and has an event loop of its own, as a worker of
    `ProcessAsyncPoolExecutor` has; what that promises holds here as well. What the workers are to
    run must be installed where they are: the same version of aplex and of cloudpickle, and the same
    minor version of Python, are required. What is defined in the main module travels by value.

    Whoever can reach the port may dial it; only who proves to know the secret, and has the token of
    a worker that was launched, is let in (HMAC-SHA256, RFC 2104), before anything is unpickled.
    What travels then is not encrypted: listen on an interface that only machines you trust can
    reach, or go through a tunnel.
    """

    @overload
    def __init__(
        self: RemoteAsyncPoolExecutor[Literal[False]],
        command: Sequence[str | os.PathLike[str]],
        pool_size: int | None = ...,
        *,
        awaitable: Literal[False] = ...,
        **options: Unpack[RemoteOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: RemoteAsyncPoolExecutor[Literal[True]],
        command: Sequence[str | os.PathLike[str]],
        pool_size: int | None = ...,
        *,
        awaitable: Literal[True],
        **options: Unpack[RemoteOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: RemoteAsyncPoolExecutor[bool],
        command: Sequence[str | os.PathLike[str]],
        pool_size: int | None = ...,
        *,
        awaitable: bool,
        **options: Unpack[RemoteOptions],
    ) -> None: ...
    def __init__(
        self,
        command: Sequence[str | os.PathLike[str]],
        pool_size: int | None = None,
        *,
        awaitable: bool = False,
        listen: str = "127.0.0.1",
        port: int = 0,
        secret: str | os.PathLike[str] | None = None,
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
        min_pool_size: int | None = None,
        idle_timeout: float | None = None,
        slow_callback: float | None = 0.5,
        max_pending: int | None = None,
        dump_signal: int | None = None,
        record: bool | str | os.PathLike[str] | None = None,
    ) -> None:
        """Make an executor; the workers start with the first work, and so does the listening.

        All arguments that are not named here are those of `ProcessAsyncPoolExecutor`.

        Args:
            command: What starts one worker: ``[sys.executable, "-m", "aplex.worker"]``, or what
                runs that elsewhere (``srun``, ``ssh``, ``docker run``). To it are appended
                ``--connect HOST:PORT`` and ``--token TOKEN``. It is run once for each worker, in a
                session of its own, has the secret in its environment (``APLEX_SECRET``), and as a
                line on its standard input (for ``--secret-file -``, where the environment does not
                travel). It has to end when its worker has; if it ends before, by a code that is not
                0, the start has failed.
            pool_size: Number of workers. None: 1.
            awaitable: As of `ProcessAsyncPoolExecutor`.
            listen: The address of the one interface to listen on, or a name that stands for it. By
                default only this machine can reach it.
            port: To listen on. 0: any that is free.
            secret: What workers prove to know, of 16 characters at least; or the path of a file
                that has it. None: a new one, for this executor.
            ship: Which modules travel to the workers, as source, before the initializer runs:
                ``"auto"``: those that are loaded when a worker starts, from outside of
                ``site-packages`` and the standard library; or the names of modules and packages; or
                none.
            forward_logs: As of `ProcessAsyncPoolExecutor`, as all that follow.
            start_timeout: From when the command of a worker was started.
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
            min_pool_size: See there.
            idle_timeout: See there.
            slow_callback: See there.
            max_pending: See there.
            dump_signal: See there.
            record: See there.

        Raises:
            ValueError: An option is out of range; or ``listen`` stands for all interfaces, or for
                none.
            TypeError: An option is of the wrong kind.
            SerializationError: ``initializer``, ``initargs``, ``lifespan`` or
                ``worker_loop_factory`` cannot be pickled, or can only be inherited on one machine.
            OSError: The file with the ``secret`` cannot be read; or that to ``record`` to made.
            RuntimeError: On Windows, where there are no remote workers.
        """
        super().__init__(
            functools.partial(
                _backend,
                _launcher(command),
                _address(listen),
                _port(port),
                _secret(secret),
                _modules(ship),
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
    secret: str | None,
    modules: Modules,
    setup: Setup,
) -> Backend:
    from aplex._backends.remote.backend import RemoteBackend

    return RemoteBackend(launcher, listen, port, secret, setup, modules)


def _modules(ship: Any) -> Modules:
    from aplex._backends.remote.shipping import Modules

    return Modules(ship)


def _launcher(command: Any) -> Launcher:
    if isinstance(command, (str, bytes)) or not isinstance(command, Iterable):
        raise TypeError(f"command must be a list of arguments, not {command!r}")
    given: Iterable[str | os.PathLike[str]] = command
    arguments = list(given)
    if not arguments:
        raise ValueError("command must have at least the name of a program")
    if sys.platform != "win32":
        from aplex._backends.remote.command import CommandLauncher

        return CommandLauncher([os.fspath(argument) for argument in arguments])
    raise RuntimeError("remote workers are not supported on Windows")


def _address(listen: Any) -> str:
    """Return the address of an interface, checked.

    Raises:
        TypeError: It is no text.
        ValueError: It is none, or all of them.
    """
    import ipaddress

    if not isinstance(listen, str):
        raise TypeError(f"listen must be an address of this machine, not {listen!r}")
    try:
        found = socket.getaddrinfo(listen or " ", None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ValueError(f"listen must be an address of this machine, got {listen!r}") from error
    address = str(found[0][4][0])
    if ipaddress.ip_address(address.partition("%")[0]).is_unspecified:
        raise ValueError(
            f"listen must be the address of one interface, got {listen!r}, which is all of them"
        )
    return address


def _port(port: Any) -> int:
    if isinstance(port, bool) or not isinstance(port, int):
        raise TypeError(f"port must be an int, not {port!r}")
    if not 0 <= port < 2**16:
        raise ValueError(f"port must be from 0 to 65535, got {port}")
    return port


def _secret(secret: Any) -> str | None:
    if secret is None:
        return None
    if isinstance(secret, os.PathLike):
        path: os.PathLike[str] = secret
        secret = Path(path).read_text(encoding="utf-8").strip()
    if not isinstance(secret, str):
        raise TypeError("secret must be a str, a path or None")  # not shown, whatever it is
    if len(secret) < SHORTEST or secret != secret.strip():
        raise ValueError(
            f"secret must have at least {SHORTEST} characters, and no space around them"
        )
    return secret
