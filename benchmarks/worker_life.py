"""What a worker's life is worth, and costs: a session per worker, and everything switched on.

    python3 benchmarks/worker_life.py --rounds 9 --json docs/benchmarks/worker_life.json

Two comparisons, whose sides take turns; medians of the rounds. Run it with a Python that has aplex
and aiohttp; nothing else should run.

* Requests per second with one `aiohttp.ClientSession` per worker (`lifespan`) and with one per
  request, to a server on this machine that answers a few bytes, and keeps connections open.
* Works per second with all that surrounds a work switched on (`lifespan`, `context`, log
  forwarding, recycling by works, memory and age, idle workers that end, the watched loop, a shared
  object as the argument) and with all of it off. It should be 0.9 at least.
"""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import socket
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import machine
from aplex import ProcessAsyncPoolExecutor, __version__, current_worker

LEAST = 0.9
"""What is left, at least, of the works per second with everything on."""
WORKERS = 2
TENANT: ContextVar[str] = ContextVar("TENANT", default="nobody")
ON: dict[str, Any] = {
    "context": [TENANT],
    "forward_logs": True,
    "max_tasks_per_child": 10_000_000,
    "max_memory_per_worker": 1 << 40,
    "max_age": 3600.0,
    "min_pool_size": 1,
    "idle_timeout": 60.0,
}
OFF: dict[str, Any] = {"forward_logs": False, "slow_callback": None}

# --- in the workers ----------------------------------------------------------------------


@contextlib.asynccontextmanager
async def session() -> AsyncIterator[Any]:
    import aiohttp

    async with aiohttp.ClientSession() as opened:
        yield opened


async def fetch_by_workers(url: str) -> int:
    async with current_worker().state.get(url) as response:
        return len(await response.read())


async def fetch_by_own(url: str) -> int:
    import aiohttp

    async with aiohttp.ClientSession() as opened, opened.get(url) as response:
        return len(await response.read())


@contextlib.contextmanager
def something() -> Iterator[str]:
    yield "something"


def function(_given: Any) -> None:
    pass


async def coroutine(_given: Any) -> None:
    pass


# --- the server --------------------------------------------------------------------------


class Answer(asyncio.Protocol):
    """Answers each request with a few bytes. One request is one packet here."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        count = data.count(b"\r\n\r\n")
        self._transport.write(count * b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


def serve(listener: socket.socket) -> None:
    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Answer, sock=listener)
        await server.serve_forever()

    asyncio.run(run())


@contextlib.contextmanager
def serving() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        process = multiprocessing.get_context("spawn").Process(
            target=serve, args=(listener,), daemon=True
        )
        process.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            process.terminate()
            process.join()


# --- the comparisons ---------------------------------------------------------------------


def requests(url: str, count: int, *, per_worker: bool) -> float:
    """Return requests per second."""
    fetch = fetch_by_workers if per_worker else fetch_by_own
    lifespan = session if per_worker else None
    with ProcessAsyncPoolExecutor(WORKERS, max_works_per_worker=50, lifespan=lifespan) as pool:
        pool.start()
        assert set(pool.map(fetch, [url] * 200)) == {5}  # it warms up
        began = time.perf_counter()
        assert set(pool.map(fetch, [url] * count)) == {5}
        return count / (time.perf_counter() - began)


def works(work: Callable[[Any], Any], count: int, *, on: bool) -> float:
    """Return works per second."""
    options = ON | {"lifespan": something} if on else OFF
    with ProcessAsyncPoolExecutor(WORKERS, **options) as pool:
        pool.start()
        given = pool.share(bytes(1_000_000)) if on else 1
        for turn in (count // 10, count):  # the first one warms up
            began = time.perf_counter()
            for future in [pool.submit(work, given) for _ in range(turn)]:
                future.result()
            seconds = time.perf_counter() - began
        return count / seconds


def compared(measure: Callable[[bool], float], rounds: int) -> dict[str, list[float]]:
    """Return the figures of both sides, which take turns."""
    found: dict[str, list[float]] = {"with": [], "without": []}
    for _ in range(rounds):
        for side, figures in found.items():
            figures.append(measure(side == "with"))
    return found


# --- the results -------------------------------------------------------------------------

TITLES = {
    "requests": "requests, a session per worker against one per request",
    "functions": "functions, everything on against all off",
    "coroutines": "coroutines, everything on against all off",
}


def ratio(found: dict[str, list[float]]) -> float:
    return statistics.median(found["with"]) / statistics.median(found["without"])


def render(results: dict[str, dict[str, list[float]]]) -> str:
    """Return a table, in Markdown."""
    lines = ["| works a second | with | without | ratio | range |", "|---|--:|--:|--:|--:|"]
    for name, found in results.items():
        sides = (f"{statistics.median(found[side]):,.0f}" for side in ("with", "without"))
        pairs = [a / b for a, b in zip(found["with"], found["without"], strict=True)]
        middle = " | ".join(sides)
        span = f"{min(pairs):.2f} to {max(pairs):.2f}"
        lines.append(f"| {TITLES[name]} | {middle} | {ratio(found):.2f} | {span} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=3_000)
    parser.add_argument("--works", type=int, default=30_000)
    parser.add_argument("--json", type=Path, help="where to save the figures")
    given = parser.parse_args()
    versions = f"{sys.version.partition(' ')[0]}, aplex {__version__}"
    facts = machine.describe() | {"Python": versions, "rounds": str(given.rounds)}
    with serving() as url:
        results = {
            "requests": compared(
                lambda on: requests(url, given.requests, per_worker=on), given.rounds
            )
        }
    for name, work in {"functions": function, "coroutines": coroutine}.items():
        measure = lambda on, work=work: works(work, given.works, on=on)  # noqa: E731
        results[name] = compared(measure, given.rounds)
    print(render(results))
    if given.json is not None:
        given.json.write_text(json.dumps({"facts": facts, "results": results}, indent=1) + "\n")
    sys.exit(min(ratio(results[name]) for name in ("functions", "coroutines")) < LEAST)


if __name__ == "__main__":
    main()
