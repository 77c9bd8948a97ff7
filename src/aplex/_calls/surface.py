"""The method ``stream``, which an executor and its views have in common."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar, overload

from aplex._calls.lanes import stream_lane_of
from aplex._common.messages import RAISED
from aplex._common.options import WorkOptions
from aplex._pool.inflow import Inflow
from aplex._pool.state import Work
from aplex._worker.producers import produce
from aplex.exceptions import SerializationError
from aplex.streams import AsyncStream, Stream, this_reader

if TYPE_CHECKING:
    from aplex._manager.manager import Manager

P = ParamSpec("P")
T = TypeVar("T")
Awaits = TypeVar("Awaits", bound=bool)
Loop = asyncio.AbstractEventLoop

BUFFERSIZE = 16
"""Items ahead of the reader, unless ``options(buffersize=…)`` says otherwise."""


class Streaming(Generic[Awaits]):
    """Has the method ``stream``."""

    __slots__ = ()

    @overload
    def stream(
        self: Streaming[Literal[True]],
        work: Callable[P, AsyncIterable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> AsyncStream[T]: ...
    @overload
    def stream(
        self: Streaming[Literal[True]],
        work: Callable[P, Iterable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> AsyncStream[T]: ...
    @overload
    def stream(
        self: Streaming[Literal[False]],
        work: Callable[P, AsyncIterable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Stream[T]: ...
    @overload
    def stream(
        self: Streaming[Literal[False]],
        work: Callable[P, Iterable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Stream[T]: ...
    @overload
    def stream(
        self: Streaming[bool], work: Callable[..., Any], /, *args: Any, **kwargs: Any
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
        return self._stream(work, args, kwargs)

    def _stream(
        self, work: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> AsyncStream[Any] | Stream[Any]:
        raise NotImplementedError


def open_stream(
    take: Callable[[Work, Loop | None], None],
    manager: Manager,
    encode: Callable[..., tuple[Any, Any]],
    options: WorkOptions,
    call: tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]],
    loop: Loop | None,
) -> AsyncStream[Any] | Stream[Any]:
    """Submit a stream.

    Args:
        take: Takes the work in.
        manager: That of the pool.
        encode: That of the back end.
        options: Those of the work.
        call: The work, its positional and its keyword arguments.
        loop: The event loop that awaits the items; None: they are not awaited.

    Raises:
        TypeError: The work is none, or no stream.
        RuntimeError: The executor was shut down.
        BrokenPoolError: It is broken.
    """
    work, args, kwargs = call
    lane = stream_lane_of(work)
    inflow = Inflow(options.buffersize or BUFFERSIZE, loop, this_reader())
    stream: Any = (Stream if loop is None else AsyncStream)(manager, inflow)
    try:
        function, packed = encode(produce, (inflow.size, work, *args), kwargs)
    except SerializationError as failure:
        manager.check_open()
        inflow.end = RAISED, _named(failure, encode, call)
        return stream  # type: ignore[no-any-return]
    item = Work(lane, function, packed, options.load_balancing_meta, inflow)
    item.manager, item.options, item.target, item.is_stream = manager, options, work, True
    running = asyncio._get_running_loop()  # noqa: SLF001 - documented, for libraries
    stream._begin(item)  # noqa: SLF001 - if Ctrl-C breaks in from here, its finalizer cancels
    take(item, loop if loop is running else None)
    return stream  # type: ignore[no-any-return]


def _named(
    failure: SerializationError, encode: Callable[..., tuple[Any, Any]], call: tuple[Any, ...]
) -> SerializationError:
    """Return the failure in the words of a call that is no stream: about the user's function."""
    try:
        encode(*call)
    except SerializationError as error:
        return error
    return failure
