"""Let data flow through a pool: a slow source, a bounded buffer, and failures that stop nothing."""

import asyncio
from collections.abc import AsyncIterator

from aplex import ProcessAsyncPoolExecutor

taken: list[int] = []


async def orders(count: int) -> AsyncIterator[int]:
    """A source that is read while works run: a queue, a socket, a database cursor."""
    for number in range(count):
        await asyncio.sleep(0.001)
        taken.append(number)
        yield number


async def bill(order: int) -> float:
    """A work that takes a while, and sometimes fails."""
    await asyncio.sleep(0.02)
    if order % 25 == 7:
        raise ValueError(f"order {order} has no price")
    return order * 1.5


async def main() -> None:
    async with ProcessAsyncPoolExecutor(pool_size=2, awaitable=True) as pool:
        await pool.submit(bill, 0)  # a worker has started

        # At most 10 orders are taken and not handed over, however slow this loop is.
        # Bills come as they are ready; one that fails is an outcome like the others.
        handed = most = 0
        total, failed = 0.0, []
        async for outcome in pool.map(
            bill, orders(100), buffersize=10, ordered=False, return_outcomes=True
        ):
            most = max(most, len(taken) - handed)
            handed += 1
            if outcome.ok:
                total += outcome.result()
            else:
                failed.append(outcome)
        print(f"{handed} orders, {total:.2f} in all; never more than {most} under way")
        for outcome in sorted(failed, key=lambda outcome: outcome.input):
            print(f"  {outcome.exception} (tried by worker {outcome.worker})")

        # Leaving early cancels what is left, and closes the source.
        results = pool.map(bill, orders(1_000_000), buffersize=10)
        first = await anext(results)
        await results.aclose()
        print(f"the first of a million: {first}")


if __name__ == "__main__":
    asyncio.run(main())
