"""The Lifespan of a worker: a context manager around all its works.

An asynchronous one is entered and left by one task of the worker's loop, as scopes of ``asyncio``
and ``anyio`` want it; a plain one by the worker's main thread, which runs plain functions. It is
entered before the worker serves, and left when its works have ended.

What goes wrong at the entry keeps the worker from serving, and becomes the reason of the pool's
end. What goes wrong later harms no work any more: it is logged. A lifespan that does not come to
its end is given up after its grace, and that is logged by a thread of its own, for the one that
should is stuck.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aplex._common.errors import WorkerStartError
from aplex._worker.lane import is_coroutine
from aplex._worker.loop_thread import be_daemon

if TYPE_CHECKING:
    import asyncio

    from aplex.workers import CurrentWorker

MARGIN: Final = 1.0
"""Seconds before the end of the grace at which a worker itself gives up: so it can say so."""
RELEASE: Final = 0.2
"""Seconds that a lifespan which was cancelled has to end."""
_HOW: Final = (
    "a lifespan is a function without arguments that returns a context manager, asynchronous or "
    "plain, such as one that is decorated with contextlib.asynccontextmanager"
)

Run = Callable[[Coroutine[Any, Any, Any]], object]
"""Runs a coroutine on the worker's loop, and waits for its end."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a worker finds around its works; travels with the setup.

    Where there is nothing around them, None travels, and no worker imports this module.

    Attributes:
        lifespan: Makes the context manager.
        grace: Seconds in which a worker that was asked to stop must end.
    """

    lifespan: Callable[[], Any]
    grace: float = math.inf


class Lifespan:
    """Enters and leaves the context manager of one worker.

    Attributes:
        busy: Whether users' code is being entered or left, which may hang.
    """

    def __init__(self, surroundings: Surroundings, worker: CurrentWorker) -> None:
        self.busy = False
        self._factory: Callable[[], Any] | None = surroundings.lifespan
        grace = surroundings.grace
        self._grace = max(grace - MARGIN, grace / 2)
        self._worker = worker
        self._plain: Any = None  # the plain context manager that was entered
        self._task: asyncio.Task[None] | None = None  # which is in the asynchronous one
        self._leaving: asyncio.Event | None = None

    # -- entry ----------------------------------------------------------------

    def enter(self, run: Run) -> None:
        """Enter it. On the worker's main thread, before it serves.

        Raises:
            WorkerStartError: It cannot be entered; says why.
        """
        factory, self._factory = self._factory, None
        if factory is None:
            return
        self.busy = True
        try:
            manager = None if _makes_asynchronous(factory) else factory()
            if manager is not None and not _is_asynchronous(manager):
                self._enter_plain(manager)
            else:
                run(self._begin(factory, manager))
        except WorkerStartError:
            raise
        except BaseException as error:
            raise _failed_entry(error) from error
        finally:
            self.busy = False

    def _enter_plain(self, manager: Any) -> None:
        kind: Any = type(manager)
        if not hasattr(kind, "__enter__"):
            raise _no_manager(manager)
        self._worker.state = manager.__enter__()
        self._plain = manager

    async def _begin(self, factory: Callable[[], Any], manager: Any) -> None:
        """Have a task enter it, and wait for that."""
        import asyncio

        entered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._leaving = asyncio.Event()
        self._task = asyncio.create_task(self._hold(factory, manager, entered), name="lifespan")
        await entered

    async def _hold(
        self, factory: Callable[[], Any], manager: Any, entered: asyncio.Future[None]
    ) -> None:
        assert self._leaving is not None
        try:
            made = factory() if manager is None else manager
            if not _is_asynchronous(made):
                raise _no_manager(made)  # noqa: TRY301 - the same way as all that fails
            async with made as state:
                self._worker.state = state
                entered.set_result(None)
                await self._leaving.wait()
        except BaseException as error:
            if entered.done():
                raise
            entered.set_exception(
                error if isinstance(error, WorkerStartError) else _failed_entry(error)
            )

    # -- exit -----------------------------------------------------------------

    async def leave(self, works: Collection[asyncio.Task[Any]]) -> None:
        """Leave an asynchronous one, after the works that still run were cancelled.

        On the worker's loop, as the last that it does, but for what works have left behind.
        """
        task, self._task = self._task, None
        if task is None or self._leaving is None:
            return
        import asyncio

        self.busy = True
        timer = self._watch()
        try:
            for work in (running := set(works)):
                work.cancel()
            if running:
                await asyncio.wait(running, timeout=_finite(self._grace))
            self._leaving.set()
            await asyncio.wait({task}, timeout=_finite(self._grace))
            if not task.done():
                timer.cancel()
                self._say_late()
                task.cancel()
                await asyncio.wait({task}, timeout=RELEASE)
            elif task.cancelled():
                self._say_failed(asyncio.CancelledError())
            elif (error := task.exception()) is not None:
                self._say_failed(error)
        finally:
            timer.cancel()
            self.busy = False

    def leave_plain(self) -> None:
        """Leave a plain one. On the worker's main thread, when its loop has ended."""
        manager, self._plain = self._plain, None
        if manager is None:
            return
        self.busy = True
        timer = self._watch()
        try:
            manager.__exit__(None, None, None)
        except BaseException as error:  # noqa: BLE001 - the worker ends all the same
            self._say_failed(error)
        finally:
            timer.cancel()
            self.busy = False

    def _watch(self) -> threading.Timer:
        """Have it said if the thread is stuck that should say so itself."""
        timer = threading.Timer(self._grace + RELEASE, self._say_late)
        be_daemon(timer)
        if self._grace < threading.TIMEOUT_MAX:
            try:
                timer.start()
            except RuntimeError:  # there can be no more threads
                pass
        return timer

    def _say_late(self) -> None:
        _log(
            f"the lifespan of {self._worker.name} was not left within {self._grace:g} s: it is "
            "given up (exit_grace)"
        )

    def _say_failed(self, error: BaseException) -> None:
        said = f"raised {type(error).__name__}: {error}"
        if isinstance(error, RuntimeError) and "generator didn't stop" in str(error):
            said = "has yielded more than once; it must yield exactly once"
        _log(f"the lifespan of {self._worker.name} {said} (when it was left)", error)


