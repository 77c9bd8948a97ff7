"""Stream tokens from models in workers: many at once, and one that is stopped early."""

import asyncio
import time
from collections.abc import AsyncIterator

from aplex import ProcessAsyncPoolExecutor


async def generate(prompt: str, *, tokens: int) -> AsyncIterator[str]:
    """Stands for a language model."""
    try:
        for number in range(tokens):
            await asyncio.sleep(0.005)
            yield f"{prompt}-{number}"
    finally:
        print(f"{prompt}: the model is free again", flush=True)


async def answer(pool: ProcessAsyncPoolExecutor[bool], prompt: str) -> int:
    """Read an answer to its end."""
    count = 0
    async for _token in pool.stream(generate, prompt, tokens=20):
        count += 1
    return count


async def main() -> None:
    async with ProcessAsyncPoolExecutor(pool_size=2, awaitable=True) as pool:
        began = time.perf_counter()
        async with pool.stream(generate, "first", tokens=1_000_000) as stream:
            print(f"{await anext(stream)} after {time.perf_counter() - began:.3f} s")
            print(f"then {await anext(stream)}; that is enough")

        counts = await asyncio.gather(*(answer(pool, f"user{n}") for n in range(5)))
        print(f"{sum(counts)} tokens for {len(counts)} users")


if __name__ == "__main__":
    asyncio.run(main())
