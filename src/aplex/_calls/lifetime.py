"""How an executor lives: its start, its size, and its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar, overload

from aplex._common.in_main import imports_main
from aplex._common.numbers import as_seconds, check_count

if TYPE_CHECKING or not imports_main():  # for who asks for the types of parameters
    import asyncio
    from collections.abc import Coroutine
    from types import TracebackType

    from aplex._calls.gateway import Gateway
    from aplex.dumps import PoolDump
    from aplex.recordings import Recording
    from aplex.statistics import PoolStats

Awaits = TypeVar("Awaits", bound=bool)


class Lifetime(Generic[Awaits]):
    """Has ``start``, ``resize`` and ``shutdown``, and is a context manager of both kinds."""

    _gateway: Gateway

    @overload
    def start(
        self: Lifetime[Literal[True]], at_least: int | None = None
    ) -> Coroutine[Any, Any, None]: ...
    @overload
    def start(self: Lifetime[Literal[False]], at_least: int | None = None) -> None: ...
    @overload
    def start(
        self: Lifetime[bool], at_least: int | None = None
    ) -> Coroutine[Any, Any, None] | None: ...
    def start(self, at_least: int | None = None) -> Coroutine[Any, Any, None] | None:
        """Start the workers now, and wait until they serve; with ``awaitable=True`` await it.

        Without it the first works wait for the workers, which start with the first `submit`.
        May be called again: it waits for those that do not serve yet.

        Args:
            at_least: How many workers must serve. None: all.

        Raises:
            BrokenPoolError: They cannot be started; says why.
            RuntimeError: The executor was shut down; or this thread must not wait.
            TypeError: ``at_least`` is no int.
            ValueError: It is less than 1, or more than there are workers.
        """
        from aplex._calls.starting import start_awaited, start_blocking

        manager = self._gateway.manager
        if self._gateway.awaitable:
            return start_awaited(manager, at_least)
        start_blocking(manager, at_least)
        return None

    @property
    def max_workers(self) -> int:
        """The number of workers, that of `resize` if there was one."""
        return self._gateway.manager.pool.size

    @property
    def _max_workers(self) -> int:
        """What libraries read that know the executors of the standard library."""
        return self._gateway.manager.pool.size

    def stats(self) -> PoolStats:
        """Return a snapshot of what the pool does: counts of works, and what each worker runs.

        It waits for nobody: not for a worker that computes or hangs, not for another thread. It
        may be called from any thread, in a coroutine, in a work of a thread worker, and after the
        shutdown. Of works that end while it looks, the counts and the workers may tell different
        moments.

        Returns:
            A `PoolStats`.
        """
        return self._gateway.manager.stats()

    @overload
    def dump(
        self: Lifetime[Literal[True]], timeout: float = 1.0
    ) -> Coroutine[Any, Any, PoolDump]: ...
    @overload
    def dump(self: Lifetime[Literal[False]], timeout: float = 1.0) -> PoolDump: ...
    @overload
    def dump(
        self: Lifetime[bool], timeout: float = 1.0
    ) -> Coroutine[Any, Any, PoolDump] | PoolDump: ...
    def dump(self, timeout: float = 1.0) -> Coroutine[Any, Any, PoolDump] | PoolDump:
        """Return every work in every worker, with its age and its stack; print it to read it.

        With ``awaitable=True`` it is to be awaited. Coroutines show what they await, down to the
        innermost call, as ``asyncio.Task.get_stack`` and ``asyncio.print_call_graph`` (CPython
        3.14) do; functions show the stack of their thread. A thread of the worker that runs no
        works answers, so it does while its event loop is blocked, too. Of a worker that does not
        answer in time, what is known without it is told.

        In a signal handler, a finalizer or a load balancer that has broken into a call of this
        executor, and in callbacks of futures, it does not wait for the workers: then only worker
        threads have answered.

        If it is cancelled while it is awaited, nothing is left behind.

        Args:
            timeout: Seconds that the workers have to answer.

        Raises:
            TypeError: ``timeout`` is no number.
            ValueError: It is negative, or NaN.
        """
        from aplex._calls.dumping import dump_awaited, dump_blocking

        seconds = as_seconds("timeout", timeout)
        manager = self._gateway.manager
        if self._gateway.awaitable:
            return dump_awaited(manager, seconds)
        return dump_blocking(manager, seconds)

    def record(self, *, limit: int = 1_000_000, messages: bool = False) -> Recording:
        """Return a recording of what the pool does, which begins with its ``with`` block.

        It keeps when each work was submitted, sent, begun and ended, where, and what became of
        it; and the life of each worker. Arguments and results are never kept.

        Args:
            limit: How many works are kept. When there are an eighth more, or at least those of
                a frame, the oldest are dropped and counted; those that are not done never are.
            messages: Whether to keep what exceptions say, and not only their types.

        Returns:
            A `Recording`. Several may go on at a time.

        Raises:
            TypeError: ``limit`` is no int.
            ValueError: ``limit`` is less than 1.
        """
        from aplex._observe.source import Source
        from aplex.recordings import Recording

        check_count("limit", limit)
        return Recording(Source(self._gateway.manager, limit, messages=messages))

    @property
    def recording(self) -> Recording | None:
        """The recording of all that the pool does, by ``record=``; None if there is none."""
        return self._gateway.recording

    def set_future_loop(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Set the loop that futures belong to from now on; None: the running one.

        Raises:
            ValueError: The executor was made without ``awaitable=True``.
            RuntimeError: The executor was shut down.
            BrokenPoolError: The workers cannot be started.
            TypeError: ``loop`` is no event loop.
        """
        self._gateway.manager.check_open()
        if not self._gateway.awaitable:
            raise ValueError("set_future_loop needs an executor made with awaitable=True")
        from aplex._calls.settings import check_loop

        check_loop("loop", loop)
        self._gateway.future_loop = loop

    def resize(self, pool_size: int) -> None:
        """Have another number of workers, while works run.

        Returns at once. More: new workers start. Fewer: those that have the least to do
        get no more works, finish those they have, and end. May be called from any thread.

        Args:
            pool_size: The number of workers from now on.

        Raises:
            TypeError: It is no int.
            ValueError: It is less than 1.
            RuntimeError: The executor was shut down.
            BrokenPoolError: The workers cannot be started.
        """
        check_count("pool_size", pool_size)
        self._gateway.manager.resize(pool_size)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        """Take no more works, and end the workers when the submitted works are done.

        May be called from any thread, and more than once.

        Args:
            wait: Block until the workers have ended. (In a callback of a future, in a
                work of a thread worker, or in a signal handler that has broken into a
                call of this executor, it returns at once: the end would wait for
                itself.) In a coroutine use ``async with``, or `aclose`, which do not block.
                Streams that this thread reads are cancelled: it could not go on reading.
            cancel_futures: Cancel the works that wait for a worker.

        Before, the input of a `map` that nobody has begun to iterate is read to its end, unless
        ``cancel_futures`` or the map's ``buffersize`` was given. What the input raises, is
        raised here.
        """
        self._gateway.finalizer.detach()
        try:
            if not cancel_futures:
                self._gateway.read_out()
        finally:
            self._gateway.unread.forget()
            self._gateway.manager.close(cancel_waiting=cancel_futures)
        if wait:
            self._gateway.cancel_streams_of_thread()
            self._gateway.manager.wait()

    def __enter__(self) -> Self:
        """Return the executor."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Wait for the works; if an exception leaves the block, cancel them first."""
        if exc_type is None:
            try:
                self._gateway.read_out()
            except BaseException as error:
                self.__exit__(type(error), error, error.__traceback__)
                raise
        self.shutdown(wait=False, cancel_futures=exc_type is not None)
        self._gateway.cancel_streams_of_thread()
        self._gateway.manager.wait(self._cancel_for(exc_type))

    async def aclose(self) -> None:
        """Do what `shutdown` does, without blocking the event loop.

        Returns when the workers have ended. May be awaited more than once. For the end of an
        executor that is kept in an object; where there is a block of code, use ``async with``.
        """
        await self.__aexit__(None, None, None)

    async def __aenter__(self) -> Self:
        """Return the executor."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Wait for the works; if an exception leaves the block, cancel them first."""
        if exc_type is None:
            try:
                if not self._gateway.manager.is_shut:
                    await self._gateway.unread.read_all_out()
            except BaseException as error:
                await self.__aexit__(type(error), error, error.__traceback__)
                raise
        self.shutdown(wait=False, cancel_futures=exc_type is not None)
        self._gateway.cancel_streams_of_task()
        timeout = self._cancel_for(exc_type)
        import asyncio

        gone = asyncio.wrap_future(self._gateway.manager.gone)
        await asyncio.wait((gone,), timeout=timeout)
        self._gateway.manager.wait(0)

    def _cancel_for(self, exc_type: type[BaseException] | None) -> float | None:
        """Cancel works as an exception that leaves a block asks for.

        Returns:
            How long to wait for the end, in seconds; None: until it comes.
        """
        if exc_type is None:
            return None
        from asyncio import CancelledError

        if issubclass(exc_type, (KeyboardInterrupt, CancelledError)):
            return self._gateway.manager.interrupt()
        self._gateway.manager.cancel_all()
        return None
