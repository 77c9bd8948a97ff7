"""What a workload is: a measurement that any peer can be put through."""

import statistics
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import processes
import works
from peers import Entry, Settings
from peers.base import Call, ChunkSize, Peer, Work

Figures = dict[str, float]


@dataclass(frozen=True)
class Metric:
    """One figure a workload gives; the first one of a workload is what is compared."""

    name: str
    more_is_better: bool = False


RATE = Metric("works/s", more_is_better=True)
CPU = Metric("CPU µs/work")


@dataclass(frozen=True)
class Task:
    """One measurement, about to be done in a process of its own."""

    entry: Entry
    workers: int
    count: int
    settings: Settings
    chunksize: ChunkSize = 1
    quick: bool = False

    @property
    def free_work(self) -> Work:
        """A work that costs nothing, of a kind the peer can run."""
        return works.same_later if self.entry.coroutines_only else works.same

    @contextmanager
    def pool(self) -> Iterator[Peer]:
        peer = self.entry.make(self.workers, self.settings)
        peer.open()
        if self.entry.in_processes:
            wait_for_all(peer, self)
        yield peer
        peer.close()


@dataclass(frozen=True)
class Workload:
    """A measurement, who takes part in it (the first one is compared with), how much of it."""

    name: str
    title: str
    peers: tuple[str, ...]
    metrics: tuple[Metric, ...]
    measure: Callable[[Task], Figures]
    full: int
    quick: int
    in_quick: bool = True
    apart: bool = False  # only measured when it is asked for
    pinned: bool = False  # everything on one core
    chunksizes: tuple[int, ...] = (1,)  # the best one is measured, with --quick the first
    tries_settings: bool = True
    settings: Settings = field(default_factory=dict)  # for every peer
    fewer: Mapping[str, int] = field(default_factory=dict)  # divides the count of a peer

    def choices(self, entry: Entry) -> list[Settings]:
        """The settings to try for a peer; a chunk size of its own goes before the workload's."""
        tried = entry.settings if self.tries_settings else entry.settings[:1]
        sizes: list[Settings] = [{}]
        if self.chunksizes != (1,):
            sizes = [{"chunksize": size} for size in self.chunksizes]
        choices = [{**size, **one} for one in tried for size in sizes]
        return [choice for place, choice in enumerate(choices) if choice not in choices[:place]]

    def task(self, entry: Entry, choice: Settings, *, quick: bool, workers: int) -> Task:
        choice = {**self.settings, **choice}
        count = self.quick if quick else self.full
        less = self.fewer.get(entry.name, entry.slowness if self.metrics[0] == RATE else 1)
        chunksize: ChunkSize = choice.pop("chunksize", self.chunksizes[0])
        return Task(entry, workers, max(1, count // less), choice, chunksize, quick)


def wait_for_all(pool: Peer, task: Task, seconds: float = 2) -> None:
    """Have every worker process up: the first one must not do the work of all meanwhile."""
    work = works.who_later if task.entry.coroutines_only else works.who
    seen: set[Any] = set()
    end = time.monotonic() + seconds
    while len(seen) < task.workers and time.monotonic() < end:
        seen.update(pool.submit_all([(work, number) for number in range(8 * task.workers)]))


def warm_up(pool: Peer, calls: list[Call]) -> None:
    """Have everything imported and every path taken."""
    pool.submit_all(calls[: max(20, len(calls) // 20)])


def timed(
    action: Callable[[], list[Any]], count: int, apart: Collection[int] = ()
) -> tuple[Figures, list[Any]]:
    """Run it; return its rate and what it cost the family of processes but those apart."""
    pids = [pid for pid in processes.family() if pid not in apart]
    cpu = processes.cpu_seconds(pids)
    before = time.perf_counter()
    results = action()
    seconds = time.perf_counter() - before
    used = processes.grown(cpu, processes.cpu_seconds(pids))
    return {RATE.name: count / seconds, CPU.name: used / count * 1e6}, results


def percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
