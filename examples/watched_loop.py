"""What blocks an event loop is named, and its worker gets no coroutines meanwhile.

python examples/watched_loop.py
"""

import asyncio
import logging
import time

from aplex import ProcessAsyncPoolExecutor, current_worker
from aplex.load_balancers import Affinity, LeastLag


def parse(page: str) -> str:
    """Stand in for a function that takes long, and should not be called on an event loop."""
    time.sleep(1)
    return page.upper()


async def crawl(url: str) -> str:
    await asyncio.sleep(0.01)
    return parse(f"page of {url}")


async def ping(_: int) -> int:
    await asyncio.sleep(0.001)
    return current_worker().index


def main() -> None:
    logging.basicConfig(format="%(levelname)s %(message)s")
    with ProcessAsyncPoolExecutor(2, load_balancer=LeastLag, slow_callback=0.2) as pool:
        pool.start()
        page = pool.submit(crawl, "https://example.org")
        time.sleep(0.5)
        for worker in pool.stats().workers:
            print(f"slot {worker.slot}: {worker.in_flight} in flight, lag {worker.loop_lag:.1f} s")
        print(f"slots that answer now: {set(pool.map(ping, range(50)))}")
        print(page.result())
    with ProcessAsyncPoolExecutor(3, load_balancer=Affinity) as pool:
        for user in ("alice", "bob", "carol"):
            futures = [pool.submit(ping, n, load_balancing_meta=user) for n in range(10)]
            print(f"{user}: {len({future.result() for future in futures})} worker")


if __name__ == "__main__":
    main()
