"""What there is to see of the pools of a process, at one moment. Made of its pages."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from aplex._cli.pages import (
    Pages,
    begun_in,
    counts_of,
    lag_in,
    running_in,
)
from aplex._cli.processes import look_at, own_number
from aplex._common.histograms import BYTES, Timing, Timings, summary
from aplex._common.resident import resident
from aplex._wire import page, pool_page
from aplex._wire.page import Memory


@dataclass(frozen=True, slots=True)
class SeenWorker:
    """A worker. Times are in seconds; `ticks` are those of the processors, of its process."""

    slot: int
    id: int
    pid: int | None
    state: str
    in_flight: int
    coroutines: int
    running: str | None
    seconds: float | None
    begun: int
    uptime: float
    rss: int | None
    ticks: int | None
    loop_lag: float = 0.0


@dataclass(frozen=True, slots=True)
class SeenFunction:
    """The works of a function that have ended; `total` is the sum of their times."""

    name: str
    count: int
    total: float
    p50: float
    p99: float
    max: float
    wait_p50: float | None
    wait_p99: float | None


@dataclass(frozen=True, slots=True)
class SeenPool:
    """A pool; the counts are those of ``pool.stats()``."""

    pid: int
    process: str
    name: str
    state: str
    uptime: float
    size: int
    waiting: int
    in_flight: int
    done: int
    failed: int
    cancelled: int
    retried: int
    restarts: int
    workers: tuple[SeenWorker, ...]
    functions: tuple[SeenFunction, ...]

    @property
    def finished(self) -> int:
        """Works that have ended, in whatever way."""
        return self.done + self.failed + self.cancelled

    def as_json(self) -> dict[str, Any]:
        """Return it as what JSON has."""
        return asdict(self)


def pools_in(pages: Pages) -> list[SeenPool]:
    """Return what the pools of a process do now."""
    return [_pool(pages, name, memory) for name, memory in pages.pools.items()]


def _pool(pages: Pages, name: str, memory: Memory) -> SeenPool:
    process = look_at(pages.process.pid)
    _, submitted, waiting, in_flight, failed, cancelled, retried, restarts, *more = counts_of(
        memory
    )
    early, size, state, _ = more
    done = max(0, submitted - waiting - in_flight - failed - cancelled + early)
    own = {number: m for (pool, number), m in pages.workers.items() if pool == name}
    started = memory.words[pool_page.STARTED] / 1e9
    return SeenPool(
        pid=pages.process.pid,
        process="ended" if process is None else process.condition,
        name=name,
        state=pool_page.STATES[min(state, len(pool_page.STATES) - 1)],
        uptime=max(0.0, time.time() - started),
        size=size,
        waiting=waiting,
        in_flight=in_flight,
        done=done,
        failed=failed,
        cancelled=cancelled,
        retried=retried,
        restarts=restarts,
        workers=_workers(pages, memory, own),
        functions=_functions(list(own.values())),
    )


def _workers(pages: Pages, memory: Memory, own: dict[int, Memory]) -> tuple[SeenWorker, ...]:
    near = own_number(pages.process.pid) == pages.process.pid  # else its numbers mean others here
    rows = [
        pool_page.ROW.unpack_from(memory.bytes, pool_page.ROWS_AT + pool_page.ROW.size * at)
        for at in range(min(memory.words[pool_page.ROWS], pool_page.MOST_ROWS))
    ]
    seen = [_worker(row, own.get(row[1]), near=near) for row in rows if row[1]]
    return tuple(sorted(seen, key=lambda worker: (worker.slot, worker.id)))


def _worker(row: tuple[int, ...], memory: Memory | None, *, near: bool) -> SeenWorker:
    slot, number, pid, state, born, coroutines_sent, functions_sent, _ = row
    now = time.monotonic_ns()
    name, since, coroutines, functions, alive, lag = "", 0, 0, 0, 0, 0.0
    if memory is not None:
        with contextlib.suppress(ValueError):
            name, since = running_in(memory)
            coroutines, functions, alive = begun_in(memory)
            lag = lag_in(memory, now / 1e9)
    runs = alive + bool(name)
    ahead = max(0, coroutines_sent - coroutines) + max(0, functions_sent - functions)
    process = look_at(pid) if pid and near else None
    return SeenWorker(
        slot=slot,
        id=number,
        pid=pid or None,
        state=pool_page.WORKER_STATES[min(state, len(pool_page.WORKER_STATES) - 1)],
        in_flight=runs + ahead,
        coroutines=alive,
        running=name or None,
        seconds=max(0, now - since) / 1e9 if name else None,
        begun=coroutines + functions,
        uptime=max(0, now - born) / 1e9,
        rss=None if process is None else resident(pid),
        ticks=None if process is None else process.ticks,
        loop_lag=lag,
    )


def _functions(memories: list[Memory]) -> tuple[SeenFunction, ...]:
    parts: list[Callable[[], list[Timing]]] = []
    for memory in memories:
        with contextlib.suppress(ValueError):
            parts.append(page.timings_in(memory.bytes))
    seen: list[SeenFunction] = []
    for name, pair in Timings(parts).sums.items():
        waited, ran = summary(pair[:BYTES]), summary(pair[BYTES:])
        if ran is None:
            continue
        count, mean, p50, _, p99, longest = ran
        shown = "".join(letter if letter.isprintable() else "?" for letter in name)
        waits = (None, None) if waited is None else (waited[2], waited[4])
        seen.append(SeenFunction(shown, count, mean * count, p50, p99, longest, *waits))
    return tuple(sorted(seen, key=lambda function: -function.total))
