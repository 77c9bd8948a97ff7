"""What users call: ``submit``, ``map`` and ``stream``, typed once, for executors and views."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar, Unpack, overload

from aplex._common.in_main import imports_main

if TYPE_CHECKING or not imports_main():  # for who asks for the types of parameters
    import os
    from collections.abc import (
        AsyncIterable,
        AsyncIterator,
        Callable,
        Coroutine,
        Iterable,
        Iterator,
    )

    from aplex._calls.gateway import Gateway
    from aplex._common.options import WorkOptions
    from aplex._futures.awaitable import AsyncioFuture
    from aplex._futures.blocking import ConcurrentFuture
    from aplex._map.progress import Bar, Progress
    from aplex.handles import SharedHandle
    from aplex.journals import Journal
    from aplex.outcomes import Outcome
    from aplex.streams import AsyncStream, Stream
    from aplex.typing import MapOptions

P = ParamSpec("P")
T = TypeVar("T")
Awaits = TypeVar("Awaits", bound=bool)
"""Whether results are awaited: ``Literal[True]`` or ``Literal[False]``."""


class Calls(Generic[Awaits]):
    """Has ``submit``, ``map`` and ``stream``.

    Attributes:
        _gateway: What makes works of calls, and submits them.
        _options: Those of the works.
    """

    __slots__ = ()

    _gateway: Gateway
    _options: WorkOptions

    # -- submit ---------------------------------------------------------------

    @overload
    def submit(
        self: Calls[Literal[True]],
        work: Callable[P, Coroutine[Any, Any, T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> AsyncioFuture[T]: ...
    @overload
    def submit(
        self: Calls[Literal[True]],
        work: Callable[P, T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> AsyncioFuture[T]: ...
    @overload
    def submit(
        self: Calls[Literal[False]],
        work: Callable[P, Coroutine[Any, Any, T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> ConcurrentFuture[T]: ...
    @overload
    def submit(
        self: Calls[Literal[False]],
        work: Callable[P, T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> ConcurrentFuture[T]: ...
    # A ParamSpec leaves no place for a keyword argument of ours (PEP 612), so with
    # load_balancing_meta the arguments of the work are not checked.
    @overload
    def submit(  # type: ignore[overload-cannot-match]
        self: Calls[Literal[True]],
        work: Callable[..., Coroutine[Any, Any, T]],
        /,
        *args: Any,
        load_balancing_meta: Any,
        **kwargs: Any,
    ) -> AsyncioFuture[T]: ...
    @overload
    def submit(  # type: ignore[overload-cannot-match]
        self: Calls[Literal[True]],
        work: Callable[..., T],
        /,
        *args: Any,
        load_balancing_meta: Any,
        **kwargs: Any,
    ) -> AsyncioFuture[T]: ...
    @overload
    def submit(  # type: ignore[overload-cannot-match]
        self: Calls[Literal[False]],
        work: Callable[..., Coroutine[Any, Any, T]],
        /,
        *args: Any,
        load_balancing_meta: Any,
        **kwargs: Any,
    ) -> ConcurrentFuture[T]: ...
    @overload
    def submit(  # type: ignore[overload-cannot-match]
        self: Calls[Literal[False]],
        work: Callable[..., T],
        /,
        *args: Any,
        load_balancing_meta: Any,
        **kwargs: Any,
    ) -> ConcurrentFuture[T]: ...
    @overload
    def submit(
        self: Calls[bool], work: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> AsyncioFuture[Any] | ConcurrentFuture[Any]: ...
    def submit(
        self,
        work: Callable[..., Any],
        /,
        *args: Any,
        load_balancing_meta: Any = None,
        **kwargs: Any,
    ) -> AsyncioFuture[Any] | ConcurrentFuture[Any]:
        """Run a work in one of the workers.

        Arguments are captured now: process workers get them as they are at this
        moment. (Thread workers share the objects.)

        Args:
            work: A coroutine function, or any other callable. A coroutine runs on
                the worker's event loop, anything else on a thread beside it.
            *args: Positional arguments of the work.
            load_balancing_meta: Passed to the load balancer.
            **kwargs: Keyword arguments of the work.

        Returns:
            A `ConcurrentFuture`, or with ``awaitable=True`` an `AsyncioFuture` of the
            running loop (or of ``future_loop``). What the work raises, and whatever
            goes wrong with this work only, is the future's exception: among others
            `SerializationError`, `LoadBalancerError` and `WorkerLostError`.

        Raises:
            TypeError: ``work`` is not callable, is a coroutine *object*, or an
                asynchronous generator function.
            RuntimeError: The executor was shut down; or ``awaitable=True`` and no
                loop runs and there is no ``future_loop``; or this is a worker process
                that still imports the main module; or a work of this executor calls,
                and functions that wait for works hold what the new one needs.
            BrokenPoolError: The workers cannot be started.
            PoolFullError: ``max_pending`` works are pending, and the caller must not
                block: with ``awaitable=True``, in a callback of a future, or in a work.
        """
        options = self._options
        if load_balancing_meta is not None:
            options = options.of_meta(load_balancing_meta)
        return self._gateway.submit(options, work, args, kwargs)

    @overload
    async def submit_when_free(
        self: Calls[Literal[True]],
        work: Callable[P, Coroutine[Any, Any, T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> AsyncioFuture[T]: ...
    @overload
    async def submit_when_free(
        self: Calls[Literal[True]],
        work: Callable[P, T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> AsyncioFuture[T]: ...
    async def submit_when_free(
        self, work: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> AsyncioFuture[Any] | ConcurrentFuture[Any]:
        """Wait until there is room (``max_pending``), and submit a work: both, or neither.

        As ``asyncio.Queue.put`` does. For ``awaitable=True`` only: else `submit` waits itself.
        Arguments are captured when the work is submitted. A cancel while it waits has submitted
        nothing, and takes no room.

        Args:
            work: As for `submit`.
            *args: Positional arguments of the work.
            **kwargs: Keyword arguments of the work, all of them.

        Returns:
            The future of the work, as `submit` does: await that for the result.

        Raises:
            ValueError: The executor was made without ``awaitable=True``.
            TypeError: As for `submit`.
            RuntimeError: As for `submit`.
            BrokenPoolError: The workers cannot be started.
        """
        return await self._gateway.submit_when_free(self._options, work, args, kwargs)

    # -- shared objects -------------------------------------------------------

    def share(self, obj: T, /) -> SharedHandle[T]:
        """Share a big object, which nobody changes, with all workers: each gets it once.

        Process workers unpickle it when they are first given it, also those that join later. It is
        captured now. The buffers of what supports pickle protocol 5 (PEP 574: NumPy arrays, Arrow
        tables, frames of pandas) lie in one anonymous shared memory, which all workers map, and
        are read-only there. Worker threads get the object itself.

        Copying a big object takes a while: in an event loop use
        ``await asyncio.to_thread(pool.share, obj)``. With processes the workers start, as with
        the first `submit`.

        Args:
            obj: What is to be shared. It must not hold handles itself.

        Returns:
            A `SharedHandle`. A work that is given it, as an argument or inside a container, gets
            the object. Works that were submitted keep the object until they end.

        Raises:
            SerializationError: Process workers: it cannot be pickled.
            RuntimeError: The executor was shut down; or no workers can be started here.
            BrokenPoolError: The workers cannot be started.
        """
        return self._gateway.share(obj)

    # -- map ------------------------------------------------------------------

    @overload
    def map(
        self: Calls[Literal[True]],
        work: Callable[..., Coroutine[Any, Any, T]],
        *iterables: Iterable[Any] | AsyncIterable[Any],
        return_outcomes: Literal[False] = False,
        **options: Unpack[MapOptions],
    ) -> AsyncIterator[T]: ...
    @overload
    def map(
        self: Calls[Literal[True]],
        work: Callable[..., T],
        *iterables: Iterable[Any] | AsyncIterable[Any],
        return_outcomes: Literal[False] = False,
        **options: Unpack[MapOptions],
    ) -> AsyncIterator[T]: ...
    @overload
    def map(
        self: Calls[Literal[False]],
        work: Callable[..., Coroutine[Any, Any, T]],
        *iterables: Iterable[Any],
        return_outcomes: Literal[False] = False,
        **options: Unpack[MapOptions],
    ) -> Iterator[T]: ...
    @overload
    def map(
        self: Calls[Literal[False]],
        work: Callable[..., T],
        *iterables: Iterable[Any],
        return_outcomes: Literal[False] = False,
        **options: Unpack[MapOptions],
    ) -> Iterator[T]: ...
    @overload
    def map(
        self: Calls[Literal[True]],
        work: Callable[..., Coroutine[Any, Any, T]],
        *iterables: Iterable[Any] | AsyncIterable[Any],
        return_outcomes: Literal[True],
        **options: Unpack[MapOptions],
    ) -> AsyncIterator[Outcome[T]]: ...
    @overload
    def map(
        self: Calls[Literal[True]],
        work: Callable[..., T],
        *iterables: Iterable[Any] | AsyncIterable[Any],
        return_outcomes: Literal[True],
        **options: Unpack[MapOptions],
    ) -> AsyncIterator[Outcome[T]]: ...
    @overload
    def map(
        self: Calls[Literal[False]],
        work: Callable[..., Coroutine[Any, Any, T]],
        *iterables: Iterable[Any],
        return_outcomes: Literal[True],
        **options: Unpack[MapOptions],
    ) -> Iterator[Outcome[T]]: ...
    @overload
    def map(
        self: Calls[Literal[False]],
        work: Callable[..., T],
        *iterables: Iterable[Any],
        return_outcomes: Literal[True],
        **options: Unpack[MapOptions],
    ) -> Iterator[Outcome[T]]: ...
    def map(
        self,
        work: Callable[..., Any],
        *iterables: Iterable[Any] | AsyncIterable[Any],
        timeout: float | None = None,
        chunksize: int | Literal["auto"] = 1,
        buffersize: int | None = None,
        ordered: bool = True,
        return_outcomes: bool = False,
        load_balancing_meta: Any = None,
        progress: bool | str | Callable[[Progress], object] | Bar = False,
        journal: Journal | str | os.PathLike[str] | None = None,
    ) -> Iterator[Any] | AsyncIterator[Any]:
        """Run a work on each item; yield the results in the order of the items.

        Like ``concurrent.futures.Executor.map``, but lazy: as many items as the
        workers can hold (``pool_size * max_works_per_worker``) are submitted now,
        and one more whenever a result is taken. An endless iterable is fine.

        Args:
            work: As for `submit`.
            *iterables: One for each positional argument; the shortest ends the map. With
                ``awaitable=True`` they may be asynchronous, too; the map closes those.
            timeout: Seconds from this call until the last result must be there. None, or
                infinite: no limit.
            chunksize: Items that travel together as one work. More than 1 pays for
                many short works. The coroutines of a chunk run concurrently.
                ``"auto"``: chunks adapt to how long the works take. It submits a few
                items now, the others while results are taken; never more than 8,192
                for each worker (or ``max_works_per_worker``, if that is more) are taken
                from the input and not handed over.
            buffersize: How many items, at most, are taken from the input and not yet
                handed over, as in CPython 3.14; chunks get smaller to fit. None: what
                the workers can hold; for chunks see above.
            ordered: Whether results come in the order of the items. If not, they come as
                works complete.
            return_outcomes: Whether to yield an `Outcome` for each item, which tells what
                it returned or raised, and never to stop at a failure.
            load_balancing_meta: Passed to the load balancer for each work.
            progress: True: show a bar of tqdm on stderr, if that is a terminal, or in the
                notebook; a string: its label; a function, called with a `Progress` in any
                thread; or a bar of your own, that is anything with ``update(n)``. It counts
                items as their works complete, not as they are handed over; and chunks as a
                whole.
            journal: A file, or a `Journal`, that gets what became of each item when it is handed
                over. Items that it has already are not run: they yield the results that it has.
                Those of JSON are the same in all runs: lists for tuples, for example.

        Returns:
            An iterator; with ``awaitable=True`` an asynchronous iterator. Where a
            work raised, it raises, and the works not yet done are cancelled. So they
            are when it is closed, or dropped after a ``break``.

        Raises:
            ValueError: ``chunksize`` or ``buffersize`` is less than 1; or ``timeout`` is NaN.
            ImportError: A bar of tqdm is wanted, and there is no tqdm (``aplex[progress]``).
            TypeError: As for `submit`; ``chunksize`` is no int and not ``"auto"``;
                ``buffersize`` is no int; ``timeout`` is no number; or an iterable is
                asynchronous and the executor is not.
            RuntimeError: The executor was shut down.
            JournalError: The journal is that of another job, or none; or another run writes to it.
            OSError: The journal cannot be opened, or, while iterating, written.
            TimeoutError: While iterating: the timeout passed.
        """
        options = self._options
        if load_balancing_meta is not None:
            options = options.of_meta(load_balancing_meta)
        if buffersize is None:
            buffersize = options.buffersize
        from aplex._map.plan import Plan

        plan = Plan(chunksize, buffersize, ordered, return_outcomes or journal is not None)
        if journal is None:
            return self._gateway.map(options, work, iterables, timeout, plan, progress)
        from aplex.journals import open_journal

        ends = {"ordered": ordered, "outcomes": return_outcomes}
        resuming = open_journal(journal, work, len(iterables), **ends)
        try:
            inputs = resuming.inputs(iterables)
            results = self._gateway.map(options, work, inputs, timeout, plan, progress)
        except BaseException:
            resuming.close()
            raise
        if self._gateway.awaitable:
            return resuming.awaited_results(results)
        return resuming.results(results)

    # -- stream ---------------------------------------------------------------

    @overload
    def stream(
        self: Calls[Literal[True]],
        work: Callable[P, AsyncIterable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> AsyncStream[T]: ...
    @overload
    def stream(
        self: Calls[Literal[True]],
        work: Callable[P, Iterable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> AsyncStream[T]: ...
    @overload
    def stream(
        self: Calls[Literal[False]],
        work: Callable[P, AsyncIterable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Stream[T]: ...
    @overload
    def stream(
        self: Calls[Literal[False]],
        work: Callable[P, Iterable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Stream[T]: ...
    @overload
    def stream(
        self: Calls[bool], work: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> AsyncStream[Any] | Stream[Any]: ...
    def stream(
        self, work: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> AsyncStream[Any] | Stream[Any]:
        """Run a generator in one of the workers; iterate here over what it yields.

        The generator starts now. It runs ahead of the reader by ``buffersize`` items at most
        (16; ``options(buffersize=…)``), counted from when they are yielded until the next one
        is asked for. Items come in order. What it raises, is raised after the items before it.

        Args:
            work: An asynchronous generator function, which runs on the worker's event loop;
                or a generator function, or whatever returns something that can be iterated:
                it runs on the thread for plain functions, and keeps that to its end.
            *args: Positional arguments of the work.
            **kwargs: Keyword arguments of the work, all of them.

        Returns:
            A `Stream`, with ``awaitable=True`` an `AsyncStream`. When it is closed, or dropped
            (after a ``break``), the generator is closed in its worker: its ``finally`` runs.

        Raises:
            TypeError: ``work`` is not callable, or a coroutine function.
            RuntimeError: As for ``submit``.
            BrokenPoolError: The workers cannot be started.
        """
        return self._gateway.stream(self._options, work, args, kwargs)
