"""Workers that leak are renewed, and a pool is as large as its works are many.

python examples/recycling.py
"""

import os
import time

from aplex import ProcessAsyncPoolExecutor

hoard: list[bytes] = []  # what a bad library never frees


def leaky(_: int) -> int:
    """Stand in for a call into a library that leaks 5 MB."""
    hoard.append(os.urandom(5_000_000))
    return os.getpid()


def alone(_: int) -> int:
    """Stand in for a work that must not find what another one has left behind."""
    time.sleep(0.05)
    return os.getpid()


def report(what: str, pids: list[int], seconds: float) -> None:
    most = max(pids.count(pid) for pid in pids)
    print(
        f"{what}: {len(pids)} works in {len(set(pids))} processes, {most} at most ({seconds:.1f} s)"
    )


def main() -> None:
    for what, work, options in (
        ("25 works a worker", leaky, {"max_tasks_per_child": 25}),
        ("300 MB a worker", leaky, {"max_memory_per_worker": 300_000_000}),
        ("each work alone", alone, {"max_tasks_per_child": 1}),
    ):
        with ProcessAsyncPoolExecutor(pool_size=2, **options) as pool:
            pool.start()
            began = time.monotonic()
            pids = list(pool.map(work, range(100 if work is leaky else 20)))
            report(what, pids, time.monotonic() - began)
    with ProcessAsyncPoolExecutor(pool_size=4, min_pool_size=1, idle_timeout=0.5) as pool:
        for moment in ("at first", "with works", "idle again"):
            if moment == "with works":
                list(pool.map(alone, range(40)))
            elif moment == "idle again":
                time.sleep(1)
            else:
                pool.start()
            serving = [worker for worker in pool.stats().workers if worker.state == "serving"]
            print(f"{moment}: {len(serving)} of {pool.stats().size} workers")


if __name__ == "__main__":
    main()
