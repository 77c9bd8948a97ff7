"""The InlineAsyncPoolExecutor: runs works at once, so that a test goes the same way each time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, overload

from aplex._testing.inline import InlineBackend, InlineManager
from aplex.executors import ThreadAsyncPoolExecutor

if TYPE_CHECKING:
    from aplex.typing import PoolOptions

Awaits = TypeVar("Awaits", bound=bool)


class InlineAsyncPoolExecutor(ThreadAsyncPoolExecutor[Awaits]):
    """Runs each work at once: `submit` returns when it is done. For tests.

    Plain functions run in the thread that submits them, so breakpoints, thread-local state,
    database connections and monkeypatches work as in a direct call. Coroutines run on the event
    loop of the one worker, while the caller waits; with ``awaitable=True`` the caller's loop
    stands still meanwhile, so a work must not wait for what that loop does.

    So do the works of a `map`, as far ahead as it reads its input. Streams run beside their
    reader. A work that submits to its own executor does not wait there: the new work runs when
    the first has ended, or, as a coroutine, beside it.

    Everything else is that of `ThreadAsyncPoolExecutor`: options, errors, timeouts, outcomes.
    Nothing is pickled: what cannot travel to another process is not found out here.
    """

    _backend = InlineBackend
    _manager_class = InlineManager

    @overload
    def __init__(
        self: InlineAsyncPoolExecutor[Literal[False]],
        pool_size: int | None = ...,
        *,
        awaitable: Literal[False] = ...,
        **options: Unpack[PoolOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: InlineAsyncPoolExecutor[Literal[True]],
        pool_size: int | None = ...,
        *,
        awaitable: Literal[True],
        **options: Unpack[PoolOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: InlineAsyncPoolExecutor[bool],
        pool_size: int | None = ...,
        *,
        awaitable: bool,
        **options: Unpack[PoolOptions],
    ) -> None: ...
    def __init__(
        self, pool_size: int | None = 1, *, awaitable: bool = False, **options: Any
    ) -> None:
        """Make an executor.

        Args:
            pool_size: Number of workers; one works off everything in order.
            awaitable: As for `ThreadAsyncPoolExecutor`.
            **options: The other options of `ThreadAsyncPoolExecutor`.

        Raises:
            ValueError: An option is out of range.
            TypeError: An option is of the wrong kind.
        """
        parent: Any = ThreadAsyncPoolExecutor  # whose overloads name its own type
        parent.__init__(self, pool_size, awaitable=awaitable, **options)
