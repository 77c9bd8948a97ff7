"""What a single work may ask for, beside its arguments. A leaf.

Every `Work` carries a `WorkOptions`; those of a pool are one object that all its usual
works share, so a work that asks for nothing pays for one attribute.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from aplex._common.adaptive_limit import AdaptiveLimit
from aplex._common.numbers import as_limit, as_seconds, check_count, check_rate, is_int

__all__ = ["WorkOptions"]


@dataclass(frozen=True, slots=True)
class WorkOptions:
    """The options of a work.

    Attributes:
        load_balancing_meta: Passed to the load balancer.
        retries: How many times the work runs again, at most, after its worker has died.
        quarantine_after: Deaths of workers after which it does not run again, whatever
            ``retries`` allows.
        max_concurrency: How many works of its key run at once, at most. ``"auto"`` becomes an
            `AdaptiveLimit`.
        rate: How many works of its key start in a second, at most.
        priority: The higher, the earlier it gets to a worker.
        limit_key: What the limits are counted by; None: the callable.
        buffersize: How many items of a stream or a map, at most, are ahead of who reads them;
            None: 16, or what a map takes by itself.
        label: What messages call the work; None: the name of its callable.
        time_limit: Seconds from the start of the work in its worker; None: no limit. (Infinite
            ones become None.)
        deadline: Seconds from submit; None: no limit, likewise.
        kill_after: Seconds that a plain function has to end after it was interrupted. Infinite:
            its worker is never killed.
        idle_timeout: Seconds for which the reader of a stream waits for an item; None: no limit,
            likewise.
        interruptible: Whether a plain function that runs may be interrupted.
        slow_down: Which outcomes are a sign that works of its key are too many: types of
            exceptions, or a predicate on the `Outcome`.
        retry_on: After which outcomes the work runs again, likewise.
        max_attempts: How often it runs, at most, because of ``retry_on``.
        backoff: Seconds before its second attempt, doubled for each further one, with jitter; or
            what returns the seconds for the number of an attempt.
        items: How many items of a ``map`` it is, with regard to ``max_tasks_per_child``.
        bounded: Whether its ``submit`` waits for room, if the pool has ``max_pending``.
        judged: Whether its outcome is looked at before its future gets it.
        apart: Whether it does not wait in the usual line.
    """

    load_balancing_meta: Any = None
    retries: int = 0
    quarantine_after: int = 3
    max_concurrency: int | Literal["auto"] | AdaptiveLimit | None = None
    rate: float | None = None
    priority: int = 0
    limit_key: Hashable = None
    buffersize: int | None = None
    label: str | None = None
    time_limit: float | None = None
    deadline: float | None = None
    idle_timeout: float | None = None
    kill_after: float = 2.0
    interruptible: bool = True
    slow_down: Any = None
    retry_on: Any = None
    max_attempts: int = 5
    backoff: float | Callable[[int], float] = 1.0
    items: int = 1
    bounded: bool = True
    judged: bool = field(init=False, repr=False, compare=False)
    apart: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            TypeError: A value is of the wrong kind.
            ValueError: A value is too small.
        """
        check_count("retries", self.retries, least=0)
        check_count("quarantine_after", self.quarantine_after)
        check_count("buffersize", self.buffersize, optional=True)
        self._check_limit()
        check_rate("rate", self.rate)
        if not is_int(self.priority):
            raise TypeError(f"priority must be an int, not {self.priority!r}")
        try:
            hash(self.limit_key)
        except TypeError:
            raise TypeError(f"limit_key must be hashable, {self.limit_key!r} is not") from None
        if not isinstance(self.interruptible, bool):
            raise TypeError(f"interruptible must be a bool, not {self.interruptible!r}")
        note = object.__setattr__  # frozen
        note(self, "time_limit", as_limit("time_limit", self.time_limit))
        note(self, "deadline", as_limit("deadline", self.deadline))
        note(self, "idle_timeout", as_limit("idle_timeout", self.idle_timeout))
        note(self, "kill_after", as_seconds("kill_after", self.kill_after))
        self._check_judgement()
        # Noted once, not asked for each work: most have none of these.
        note(self, "judged", self.slow_down is not None or self.retry_on is not None)
        note(self, "apart", self.limited or self.judged or self.priority != 0)

    def _check_limit(self) -> None:
        limit = self.max_concurrency
        if limit == "auto":
            object.__setattr__(self, "max_concurrency", limit := AdaptiveLimit())
        if not isinstance(limit, AdaptiveLimit):
            if isinstance(limit, str):
                raise ValueError(  # noqa: TRY004 - the type is right
                    f"max_concurrency must be an int, 'auto' or None, got {limit!r}"
                )
            check_count("max_concurrency", limit, optional=True)
        elif self.slow_down is None:
            raise ValueError(
                "max_concurrency='auto' needs slow_down=…, which says after which outcomes there "
                "are to be fewer works at once: a type of exception, or a predicate"
            )

    def _check_judgement(self) -> None:
        for name in ("slow_down", "retry_on"):
            sign = getattr(self, name)
            if sign is not None and not is_sign(sign):
                raise TypeError(
                    f"{name} must be a type of exception, a tuple of them, a function of an "
                    f"Outcome, or None, not {sign!r}"
                )
        check_count("max_attempts", self.max_attempts)
        if not callable(self.backoff):
            object.__setattr__(self, "backoff", as_seconds("backoff", self.backoff))

    def of_meta(self, load_balancing_meta: Any) -> WorkOptions:
        """Return these options with another ``load_balancing_meta``."""
        return replace(self, load_balancing_meta=load_balancing_meta)

    def for_map_of(self, work: Hashable) -> WorkOptions:
        """Return the options of the works that a ``map`` is made of.

        A chunk counts as the work it is a chunk of. A map is bounded by itself.
        """
        key = work if self.limited and self.limit_key is None else self.limit_key
        return replace(self, limit_key=key, bounded=False)

    @property
    def limited(self) -> bool:
        """Whether works of its key wait for each other."""
        given = (self.max_concurrency, self.rate, self.slow_down)
        return any(value is not None for value in given)


def is_sign(value: object) -> bool:
    """Whether a value can say which outcomes are meant."""
    if isinstance(value, tuple):
        types: tuple[Any, ...] = value
        return bool(types) and all(map(is_error_type, types))
    return is_error_type(value) or (callable(value) and not isinstance(value, type))


def is_error_type(value: object) -> bool:
    """Whether a value is a type of exceptions."""
    return isinstance(value, type) and issubclass(value, BaseException)


DEFAULTS = WorkOptions()
"""Those of a work that asks for nothing."""
