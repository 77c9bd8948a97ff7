"""Works on Ray: a pool of aplex, and Ray's own asynchronous actors and tasks, in turns.

    python benchmarks/on_ray.py [--rounds 3] [--seconds 2] [--head]

Needs a cluster of Ray that `RAY_ADDRESS` names, or that runs here, with 6 free CPUs; with `--head`
it starts one. Each row is measured in turns, round by round, by two processes that live for the
whole run: one has the pool, the other is a driver of Ray. What counts are the ratios; the figures
are this machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

WORKERS = 2
FLIGHT = 500
SLEEP = 0.05
BIG = 64 * 2**20

Submit = Callable[..., Awaitable[Any]]


async def nothing(value: int) -> int:
    return value


async def rest(seconds: float) -> None:
    await asyncio.sleep(seconds)


async def echo(data: bytes) -> bytes:
    return data


# -- what is measured ---------------------------------------------------------


async def throughput(submit: Submit, seconds: float) -> float:
    """Works a second, each awaited, with `FLIGHT` in flight."""
    done = 0
    end = time.perf_counter() + seconds

    async def run() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await submit(nothing, 1)
            done += 1

    start = time.perf_counter()
    await asyncio.gather(*(run() for _ in range(FLIGHT)))
    return done / (time.perf_counter() - start)


async def latency(submit: Submit, seconds: float) -> float:
    """Median of one work, nothing else in flight, in microseconds."""
    taken = []
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        await submit(nothing, 1)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken) * 1e6


async def sleeps(submit: Submit, seconds: float) -> float:  # noqa: ARG001 - all have it
    """Seconds for 10,000 sleeps of 50 ms, `FLIGHT` in flight."""
    left = 10_000

    async def run() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await submit(rest, SLEEP)

    start = time.perf_counter()
    await asyncio.gather(*(run() for _ in range(FLIGHT)))
    return time.perf_counter() - start


async def big(submit: Submit, seconds: float) -> float:  # noqa: ARG001 - all have it
    """Milliseconds for 64 MB there and back."""
    data = bytes(BIG)
    start = time.perf_counter()
    assert len(await submit(echo, data)) == BIG
    return (time.perf_counter() - start) * 1e3


ROWS: dict[str, tuple[Any, bool]] = {
    "works a second, 500 in flight": (throughput, True),
    "one work, us (p50)": (latency, False),
    "10,000 sleeps of 50 ms, s": (sleeps, False),
    "64 MB there and back, ms": (big, False),
}


# -- the two who are measured -------------------------------------------------


async def serve_aplex(answer: Callable[[], Any]) -> None:
    from aplex import RayAsyncPoolExecutor

    async with RayAsyncPoolExecutor(pool_size=WORKERS, awaitable=True, log_to_driver=False) as pool:
        await pool.start()
        await answer_all({"aplex": pool.submit}, answer)


async def serve_native(answer: Callable[[], Any]) -> None:
    import ray

    ray.init(logging_level="error", log_to_driver=False)

    class Native:
        async def call(self, function: Any, argument: Any) -> Any:
            return await function(argument)

    kind = ray.remote(num_cpus=1, max_concurrency=1000)(Native)
    actors = [kind.remote() for _ in range(WORKERS)]
    functions = {f: ray.put(f) for f in (nothing, rest, echo)}
    turn = 0

    def to_actor(function: Any, argument: Any) -> Awaitable[Any]:
        nonlocal turn
        turn += 1
        if isinstance(argument, bytes) and len(argument) > 2**20:
            argument = ray.put(argument)  # as Ray advises for what is big
        reply: Awaitable[Any] = actors[turn % WORKERS].call.remote(functions[function], argument)
        return reply

    tasks = {
        function: ray.remote(num_cpus=1)(blocking(function)) for function in (nothing, rest, echo)
    }

    def to_task(function: Any, argument: Any) -> Awaitable[Any]:
        reply: Awaitable[Any] = tasks[function].remote(argument)
        return reply

    for function, argument in ((nothing, 1), (rest, 0.0), (echo, b"")):
        await asyncio.gather(*(to_actor(function, argument) for _ in range(20)))
        await to_task(function, argument)
    await answer_all({"async actor": to_actor, "task": to_task}, answer)


def blocking(function: Any) -> Any:
    def run(argument: Any) -> Any:
        return asyncio.run(function(argument)) if function is rest else argument

    return run


async def answer_all(submits: dict[str, Submit], answer: Callable[[], Any]) -> None:
    """Measure what is asked for, until nothing more is."""
    print(json.dumps(sorted(submits)), flush=True)
    while line := await asyncio.to_thread(answer):
        row, who, seconds = json.loads(line)
        print(json.dumps(await ROWS[row][0](submits[who], seconds)), flush=True)


class Side:
    """A process that measures."""

    def __init__(self, name: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--side", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.names: list[str] = self._read()

    def measure(self, row: str, who: str, seconds: float) -> float:
        assert self._process.stdin is not None
        print(json.dumps([row, who, seconds]), file=self._process.stdin, flush=True)
        return float(self._read())

    def _read(self) -> Any:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                return json.loads(line)
            except ValueError:  # Ray says something
                print(line, end="", file=sys.stderr)
        raise SystemExit("a side has ended")

    def close(self) -> None:
        self._process.communicate()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--head", action="store_true", help="start a head for it, on loopback")
    parser.add_argument("--side", choices=("aplex", "native"))
    options = parser.parse_args()
    if options.side:
        serve = serve_aplex if options.side == "aplex" else serve_native
        asyncio.run(serve(sys.stdin.readline))
        return
    head = None
    if options.head:
        sys.path.insert(0, str(Path(__file__).parent.parent))
        from tests.support.ray_head import Head

        head = Head(cpus=6)
        os.environ.update(head.variables)
    try:
        compare(options.rounds, options.seconds)
    finally:
        if head is not None:
            head.stop()


def compare(rounds: int, seconds: float) -> None:
    sides = [Side("aplex"), Side("native")]
    for row, (_, more_is_better) in ROWS.items():
        found: dict[str, list[float]] = {name: [] for side in sides for name in side.names}
        for _ in range(rounds):
            for side in sides:
                for name in side.names:
                    if name == "task" and row.startswith("10,000"):
                        continue  # minutes
                    found[name].append(side.measure(row, name, seconds))
        ours = statistics.median(found["aplex"])
        for name, values in found.items():
            if values:
                theirs = statistics.median(values)
                ratio = ours / theirs if more_is_better else theirs / ours
                spread = f"{min(values):,.4g} to {max(values):,.4g}"
                print(f"{row:32} {name:12} {theirs:12,.4g} ({spread}); aplex {ratio:.3g} x")
    for side in sides:
        side.close()


if __name__ == "__main__":
    main()
