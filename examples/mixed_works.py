"""Plain functions and coroutines in one pool.

A plain function that computes does not stall the coroutines of its worker: it
runs beside the worker's event loop, not on it.
"""

import asyncio
import hashlib
import time
from concurrent.futures import Future, as_completed

from aplex import ProcessAsyncPoolExecutor

ROUNDS = 1_000_000


def digest(password: str) -> str:
    """Plain: computes for some tenths of a second."""
    return hashlib.pbkdf2_hmac("sha256", password.encode(), b"salt", ROUNDS).hex()[:12]


async def tick(seconds: float) -> float:
    """A coroutine: sleeps; returns how late it woke up."""
    before = time.perf_counter()
    await asyncio.sleep(seconds)
    return time.perf_counter() - before - seconds


if __name__ == "__main__":
    with ProcessAsyncPoolExecutor(pool_size=2) as pool:
        before = time.perf_counter()
        digests: dict[Future[str], str] = {}
        for text in ("spam", "egg", "ham", "toast"):
            digests[pool.submit(digest, text)] = text
        late = max(pool.map(tick, [0.01] * 500))
        seconds = time.perf_counter() - before
        print(f"500 coroutines done after {seconds:.2f} s, the last one {late * 1e3:.1f} ms late")
        # These are futures of `concurrent.futures`: its `as_completed` takes them.
        for future in as_completed(digests):
            print(f"{digests[future]}: {future.result()}")
        print(f"everything done after {time.perf_counter() - before:.2f} s")
