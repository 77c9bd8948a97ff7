"""Views: an executor with options for the works that are submitted through them.

A view is made by ``executor.options(…)``. It has no life of its own: it starts nothing, and
ends with its executor, which it keeps from being garbage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NoReturn, TypeVar, Unpack

from aplex._calls.surface import Calls
from aplex._common.in_main import imports_main

if TYPE_CHECKING or not imports_main():  # for who asks for the types of parameters
    from aplex._calls.gateway import Gateway
    from aplex._common.options import WorkOptions as Options
    from aplex.typing import WorkOptions

__all__ = ["PoolView"]

Awaits = TypeVar("Awaits", bound=bool)


class _Viewable(Calls[Awaits]):
    """Can be seen with other options: an executor, or a view."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        """Refuse to travel.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            f"a {self._gateway.kind} stays in its process, and works of worker processes cannot "
            "submit to it. Return what is to be done next, and submit it here; or make another "
            "executor in the work"
        )

    def options(self, **options: Unpack[WorkOptions]) -> PoolView[Awaits]:
        """Return a light view whose works have these options; those not named stay as they are.

        Args:
            **options: ``load_balancing_meta``: passed to the load balancer;
                ``retries``: how many times a work runs again, at most, after its worker
                has died (in works; default: that of the executor);
                ``buffersize``: how many items of a stream, at most, are yielded and not yet
                handed over (default: 16); also of a `map` that is not told otherwise;
                ``quarantine_after``: deaths of workers after which it does not run again,
                whatever ``retries`` allow (default: that of the executor);
                ``max_concurrency``: how many works run at once, at most, in the whole pool;
                ``"auto"``, or an `AdaptiveLimit`, follows what ``slow_down`` tells;
                ``rate``: how many start per second, at most, evenly spaced;
                ``limit_key``: what these two count by, anything hashable (default: the callable);
                ``priority``: works that wait for a worker go by it, the highest first
                (default: 0), then in the order of their submits;
                ``time_limit``: seconds from the start of a work in its worker after which it
                is stopped, and its future raises ``TimeoutError`` (default: no limit);
                ``deadline``: the same, from submit (default: no limit);
                ``idle_timeout``: seconds for which the reader of a stream waits for an item; then
                the stream is stopped likewise (default: no limit);
                ``kill_after``: seconds that a plain function of a process worker has to end
                after it was interrupted, before its worker is replaced (default: 2);
                ``interruptible``: whether a plain function that runs may be interrupted
                (default: True);
                ``slow_down``: after which outcomes works of the key are to be fewer: a type of
                exception, a tuple of them, or a function of the `Outcome` that returns whether
                it is one, or the seconds for which the key is to pause; the ``retry_after``, or
                the header ``Retry-After``, of an exception counts, too;
                ``retry_on``: after which outcomes the work runs again, said in the same ways;
                ``max_attempts``: how often it runs because of that, at most (default: 5);
                ``backoff``: seconds before the second attempt, doubled for each further one (60
                at most) and drawn from the upper half; or a function that returns the seconds
                for the number of attempts so far (default: 1).

        Returns:
            A `PoolView`, with ``submit``, ``map`` and ``stream``. It is immutable, costs next to
            nothing, and may be kept, shared between threads, and refined by its own `options`.

        Raises:
            TypeError: An option is of the wrong kind, or unknown.
            ValueError: An option is out of range.
        """
        import dataclasses

        from aplex.typing import WorkOptions

        unknown = set(options) - WorkOptions.__optional_keys__
        if unknown:
            raise TypeError(f"options() got an unexpected option {min(unknown)!r}")
        return PoolView(self._gateway, dataclasses.replace(self._options, **options))

    @property
    def blocking(self) -> PoolView[Literal[False]]:
        """A view on the same workers whose `submit` and `map` block, for plain threads.

        For an executor made with ``awaitable=True``: the endpoints of a web service that are
        plain functions, for example. What is submitted there counts in the same pool.
        """
        return PoolView(self._gateway.face(awaitable=False), self._options)

    @property
    def awaitable(self) -> PoolView[Literal[True]]:
        """A view on the same workers whose results are awaited, for a running event loop."""
        return PoolView(self._gateway.face(awaitable=True), self._options)


class PoolView(_Viewable[Awaits]):
    """A light, immutable view of an executor: works submitted through it have its options.

    Made by ``executor.options(…)``. All keyword arguments of its `submit` and `stream` belong to
    the work, but for the ``load_balancing_meta`` of `submit`.
    """

    __slots__ = ("_gateway", "_options")

    def __init__(self, gateway: Gateway, options: Options) -> None:
        """Use ``executor.options(…)`` instead."""
        self._gateway = gateway
        self._options = options

    def __repr__(self) -> str:
        """Show the options that differ from those of other works, and the executor."""
        import dataclasses

        fields = [field for field in dataclasses.fields(self._options) if field.init]
        values = ((field, getattr(self._options, field.name)) for field in fields)
        shown = [f"{field.name}={value!r}" for field, value in values if value != field.default]
        return f"<options {', '.join(shown)} of {self._gateway!r}>"
