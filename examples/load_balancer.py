"""A load balancer of one's own: works for the same host go to the same worker.

So each worker needs connections to its own hosts only. `load_balancing_meta` is
what `submit` and `map` hand to the load balancer; works never see it.
"""

import os
import zlib
from typing import Any

from aplex import LoadBalancer, ProcessAsyncPoolExecutor
from aplex.load_balancers import Worker

URLS = (
    "http://a.example/1",
    "http://b.example/1",
    "http://a.example/2",
    "http://c.example/1",
    "http://b.example/2",
    "http://a.example/3",
)


class SameHost(LoadBalancer):
    """A work waits for the chosen worker if that one is full."""

    def get_proper_worker(self, load_balancing_meta: Any = None) -> Worker:
        if load_balancing_meta is None:  # it does not matter: the least busy one
            return min(self.get_available_workers(), key=self.workloads.__getitem__)
        host = str(load_balancing_meta)
        return self.workers[zlib.crc32(host.encode()) % len(self.workers)]


async def fetch(url: str) -> tuple[str, int]:
    """Stand in for a real request."""
    return url, os.getpid()


if __name__ == "__main__":
    with ProcessAsyncPoolExecutor(pool_size=2, load_balancer=SameHost) as pool:
        futures = [pool.submit(fetch, url, load_balancing_meta=url.split("/")[2]) for url in URLS]
        for future in futures:
            url, worker = future.result()
            print(f"{url} in process {worker}")
