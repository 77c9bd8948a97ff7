"""Views: an executor with options for the works that are submitted through them.

A view is made by ``executor.options(…)``. It has no life of its own: it starts nothing,
holds nothing, and is closed with its executor.
"""

from __future__ import annotations

import dataclasses
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Coroutine,
    Hashable,
    Iterable,
    Iterator,
)
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    NoReturn,
    ParamSpec,
    TypedDict,
    TypeVar,
    Unpack,
    overload,
)

from aplex._calls.surface import Streaming
from aplex._common.options import WorkOptions
from aplex._map.plan import Plan
from aplex.futures import AsyncioFuture, ConcurrentFuture
from aplex.outcomes import Outcome
from aplex.streams import AsyncStream, Stream

if TYPE_CHECKING:
    from aplex.executors import AsyncPoolExecutor

__all__ = ["PoolView"]

P = ParamSpec("P")
T = TypeVar("T")
Awaits = TypeVar("Awaits", bound=bool)


class OptionsOfWorks(TypedDict, total=False):
    """The keyword arguments of ``options``."""

    load_balancing_meta: Any
    retries: int
    quarantine_after: int
    max_concurrency: int | None
    rate: float | None
    priority: int
    key: Hashable
    buffersize: int | None
    timeout: float | None
    deadline: float | None
    grace: float
    interruptible: bool


class MapOptions(TypedDict, total=False):
    """The keyword arguments of ``map``, but for ``return_outcomes``."""

    timeout: float | None
    chunksize: int | Literal["auto"]
    buffersize: int | None
    ordered: bool