def _makes_asynchronous(factory: Callable[[], Any]) -> bool:
    """Whether it is a class of asynchronous context managers, whose making may want a loop."""
    while isinstance(factory, functools.partial):
        factory = factory.func
    return isinstance(factory, type) and _has_aenter(factory)


def _is_asynchronous(manager: Any) -> bool:
    kind: Any = type(manager)
    return _has_aenter(kind)


def _has_aenter(kind: type) -> bool:
    return hasattr(kind, "__aenter__") and hasattr(kind, "__aexit__")


def _no_manager(made: Any) -> WorkerStartError:
    kind: Any = type(made)
    hint = ""
    if issubclass(kind, (Generator, AsyncGenerator)):
        hint = ": it is a generator function that is not decorated"
    elif is_coroutine(made):
        made.close()
        hint = ": it is a coroutine function, which cannot be left"
    failure = WorkerStartError(
        f"the lifespan returned no context manager, but {kind.__name__}{hint}; {_HOW}"
    )
    # The cause says that the next start would fail likewise, in worker threads too.
    failure.__cause__ = TypeError(f"{kind.__name__!r} object is no context manager")
    return failure


def _failed_entry(error: BaseException) -> WorkerStartError:
    said = f"raised {type(error).__name__}: {error}"
    if isinstance(error, RuntimeError) and "generator didn't yield" in str(error):
        said = "did not yield; it must yield exactly once"
    failure = WorkerStartError(f"the lifespan {said} (when it was entered)")
    failure.__cause__ = error
    return failure


def _finite(seconds: float) -> float | None:
    return None if math.isinf(seconds) else seconds


def _log(message: str, error: BaseException | None = None) -> None:
    import logging

    logging.getLogger("aplex").error("%s", message, exc_info=error)
