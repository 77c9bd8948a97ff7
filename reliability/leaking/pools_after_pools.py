"""Many pools, one after another, and what they leave."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aplex import ProcessAsyncPoolExecutor, ThreadAsyncPoolExecutor
from reliability.load import works
from reliability.report.figures import Report
from reliability.system.belongings import belongings, names, new_names

BIG: Final = 1_000_000  # bytes, enough to travel through shared memory


def run(pools: int) -> Report:
    """Open and close so many pools of each engine."""
    report = Report(f"{pools:,} pools of each engine, opened and closed")
    for kind in ProcessAsyncPoolExecutor, ThreadAsyncPoolExecutor:
        for turn in range(4):  # what stays for good: the resource tracker of multiprocessing
            _live(kind, turn)
        before, named = belongings(), names()
        for turn in range(pools):
            _live(kind, turn)
        after = belongings()
        for what, count in before.items():
            report.exactly(f"{what}, {kind.__name__}", after[what], count)
        report.none_of("new names in /dev/shm", new_names(named))
    return report


def _live(kind: Any, turn: int) -> None:
    """Let a pool live: blocking or awaitable, with functions, coroutines, big results."""
    if turn % 2:
        asyncio.run(_live_awaited(kind, turn))
        return
    with kind(pool_size=1) as pool:
        assert pool.submit(works.echo, turn).result() == turn
        if turn % 4:
            assert pool.submit(works.aecho, turn).result() == turn
            big = bytes(BIG)
            assert pool.submit(works.echo, big).result() == big


async def _live_awaited(kind: Any, turn: int) -> None:
    async with kind(pool_size=1, awaitable=True) as pool:
        assert await pool.submit(works.aecho, turn) == turn
        if turn % 4 == 1:
            assert await pool.submit(works.echo, turn) == turn
