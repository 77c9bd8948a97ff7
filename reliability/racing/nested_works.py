"""Works of thread workers that submit works to their own pool, and wait for them, at random.

Each must end: with the number of works below it, or with the `RuntimeError` that tells of a wait
for ever. What is warned of only, coroutines that await others for which there is no place, is left
out: with few places, coroutines submit and do not await.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from aplex import ThreadAsyncPoolExecutor
from reliability.report.figures import Report

LIMIT: Final = 10.0
"""Seconds after which the works of a pool are hung."""
TOLD: Final = "must not block until another work of its own pool"
WAITS: Final = ("result", "results", "wait", "first", "as_completed", "map", "any", "forget")


@dataclass
class Node:
    """A work, and those that it submits."""

    is_coroutine: bool
    how: str  # how it waits for them
    pause: float  # seconds before it ends
    below: list[Node] = field(default_factory=list)


def tree(rng: random.Random, depth: int, *, few: bool, is_coroutine: bool) -> Node:
    """Make a work and all below it.

    Args:
        rng: Makes the choices.
        depth: Works below each other at most.
        few: Whether there are few places.
        is_coroutine: Whether it is one.
    """
    how = "forget" if few and is_coroutine else rng.choice(WAITS)
    node = Node(is_coroutine, how, rng.choice((0.0, 0.0, 0.001)))
    for _ in range(rng.randint(0, 3) if depth else 0):
        likely = 0.5 if is_coroutine else 0.85
        kind = rng.random() < likely
        node.below.append(tree(rng, depth - 1, few=few, is_coroutine=kind))
    return node


class Program:
    """A pool, and works in it."""

    def __init__(self, rng: random.Random) -> None:
        self.few = rng.random() < 0.5
        places = rng.choice((1, 2, 3)) if self.few else 300
        self.pool = ThreadAsyncPoolExecutor(
            pool_size=rng.randint(1, 3), max_works_per_worker=places
        )
        bound = rng.choice((1, 2)) if self.few and rng.random() < 0.5 else None
        limits = {} if bound is None else {"max_concurrency": bound, "limit_key": "k"}
        self.submitter: Any = self.pool.options(**limits)
        self.roots = [
            tree(rng, 3, few=self.few, is_coroutine=rng.random() < 0.3)
            for _ in range(rng.randint(1, 6))
        ]
        self.futures: list[Any] = []

    def run(self) -> Counter[str]:
        """Run all; return what became of the works."""
        roots = [self.submit(root) for root in self.roots]
        end = time.monotonic() + LIMIT
        while unfinished := [future for future in self.futures if not future.done()]:
            left = end - time.monotonic()
            if left <= 0:
                return Counter(hung=len(unfinished))
            concurrent.futures.wait(unfinished, left)
        self.pool.shutdown()
        outcomes: Counter[str] = Counter()
        for root, future in zip(self.roots, roots, strict=True):
            error = future.exception()
            if error is None:
                outcomes["right" if future.result() == count(root) else "wrong"] += 1
            else:
                told = isinstance(error, RuntimeError) and TOLD in str(error)
                outcomes["told" if told else f"failed: {error!r}"] += 1
        return outcomes

    def submit(self, node: Node) -> Any:
        future = self.submitter.submit(self.coroutine if node.is_coroutine else self.function, node)
        self.futures.append(future)
        return future

    def function(self, node: Node) -> int:
        if node.how in ("map", "any"):
            kinds = [
                (self.coroutine, [below for below in node.below if below.is_coroutine]),
                (self.function, [below for below in node.below if not below.is_coroutine]),
            ]
            ordered = node.how == "map"
            maps = [self.submitter.map(*kind, ordered=ordered) for kind in kinds if kind[1]]
            values = [sum(results) for results in maps]
        elif node.how == "result":
            values = [self.submit(below).result() for below in node.below]
        else:
            values = self.collect(node)
        time.sleep(node.pause)
        return 1 + sum(values)

    def collect(self, node: Node) -> list[int]:
        futures = [self.submit(below) for below in node.below]
        if node.how == "forget":
            return []
        if node.how == "as_completed":
            return [future.result() for future in concurrent.futures.as_completed(futures)]
        if node.how == "wait":
            concurrent.futures.wait(futures)
        elif node.how == "first" and futures:
            concurrent.futures.wait(futures, return_when="FIRST_COMPLETED")
        return [future.result() for future in futures]

    async def coroutine(self, node: Node) -> int:
        futures = [self.submit(below) for below in node.below]
        values = []
        if node.how != "forget":
            values = await asyncio.gather(*map(asyncio.wrap_future, futures))
        await asyncio.sleep(node.pause)
        return 1 + sum(values)


def count(node: Node) -> int:
    """Return what a work returns."""
    return 1 + (0 if node.how == "forget" else sum(map(count, node.below)))


def programs(number: int, rng: random.Random) -> Report:
    """Run so many pools."""
    report = Report(f"Works that wait for works of their own pool: {number} pools of threads")
    outcomes: Counter[str] = Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for _ in range(number):
            outcomes += (now := Program(rng).run())
            if now["hung"]:
                break
    report.tell("works", ", ".join(f"{n:,} {what}" for what, n in outcomes.most_common()))
    report.none_of("hung or wrong", [what for what in outcomes if what not in ("right", "told")])
    return report
