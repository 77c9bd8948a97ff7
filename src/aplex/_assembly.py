"""Makes of the options of an executor all that it is made of: back end, pool, manager, gateway."""

from __future__ import annotations

import functools
import itertools
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from aplex._backends.contract import Backend, Setup
from aplex._backends.process.backend import ProcessBackend
from aplex._backends.process.forker import AVAILABLE as TEMPLATE_AVAILABLE
from aplex._backends.thread import backend as thread_backend
from aplex._calls import dumping, starting
from aplex._calls.gateway import Gateway
from aplex._calls.settings import PoolSettings
from aplex._common import standing
from aplex._common.cpus import usable_cpus
from aplex._common.locks import late_imports
from aplex._manager.manager import Manager
from aplex._pool.pool import Pool
from aplex._pool.restarts import RestartPolicy
from aplex._pool.terms import Terms, terms_of

if TYPE_CHECKING:
    from aplex._worker.lifespan import Surroundings

# Three of them are here only to be imported with the rest, before anybody needs them in a hurry.
__all__ = ["PoolSettings", "assemble", "dumping", "process_backend", "starting", "thread_backend"]

_numbers = itertools.count(1)


def assemble(
    kind: str,
    backend: Callable[[Setup], Backend],
    settings: PoolSettings,
    manager_class: type[Manager] | None = None,
    *,
    in_threads: bool = False,
) -> Gateway:
    """Put a pool together, and start nothing.

    Args:
        kind: Name of the executor's class.
        backend: Makes the back end.
        settings: The options of the executor.
        manager_class: What leads the pool; None: `Manager`.
        in_threads: Whether works run in threads of this process.
    """
    name = f"{kind}-{next(_numbers)}"
    transport = backend(
        Setup(
            name,
            settings.worker_loop_factory,
            settings.initializer,
            settings.initargs,
            _surroundings(settings),
            settings.forward_logs,
            settings.slow_callback,
        )
    )
    pool = Pool(
        usable_cpus() if settings.pool_size is None else settings.pool_size,
        settings.max_works_per_worker,
        settings.load_balancer,
        RestartPolicy(settings.max_restarts, settings.restart_window),
        _terms(settings),
        clock=time.monotonic,
    )
    manager = (manager_class or Manager)(
        pool, transport, name, settings.exit_grace, settings.start_timeout
    )
    gateway = Gateway(kind, manager, transport, settings, in_threads=in_threads)
    if settings.dump_signal is not None:
        with late_imports.importing:
            from aplex._manager.dump_signal import dump_on
        dump_on(settings.dump_signal, manager)
    wanted = settings.record is not None or standing.recordings is not None
    if wanted or "APLEX_RECORD" in os.environ:
        from aplex._calls.recorded import begin

        gateway.recording = begin(manager, settings.record)
    return gateway


def process_backend(mp_context: Any, preload: Any) -> Callable[[Setup], Backend]:
    """Return what makes the back end of a pool of processes.

    Raises:
        TypeError: An option is of the wrong kind.
        ValueError: An option is out of range.
    """
    return functools.partial(ProcessBackend, _context_of(mp_context), _names_of(preload))


def _terms(settings: PoolSettings) -> Terms:
    return terms_of(
        settings.max_tasks_per_child,
        settings.max_age,
        settings.max_memory_per_worker,
        settings.min_pool_size,
        60.0 if settings.idle_timeout is None else settings.idle_timeout,
    )


def _surroundings(settings: PoolSettings) -> Surroundings | None:
    if settings.lifespan is None:
        return None
    from aplex._worker.lifespan import Surroundings

    return Surroundings(settings.lifespan, settings.exit_grace)


def _context_of(mp_context: Any) -> Any:
    """Return the context that an option names, checked; None for the default.

    What behaves like one will do: ``torch.multiprocessing``, and ``multiprocessing`` itself.
    """
    methods = multiprocessing.get_all_start_methods()
    if TEMPLATE_AVAILABLE:
        methods = ["template", *methods]
    if mp_context is None or (mp_context == "template" and TEMPLATE_AVAILABLE):
        return None
    if mp_context in methods:
        return multiprocessing.get_context(mp_context)
    allowed = f"one of {', '.join(map(repr, methods))}, a context of multiprocessing, or None"
    if isinstance(mp_context, str):
        raise ValueError(f"mp_context must be {allowed}, got {mp_context!r}")  # noqa: TRY004
    if not (hasattr(mp_context, "Process") and hasattr(mp_context, "get_start_method")):
        raise TypeError(f"mp_context must be {allowed}, not {mp_context!r}")
    return mp_context


def _names_of(preload: Any) -> tuple[str, ...]:
    """Return the modules that an option names, checked."""
    given: Any = preload if isinstance(preload, Iterable) else (preload,)
    names = tuple(given)
    if isinstance(preload, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"preload must be a list of names of modules, not {preload!r}")
    return names
