"""What a load balancer sees of the workers: read-only views of the pool's list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import overload

from aplex._pool.state import PoolWorker
from aplex.load_balancers import Worker


class WorkersView(Sequence[PoolWorker]):
    """The workers, read-only, for load balancers."""

    __slots__ = ("_workers",)
    is_of_pool = True

    def __init__(self, workers: list[PoolWorker]) -> None:
        self._workers = workers

    @overload
    def __getitem__(self, index: int) -> PoolWorker: ...
    @overload
    def __getitem__(self, index: slice) -> list[PoolWorker]: ...
    def __getitem__(self, index: int | slice) -> PoolWorker | list[PoolWorker]:
        return self._workers[index]

    def __len__(self) -> int:
        return len(self._workers)

    def __iter__(self) -> Iterator[PoolWorker]:
        return iter(self._workers)

    def __repr__(self) -> str:
        return repr(tuple(self._workers))


class WorkloadsView(Mapping[Worker, int]):
    """Worker -> works in flight, read-only, for load balancers."""

    __slots__ = ("_workers",)

    def __init__(self, workers: list[PoolWorker]) -> None:
        self._workers = workers

    def __getitem__(self, worker: Worker) -> int:
        if worker not in self._workers:
            raise KeyError(worker)
        return worker.workload

    def __iter__(self) -> Iterator[Worker]:
        return iter(self._workers)

    def __len__(self) -> int:
        return len(self._workers)

    def __repr__(self) -> str:
        return repr(dict(self))
