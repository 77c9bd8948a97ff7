"""A pool of threads, each with an event loop of its own.

Nothing is pickled and nothing is copied: works see the program's own objects.
Coroutines that block their loop for a moment hold up one loop only, not the caller's.
"""

import asyncio
import sqlite3
import threading
from collections import Counter

from aplex import ThreadAsyncPoolExecutor
from aplex.load_balancers import Average

seen: Counter[str] = Counter()  # shared with the workers


async def wait(seconds: float) -> str:
    await asyncio.sleep(seconds)
    name = threading.current_thread().name
    seen[name] += 1
    return name


def query(number: int) -> int:
    """Plain functions run beside the loops, in threads too."""
    with sqlite3.connect(":memory:") as database:
        row = database.execute("select ? * ?", (number, number)).fetchone()
    database.close()
    return int(row[0])


if __name__ == "__main__":
    with ThreadAsyncPoolExecutor(pool_size=2, load_balancer=Average) as pool:
        names = set(pool.map(wait, [0.01] * 1000))
        print(f"1,000 coroutines on {len(names)} loops: {sorted(seen.values())}")
        print(f"squares: {list(pool.map(query, range(5)))}")
