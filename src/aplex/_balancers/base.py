"""What load balancers are made of, and what they see of workers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from types import MappingProxyType
from typing import Any, ClassVar, Final, Protocol, TypeAlias, overload

PUBLIC: Final = "aplex.load_balancers"


class Worker(Protocol):
    """What a load balancer may know of a worker."""

    @property
    def id(self) -> int:
        """Number of the worker in its pool; a replacement gets a new one."""
        ...

    @property
    def pid(self) -> int | None:
        """Process id; None while it starts, and for workers that are threads."""
        ...

    @property
    def node(self) -> str | None:
        """The machine on which a remote worker runs; None while it starts, and on this machine."""
        ...

    @property
    def workload(self) -> int:
        """Works in flight now, in works."""
        ...

    @property
    def index(self) -> int:
        """Its place in the pool, from 0; a replacement has the same."""
        ...

    @property
    def loop_lag(self) -> float:
        """How long coroutines wait for their turn in its event loop, in seconds, lately.

        If something blocks the loop just now, at least since when.
        """
        ...

    @property
    def available(self) -> bool:
        """Whether it serves and has room for the work that is asked about."""
        ...


Worker.__module__ = PUBLIC  # inside, it would be a part of the protocol


class LoadBalancer(ABC):
    """Base of load balancers.

    An instance belongs to one pool. Its methods are called one at a time, under
    the pool's lock: they must be quick, and must not wait for the pool.

    One may also be made by hand, to test it: of any workers, and a dictionary of their
    workloads. Then these say who has room. (A worker whose ``available`` is False has none.)

    Args:
        workers: Read-only view of the pool's workers, the starting ones too.
        workloads: Read-only view: worker -> works in flight, in works.
        max_works_per_worker: The limit of each worker, in works.
    """

    __module__ = PUBLIC
    keeps_choice: ClassVar[bool] = True
    """Whether a work waits for the chosen worker if that one has no room.

    True for every subclass that defines ``get_proper_worker`` itself and does not
    say otherwise: such a choice is a pin. If False, the choice must be available.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """A new way to choose is a pin unless the class says otherwise."""
        super().__init_subclass__(**kwargs)
        if "get_proper_worker" in vars(cls) and "keeps_choice" not in vars(cls):
            cls.keeps_choice = True

    def __init__(
        self,
        workers: Sequence[Worker],
        workloads: Mapping[Worker, int],
        max_works_per_worker: int,
    ) -> None:
        """Keep the views. Call it when you override it."""
        self._workers = workers
        self._workloads = workloads
        self._max_works_per_worker = max_works_per_worker
        # A pool asks often: its workers are asked without a detour.
        self._has_room: Callable[[Worker], bool] = attrgetter("available")
        self._load: Callable[[Worker], int] = attrgetter("workload")
        self._are_of_pool = bool(getattr(workers, "is_of_pool", False))
        if not self._are_of_pool:
            self._workers = _ReadOnly(workers)
            self._workloads = MappingProxyType(workloads)
            self._has_room = self._has_room_by_load
            self._load = self._workloads.__getitem__

    def _has_room_by_load(self, worker: Worker) -> bool:
        """Whether a worker that is of no pool has room."""
        free = self._workloads[worker] < self._max_works_per_worker
        return free and getattr(worker, "available", True) is not False

    @property
    def workers(self) -> Sequence[Worker]:
        """The pool's workers, in the order they were made. Read-only."""
        return self._workers

    @property
    def workloads(self) -> Mapping[Worker, int]:
        """Works in flight each worker, in works. Read-only."""
        return self._workloads

    @property
    def max_works_per_worker(self) -> int:
        """How many works a worker may have in flight, in works."""
        return self._max_works_per_worker

    def is_available(self, worker: Worker) -> bool:
        """Return whether the worker serves and has room for the work asked about."""
        return self._has_room(worker)

    def get_available_workers(self) -> list[Worker]:
        """Return the workers that serve and have room for the work asked about."""
        return list(filter(self._has_room, self._workers))

    @abstractmethod
    def get_proper_worker(self, load_balancing_meta: Any = None) -> Worker:
        """Choose the worker for a work.

        A subclass may also define it without ``load_balancing_meta``.

        Args:
            load_balancing_meta: What the caller passed to ``submit`` or ``map``.

        Returns:
            One of ``workers``. If it has no room now the work waits for it
            (see ``keeps_choice``).
        """


class _ReadOnly(Sequence[Worker]):
    """Workers that are of no pool, read-only."""

    __slots__ = ("_workers",)

    def __init__(self, workers: Sequence[Worker]) -> None:
        self._workers = workers

    @overload
    def __getitem__(self, index: int) -> Worker: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Worker]: ...
    def __getitem__(self, index: int | slice) -> Worker | Sequence[Worker]:
        return self._workers[index]

    def __len__(self) -> int:
        return len(self._workers)

    def __iter__(self) -> Iterator[Worker]:
        return iter(self._workers)

    def __repr__(self) -> str:
        return repr(tuple(self._workers))


LoadBalancerFactory: TypeAlias = Callable[
    [Sequence[Worker], Mapping[Worker, int], int], LoadBalancer
]
"""A `LoadBalancer` class, or anything that is called with the same arguments."""


def chooser(balancer: LoadBalancer) -> Callable[[Any], Worker]:
    """Return the balancer's ``get_proper_worker`` as a function of the meta.

    The 2019 documentation defined it without a parameter; both forms work.
    """
    import inspect  # not with the module, which all workers import

    choose: Callable[..., Worker] = balancer.get_proper_worker
    try:
        inspect.signature(choose).bind(None)
    except TypeError:
        return lambda _meta: choose()
    return choose
