"""Workers on paper: a test sees what they were sent, and plays their part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, overload

from aplex._backends.contract import Setup
from aplex._backends.memory import MemoryBackend
from aplex._calls.settings import PoolSettings
from aplex._common.messages import CANCELLED, COROUTINE, LANES, PLAIN, RAISED, VALUE, Report
from aplex._pool.state import PoolWorker, Work
from aplex._testing.prompt import PromptManager
from aplex.exceptions import WorkerLostError
from aplex.executors import AsyncPoolExecutor

if TYPE_CHECKING:
    from types import TracebackType

    from aplex.typing import PoolOptions

Awaits = TypeVar("Awaits", bound=bool)


class PaperCall:
    """A work that a worker on paper has been sent.

    Attributes:
        function: What was submitted.
        args: Its positional arguments, the very objects.
        kwargs: Its keyword arguments.
        is_coroutine: Whether it runs on the worker's event loop.
    """

    def __init__(self, worker: PaperWorker, work: Work) -> None:
        """Use `PaperWorker.calls` instead."""
        self._worker = worker
        self._work = work
        self.function, (self.args, self.kwargs) = work.function, work.call
        self.is_coroutine = work.lane == COROUTINE

    def __repr__(self) -> str:
        """Show the call."""
        given = [*map(repr, self.args), *(f"{k}={v!r}" for k, v in self.kwargs.items())]
        return f"<call {self._work.id} {self._work.name}({', '.join(given)})>"

    @property
    def cancel_wanted(self) -> bool:
        """Whether the caller has cancelled its future."""
        return self._work.cancel_wanted or self._work.cancel_asked

    def succeed(self, result: object = None) -> None:
        """Let the work return.

        Raises:
            RuntimeError: It has ended, or its worker has.
        """
        self._report(VALUE, result)

    def fail(self, error: BaseException) -> None:
        """Let the work raise.

        Raises:
            RuntimeError: It has ended, or its worker has.
        """
        self._report(RAISED, error)

    def obey(self) -> None:
        """Let the work end cancelled.

        Raises:
            RuntimeError: It has ended, or its worker has.
        """
        self._report(CANCELLED, None)

    def _report(self, kind: int, data: Any) -> None:
        if not self._worker.has(self._work):
            raise RuntimeError(f"{self!r} is not with this worker any more")
        self._worker.report((self._work.id, kind, data), self._work.lane)


class PaperWorker:
    """A worker on paper."""

    def __init__(self, backend: PaperBackend, worker: PoolWorker) -> None:
        """Use `PaperAsyncPoolExecutor.workers` instead."""
        self._backend = backend
        self._worker = worker

    def __repr__(self) -> str:
        """Show its number and what it has."""
        return f"<paper {self._worker!r}>"

    @property
    def index(self) -> int:
        """Its place in the pool, from 0; its successor has the same."""
        return self._worker.index

    @property
    def calls(self) -> Sequence[PaperCall]:
        """What it was sent and has not ended, in order."""
        sent = self._backend.sent.get(self._worker, [])
        aboard = self._worker.works
        works = [item for item in sent if isinstance(item, Work) and aboard.get(item.id) is item]
        return [PaperCall(self, work) for work in works]

    def has(self, work: Work) -> bool:
        """Whether a work is with it, and has not ended."""
        return work.worker is self._worker and not work.is_done

    def report(self, report: Report, lane: int) -> None:
        """Let it report the end of a work."""
        self._backend.report(self._worker, report, lane=lane)

    def ready(self) -> None:
        """Let it serve; only for one that does not, see ``ready`` of the executor."""
        self._backend.ready(self._worker)

    def die(self, *, started: bool = True) -> None:
        """Let it die as by SIGKILL.

        Args:
            started: Whether it had started the works that it had. Those fail, or run again as
                far as their ``retries`` allow; others just go to another worker.
        """
        self._backend.die_as(self._worker, started=started)


class PaperBackend(MemoryBackend):
    """Workers on paper that begin and end by themselves."""

    def __init__(self, setup: Setup, *, ready: bool) -> None:
        super().__init__(setup)
        self._ready = ready

    def start(self, worker: PoolWorker) -> None:
        super().start(worker)
        if self._ready:
            self._afterwards(partial(self.ready, worker))

    def stop(self, worker: PoolWorker) -> None:
        super().stop(worker)
        self._afterwards(partial(self.die_as, worker, started=True))

    def kill(self, worker: PoolWorker) -> None:
        super().kill(worker)
        self._afterwards(partial(self.die_as, worker, started=True))

    def _afterwards(self, call: Callable[[], None]) -> None:
        """Make a call when the step is over, once: it takes a step itself."""
        calls = [call]
        self.events.after_step(lambda: calls.pop()() if calls else None)

    def die_as(self, worker: PoolWorker, *, started: bool) -> None:
        """Let a worker end, if it is there."""
        if self.sent.pop(worker, None) is None:
            return
        count = [worker.seqs[COROUTINE], worker.seqs[PLAIN]]
        if not started:
            for lane in LANES:
                aboard = [work.seq for work in worker.works.values() if work.lane == lane]
                count[lane] = min(aboard, default=count[lane] + 1) - 1
        names = tuple(work.name for work in worker.works.values())
        error = WorkerLostError(None, -9, len(names), works=names, works_done=worker.works_done)
        self.die(worker, (count[0], count[1]), error)


class PaperAsyncPoolExecutor(AsyncPoolExecutor[Awaits]):
    """An executor whose workers exist on paper: nothing runs until a test says what comes of it.

    For tests of code that schedules, retries, limits or cancels works: the order of events is
    that of the test, and no process or thread is started for workers.

    Example:
        >>> with PaperAsyncPoolExecutor(1) as pool:
        ...     future = pool.submit(pow, 2, 5)
        ...     (call,) = pool.workers[0].calls
        ...     call.succeed(32)
        ...     future.result()
        32

    A ``with`` block kills the workers at its end, if calls are left that nobody has ended, and
    raises ``RuntimeError`` then, unless the block has raised.
    """

    _manager_class = PromptManager

    @overload
    def __init__(
        self: PaperAsyncPoolExecutor[Literal[False]],
        pool_size: int | None = ...,
        *,
        awaitable: Literal[False] = ...,
        ready: bool = ...,
        **options: Unpack[PoolOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: PaperAsyncPoolExecutor[Literal[True]],
        pool_size: int | None = ...,
        *,
        awaitable: Literal[True],
        ready: bool = ...,
        **options: Unpack[PoolOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: PaperAsyncPoolExecutor[bool],
        pool_size: int | None = ...,
        *,
        awaitable: bool,
        ready: bool = ...,
        **options: Unpack[PoolOptions],
    ) -> None: ...
    def __init__(
        self,
        pool_size: int | None = 1,
        *,
        awaitable: bool = False,
        ready: bool = True,
        **options: Any,
    ) -> None:
        """Make an executor.

        Args:
            pool_size: Number of workers.
            awaitable: As for `ThreadAsyncPoolExecutor`.
            ready: Whether workers serve as soon as they are started; else a test says so.
            **options: The options of `ThreadAsyncPoolExecutor`. Those about what a worker does
                (``initializer``, ``lifespan``) are kept and do nothing.

        Raises:
            ValueError: An option is out of range.
            TypeError: An option is of the wrong kind.
        """
        backend = partial(PaperBackend, ready=ready)
        super().__init__(backend, PoolSettings(pool_size=pool_size, awaitable=awaitable, **options))

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Shut down; what nobody has ended would keep us here for ever."""
        left = self._kill_left()
        super().__exit__(exc_type, exc_val, exc_tb)
        if left and exc_type is None:
            raise RuntimeError(f"{left}: nobody has ended them")

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Shut down, as `__exit__` does."""
        left = self._kill_left()
        await super().__aexit__(exc_type, exc_val, exc_tb)
        if left and exc_type is None:
            raise RuntimeError(f"{left}: nobody has ended them")

    def _kill_left(self) -> str:
        """Kill the workers if calls are left; return these."""
        left = [call for worker in self.workers for call in worker.calls]
        if left:
            self._manager.end_workers(kill=True)
        return ", ".join(map(repr, left))

    @property
    def workers(self) -> Sequence[PaperWorker]:
        """The workers that were started and have not ended, in order. None before the first work.

        Returns:
            One for each; with several kept, two stand for the same worker.
        """
        backend = self._manager.backend
        assert isinstance(backend, PaperBackend)
        return [PaperWorker(backend, w) for w in backend.started if w in backend.sent]
