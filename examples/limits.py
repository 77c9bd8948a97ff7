"""Limits: works that share a quota, urgent works, and a producer that waits for room.

python examples/limits.py
"""

import asyncio
import itertools
import time

from aplex import ProcessAsyncPoolExecutor

RATE = 20  # requests per second that the service allows
AT_ONCE = 3


async def request(number: object) -> tuple[object, float, float]:
    """Stand in for a request to a service with a quota; return when it began and ended."""
    began = time.monotonic()
    await asyncio.sleep(0.1)
    return number, began, time.monotonic()


def report(requests: list[tuple[object, float, float]]) -> None:
    """Tell how near to each other the requests began, and how many ran at once."""
    begins = sorted(began for _, began, _ in requests)
    gaps = [later - earlier for earlier, later in itertools.pairwise(begins)]
    most = max(sum(began <= moment < ended for _, began, ended in requests) for moment in begins)
    print(
        f"{len(requests)} requests, {most} at once, on average {1 / (sum(gaps) / len(gaps)):.0f}/s"
    )


async def main() -> None:
    async with ProcessAsyncPoolExecutor(pool_size=2, awaitable=True, max_pending=50) as pool:
        service = pool.options(limit_key="service", rate=RATE, max_concurrency=AT_ONCE)
        futures = [await service.submit_when_free(request, number) for number in range(30)]
        urgent = service.options(priority=1).submit(request, "urgent")
        await urgent
        print(f"the urgent request is done, {sum(not f.done() for f in futures)} others are not")
        report(await asyncio.gather(*futures))


if __name__ == "__main__":
    asyncio.run(main())
