"""HTTP GETs against nginx on the same machine: coroutines that really wait for a socket."""

import nginx
import works
from workloads.base import CPU, RATE, Figures, Task, Workload, timed

IN_FLIGHT = 500


def get_all(task: Task) -> Figures:
    """The CPU time does not count nginx: it is the same for all."""
    with nginx.serving() as server, task.pool() as pool:
        calls = [(works.get, server.url)] * task.count
        pool.keep_in_flight(calls[: max(IN_FLIGHT, task.count // 4)], IN_FLIGHT)
        figures, results = timed(
            lambda: pool.keep_in_flight(calls, IN_FLIGHT), task.count, apart={server.pid}
        )
        assert results == [len(nginx.ANSWER)] * task.count
    return figures


WORKLOADS = [
    Workload(
        name="http",
        title="HTTP GETs by aiohttp, one session per worker, against nginx on loopback, 500 in"
        " flight",
        peers=(
            "aplex-awaited",
            "aplex-awaited-uvloop",
            "asyncio-alone",
            "asyncio-alone-uvloop",
            "aiomultiprocess",
            "aiomultiprocess-uvloop",
        ),
        metrics=(RATE, CPU),
        measure=get_all,
        full=20_000,
        quick=1_000,
        in_quick=False,
    ),
]
