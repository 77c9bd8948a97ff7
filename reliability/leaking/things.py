"""Arguments, results and exceptions: nobody keeps them when they were used."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable
from typing import Any, Final

from aplex import ProcessAsyncPoolExecutor, ThreadAsyncPoolExecutor
from reliability.load import works
from reliability.report.figures import Report

WITHIN: Final = 1.0
"""Seconds in which all must be collected."""
WORKS: Final = (works.take, works.atake, works.throw, works.athrow)


def run(rounds: int) -> Report:
    """Send things through pools of both engines and both faces, and watch what lives on."""
    report = Report(f"Things sent through pools, {rounds:,} of each kind, must be collected")
    for kind in ProcessAsyncPoolExecutor, ThreadAsyncPoolExecutor:
        for watch in _watch_blocking, _watch_awaited:
            alive: list[str] = []
            slowest = 0.0
            for _ in range(rounds):
                slowest = max(slowest, watch(kind, alive))
            face = "awaited" if watch is _watch_awaited else "blocking"
            report.none_of(f"alive after {WITHIN:g} s, {kind.__name__}, {face}", alive)
            report.at_most("seconds until all were dead", slowest, WITHIN)
    return report


def _watch_blocking(kind: Any, alive: list[str]) -> float:
    with kind(pool_size=1) as pool:
        refs = [ref for work in WORKS for ref in _use(pool, work)]
        refs += _map(pool)
        return _wait(lambda: _living(refs, pool.submit(works.alive).result()), alive)


def _use(pool: Any, work: Callable[..., Any]) -> list[weakref.ref[Any]]:
    """Run a work; return references to what went there and what came back."""
    thing = works.Thing()
    future = pool.submit(work, thing)
    error = future.exception()
    came = error if error is not None else future.result()
    return [weakref.ref(thing), weakref.ref(came)]


def _map(pool: Any) -> list[weakref.ref[Any]]:
    things = [works.Thing() for _ in range(10)]
    refs: list[weakref.ref[Any]] = [weakref.ref(thing) for thing in things]
    refs += [weakref.ref(came) for came in pool.map(works.take, things)]
    return refs


def _watch_awaited(kind: Any, alive: list[str]) -> float:
    async def main() -> float:
        async with kind(pool_size=1, awaitable=True) as pool:
            refs = [ref for work in WORKS for ref in await _use_awaited(pool, work)]
            began = time.monotonic()
            while living := _living(refs, await pool.submit(works.alive)):
                if time.monotonic() - began > WITHIN:
                    alive.append(living)
                    break
                await asyncio.sleep(0.01)  # nobody tells
            return time.monotonic() - began

    return asyncio.run(main())


async def _use_awaited(pool: Any, work: Callable[..., Any]) -> list[weakref.ref[Any]]:
    thing = works.Thing()
    try:
        came = await pool.submit(work, thing)
    except works.ThingError as error:
        return [weakref.ref(thing), weakref.ref(error)]
    return [weakref.ref(thing), weakref.ref(came)]


def _living(refs: list[weakref.ref[Any]], in_worker: int) -> str:
    here = [repr(ref()) for ref in refs if ref() is not None]
    return f"{here} here, {in_worker} in the worker" if here or in_worker else ""


def _wait(living: Callable[[], str], alive: list[str]) -> float:
    began = time.monotonic()
    while found := living():
        if time.monotonic() - began > WITHIN:
            alive.append(found)
            break
        time.sleep(0.01)  # nobody tells
    return time.monotonic() - began
