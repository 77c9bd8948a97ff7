"""What an array costs that all workers share: memory, the first use in each worker, and each work.

    python3 benchmarks/shared.py --workers 8 --megabytes 1000

Run it with a Python that has aplex and NumPy installed, on Linux; nothing else should run. Three
figures:

* the memory of all processes together (PSS: what is shared counts once), divided by the array's;
* how long the first work with the array takes in each worker, the first of them left out: until
  its result is there, the array's first row added up;
* what a work costs that is given the array, divided by the cost of one that is given an int: the
  CPU time of all processes, medians of turns.
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from aplex import ProcessAsyncPoolExecutor
from aplex.load_balancers import LoadBalancer

LEAST = {"memory": 1.2, "first": 10.0, "cost": 1.05}
"""What must not be passed: times the array, milliseconds, times the cost of an int."""


class Pinned(LoadBalancer):
    """Gives a work to the worker that it names."""

    def get_proper_worker(self, load_balancing_meta: Any = None) -> Any:
        return self.workers[load_balancing_meta or 0]


# --- in the workers ----------------------------------------------------------------------


def first_row(array: Any, _number: int) -> float:
    return float(array[0].sum())


def whole(array: Any, _number: int) -> float:
    return float(array.sum())


def nothing(_given: Any, number: int) -> int:
    return number


def cpu() -> float:
    return time.process_time()


# --- the program -------------------------------------------------------------------------


def family(pid: int) -> list[int]:
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += family(int(child))
    return found


def proportional(pid: int) -> int:
    """The PSS of a process, in bytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def memory_and_first_uses(workers: int, megabytes: int) -> tuple[float, list[float]]:
    shape = megabytes * 125, 1000  # of 8 bytes
    with ProcessAsyncPoolExecutor(workers, load_balancer=Pinned) as pool:
        pool.start()
        handle = pool.share(np.ones(shape))
        uses = []
        for worker in range(workers):
            began = time.perf_counter()
            pool.submit(first_row, handle, 0, load_balancing_meta=worker).result()
            uses.append(1000 * (time.perf_counter() - began))
        for worker in range(workers):
            pool.submit(whole, handle, 0, load_balancing_meta=worker).result()
        together = sum(map(proportional, family(os.getpid())))
    return together / (megabytes * 1e6), uses[1:]


def cost(works: int, turns: int) -> tuple[float, float]:
    """Return the microseconds that a work costs with an int, and with the array."""
    with ProcessAsyncPoolExecutor(1) as pool:
        handle = pool.share(np.ones(1_000_000))
        given: tuple[Any, Any] = (1, handle)
        taken: tuple[list[float], list[float]] = ([], [])
        for turn in range(turns + 1):
            for argument, times in zip(given, taken, strict=True):
                before = pool.submit(cpu).result() + time.process_time()
                for future in [pool.submit(nothing, argument, n) for n in range(works)]:
                    future.result()
                after = pool.submit(cpu).result() + time.process_time()
                if turn:  # the first one warms up
                    times.append(1e6 * (after - before) / works)
    return statistics.median(taken[0]), statistics.median(taken[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--works", type=int, default=5_000)
    parser.add_argument("--turns", type=int, default=15)
    options = parser.parse_args()
    memory, uses = memory_and_first_uses(options.workers, options.megabytes)
    plain, shared = cost(options.works, options.turns)
    print(f"memory of all processes: {memory:.2f} times the array ({LEAST['memory']} at most)")
    print(
        f"first use in a worker:   {statistics.median(uses):.1f} ms, at most {max(uses):.1f} "
        f"({LEAST['first']:.0f} at most)"
    )
    print(
        f"a work with the array:   {shared:.2f} µs, {shared / plain:.2f} times one with an int, "
        f"{plain:.2f} µs ({LEAST['cost']} at most)"
    )
    reached = memory <= LEAST["memory"] and max(uses) <= LEAST["first"]
    sys.exit(not (reached and shared / plain <= LEAST["cost"]))


if __name__ == "__main__":
    main()