class PoolView(Streaming[Awaits]):
    """A light, immutable view of an executor: works submitted through it have its options.

    Made by `AsyncPoolExecutor.options`. May be kept, shared between threads, and refined by
    its own `options`. All keyword arguments of its `submit` and `stream` belong to the work.
    """

    __slots__ = ("_executor", "_options")

    def __init__(self, executor: AsyncPoolExecutor[Awaits], options: WorkOptions) -> None:
        """Use ``executor.options(…)`` instead."""
        self._executor = executor
        self._options = options

    def __repr__(self) -> str:
        """Show the options that differ from those of other works, and the executor."""
        fields = [field for field in dataclasses.fields(self._options) if field.init]
        values = ((field, getattr(self._options, field.name)) for field in fields)
        shown = [f"{field.name}={value!r}" for field, value in values if value != field.default]
        return f"<options {', '.join(shown)} of {self._executor!r}>"

    def __reduce__(self) -> NoReturn:
        """Refuse to travel.

        Raises:
            TypeError: Always.
        """
        raise cannot_travel(self._executor)

    def options(self, **options: Unpack[OptionsOfWorks]) -> PoolView[Awaits]:
        """Return a view with further options; those not named stay as they are here.

        Args:
            **options: As for `AsyncPoolExecutor.options`.

        Raises:
            TypeError: An option is of the wrong kind, or unknown.
            ValueError: An option is out of range.
        """
        return PoolView(self._executor, refined(self._options, options))

    @overload
    def submit(
        self: PoolView[Literal[True]],
        work: Callable[P, Coroutine[Any, Any, T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> AsyncioFuture[T]: ...
    @overload
    def submit(
        self: PoolView[Literal[True]],
        work: Callable[P, T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> AsyncioFuture[T]: ...
    @overload
    def submit(
        self: PoolView[Literal[False]],
        work: Callable[P, Coroutine[Any, Any, T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> ConcurrentFuture[T]: ...
    @overload
    def submit(
        self: PoolView[Literal[False]],
        work: Callable[P, T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> ConcurrentFuture[T]: ...
    @overload
    def submit(
        self: PoolView[bool], work: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> AsyncioFuture[Any] | ConcurrentFuture[Any]: ...
    def submit(
        self, work: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> AsyncioFuture[Any] | ConcurrentFuture[Any]:
        """Run a work in one of the workers, with the options of this view.

        Args:
            work: As for `AsyncPoolExecutor.submit`.
            *args: Positional arguments of the work.
            **kwargs: Keyword arguments of the work, all of them.

        Returns:
            A future, as `AsyncPoolExecutor.submit` does. A work that ran again after the
            death of a worker, and then succeeded, shows nothing of it.

        Raises:
            TypeError: As for `AsyncPoolExecutor.submit`.
            RuntimeError: As for `AsyncPoolExecutor.submit`.
            BrokenPoolError: The workers cannot be started.
        """
        return self._executor._submit(self._options, work, args, kwargs)  # noqa: SLF001

    @overload
    def map(
        self: PoolView[Literal[True]],
        work: Callable[..., Coroutine[Any, Any, T]],
        *iterables: Iterable[Any] | AsyncIterable[Any],
        return_outcomes: Literal[False] = False,
        **options: Unpack[MapOptions],
    ) -> AsyncIterator[T]: ...
    @overload
    def map(
        self: PoolView[Literal[True]],
        work: Callable[..., T],
        *iterables: Iterable[Any] | AsyncIterable[Any],
        return_outcomes: Literal[False] = False,
        **options: Unpack[MapOptions],
    ) -> AsyncIterator[T]: ...
    @overload
    def map(
        self: PoolView[Literal[False]],
        work: Callable[..., Coroutine[Any, Any, T]],
        *iterables: Iterable[Any],
        return_outcomes: Literal[False] = False,
        **options: Unpack[MapOptions],
    ) -> Iterator[T]: ...
    @overload
    def map(
        self: PoolView[Literal[False]],
        work: Callable[..., T],
        *iterables: Iterable[Any],
        return_outcomes: Literal[False] = False,
        **options: Unpack[MapOptions],
    ) -> Iterator[T]: ...
    @overload
    def map(
        self: PoolView[Literal[True]],
        work: Callable[..., Coroutine[Any, Any, T]],
        *iterables: Iterable[Any] | AsyncIterable[Any],
        return_outcomes: Literal[True],
        **options: Unpack[MapOptions],
    ) -> AsyncIterator[Outcome[T]]: ...
    @overload
    def map(
        self: PoolView[Literal[True]],
        work: Callable[..., T],
        *iterables: Iterable[Any] | AsyncIterable[Any],
        return_outcomes: Literal[True],
        **options: Unpack[MapOptions],
    ) -> AsyncIterator[Outcome[T]]: ...
    @overload
    def map(
        self: PoolView[Literal[False]],
        work: Callable[..., Coroutine[Any, Any, T]],
        *iterables: Iterable[Any],
        return_outcomes: Literal[True],
        **options: Unpack[MapOptions],
    ) -> Iterator[Outcome[T]]: ...
    @overload
    def map(
        self: PoolView[Literal[False]],
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
    ) -> Iterator[Any] | AsyncIterator[Any]:
        """Run a work on each item, with the options of this view, in the order of the items.

        With ``chunksize`` > 1 the options hold for each chunk, which is one work.

        Args:
            work: As for `submit`.
            *iterables: As for `AsyncPoolExecutor.map`.
            timeout: Seconds from this call until the last result must be there.
            chunksize: Items that travel together as one work, or ``"auto"``.
            buffersize: How many items, at most, are taken from the input and not yet
                handed over. None: the ``buffersize`` of this view, if it has one.
            ordered: Whether results come in the order of the items, or as works complete.
            return_outcomes: Whether to yield an `Outcome` for each item.

        Returns:
            An iterator, as `AsyncPoolExecutor.map` does.

        Raises:
            ValueError: ``chunksize`` or ``buffersize`` is less than 1.
            TypeError: As for `AsyncPoolExecutor.map`.
            RuntimeError: The executor was shut down.
            TimeoutError: While iterating: the timeout passed.
        """
        if buffersize is None:
            buffersize = self._options.buffersize
        plan = Plan(chunksize, buffersize, ordered, return_outcomes)
        return self._executor._map(self._options, work, iterables, timeout, plan)  # noqa: SLF001

    def _stream(
        self, work: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> AsyncStream[Any] | Stream[Any]:
        return self._executor._open_stream(self._options, work, args, kwargs)  # noqa: SLF001


def cannot_travel(executor: Any) -> TypeError:
    """Return why an executor is not pickled."""
    return TypeError(
        f"a {type(executor).__name__} stays in its process, and works of worker processes cannot "
        "submit to it. Return what is to be done next, and submit it here; or make another "
        "executor in the work"
    )


def refined(options: WorkOptions, changes: OptionsOfWorks) -> WorkOptions:
    """Return options with changes.

    Raises:
        TypeError: An option is of the wrong kind, or unknown.
        ValueError: An option is out of range.
    """
    unknown = set(changes) - set(OptionsOfWorks.__annotations__)
    if unknown:
        raise TypeError(f"options() got an unexpected option {min(unknown)!r}")
    return dataclasses.replace(options, **changes)
