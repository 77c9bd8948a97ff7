"""The table of peers. Importing it imports no peer."""

import importlib
from dataclasses import dataclass
from typing import Any

from peers.base import Peer

Settings = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """Where a peer's adapter is, and what it needs."""

    name: str
    adapter: str  # module:class
    environment: str  # the name of a file in requirements/
    imports: str  # what its user imports
    uvloop: bool = False
    settings: tuple[Settings, ...] = ({},)  # the best one is measured, with --quick the first
    slowness: int = 1  # it gets this many times fewer works, for rates to be had in time
    coroutines_only: bool = False
    in_processes: bool = True  # whether works run in as many processes as there are workers

    def make(self, workers: int, settings: Settings) -> Peer:
        module, _, name = self.adapter.partition(":")
        kind: type[Peer] = getattr(importlib.import_module(f"peers.{module}"), name)
        return kind(workers, uvloop=self.uvloop, **settings)


AIOMULTIPROCESS: tuple[Settings, ...] = (
    {"childconcurrency": 250, "queuecount": 2},
    {"childconcurrency": 64, "queuecount": 2},
    {"childconcurrency": 16, "queuecount": 1},
)
DISTEX: tuple[Settings, ...] = ({"qsize": 16}, {"qsize": 64}, {"qsize": 2})
AUTO: tuple[Settings, ...] = ({"chunksize": "auto"},)
FUTURES = "concurrent.futures.process"
THREADS = "concurrent.futures.thread"
MULTIPROCESSING = "multiprocessing.pool"


def _entries() -> list[Entry]:
    entries = []
    for suffix, uvloop in (("", False), ("-uvloop", True)):
        entries += [
            Entry(f"aplex{suffix}", "aplex_:Blocking", "aplex", "aplex", uvloop),
            Entry(f"aplex-awaited{suffix}", "aplex_:Awaited", "aplex", "aplex", uvloop),
            Entry(f"aplex-auto{suffix}", "aplex_:Blocking", "aplex", "aplex", uvloop, AUTO),
            Entry(f"aplex-awaited-auto{suffix}", "aplex_:Awaited", "aplex", "aplex", uvloop, AUTO),
            Entry(
                f"aplex-threads{suffix}",
                "aplex_:BlockingThreads",
                "aplex",
                "aplex",
                uvloop,
                in_processes=False,
            ),
            Entry(
                f"aplex-threads-awaited{suffix}",
                "aplex_:AwaitedThreads",
                "aplex",
                "aplex",
                uvloop,
                in_processes=False,
            ),
            Entry(
                f"asyncio-alone{suffix}",
                "asyncio_:Alone",
                "stdlib",
                "asyncio",
                uvloop,
                coroutines_only=True,
                in_processes=False,
            ),
            Entry(
                f"asyncio-other-thread{suffix}",
                "asyncio_:OtherThread",
                "stdlib",
                "asyncio",
                uvloop,
                coroutines_only=True,
                in_processes=False,
            ),
            Entry(
                f"aiomultiprocess{suffix}",
                "aiomultiprocess_:Awaited",
                "aiomultiprocess",
                "aiomultiprocess",
                uvloop,
                AIOMULTIPROCESS,
                coroutines_only=True,
            ),
            Entry(f"distex{suffix}", "distex_:Awaited", "distex", "distex", uvloop, DISTEX),
        ]
    return [
        *entries,
        # `import aplex` alone puts off most of it until a name is used
        Entry("aplex-loaded", "aplex_:Blocking", "aplex", "aplex.executors"),
        Entry(
            "aplex-spawn-awaited",
            "aplex_:Awaited",
            "aplex",
            "aplex",
            settings=({"mp_context": "spawn"},),
        ),
        Entry(
            "aplex-interpreters-awaited",
            "aplex_:AwaitedInterpreters",
            "aplex",
            "aplex",
            in_processes=False,
        ),
        Entry("futures-process", "futures_process:Blocking", "stdlib", FUTURES),
        Entry("futures-process-awaited", "futures_process:Awaited", "stdlib", FUTURES, slowness=4),
        Entry("futures-thread", "futures_thread:Blocking", "stdlib", THREADS, in_processes=False),
        Entry(
            "futures-thread-awaited",
            "futures_thread:Awaited",
            "stdlib",
            THREADS,
            in_processes=False,
        ),
        Entry("multiprocessing-pool", "multiprocessing_pool:Blocking", "stdlib", MULTIPROCESSING),
        Entry("pipe", "bare:Pipe", "stdlib", "os", in_processes=False),
        Entry("pipe-c", "bare:PipeInC", "stdlib", "os", in_processes=False),
        Entry("memcpy", "bare:Memcpy", "stdlib", "os", in_processes=False),
        Entry("pipe-shared", "bare:SharedMemory", "stdlib", "os", in_processes=False),
        Entry(
            "python",
            "bare:Nothing",
            "stdlib",
            "asyncio, concurrent.futures.process",
            in_processes=False,
        ),
        Entry("loky", "loky_:Blocking", "pools", "loky", slowness=4),
        Entry("joblib", "joblib_:Blocking", "pools", "joblib", slowness=4),
        Entry("pebble", "pebble_:Blocking", "pools", "pebble", slowness=4),
        Entry("mpire", "mpire_:Blocking", "pools", "mpire", slowness=4),
        Entry("anyio", "anyio_:Awaited", "pools", "anyio.to_process", slowness=8),
        Entry("trio-parallel", "trio_parallel_:Awaited", "pools", "trio_parallel", slowness=8),
        Entry("dask", "dask_:Blocking", "dask", "distributed", slowness=40),
        Entry("dask-awaited", "dask_:Awaited", "dask", "distributed", slowness=40),
        Entry("ray", "ray_:Blocking", "ray", "ray", slowness=20),
        Entry("ray-awaited", "ray_:Awaited", "ray", "ray", slowness=20),
    ]


ENTRIES = {entry.name: entry for entry in _entries()}
