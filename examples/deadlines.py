"""Works whose time is over are stopped: coroutines, functions, and functions stuck in C."""

import asyncio
import ctypes
import time

from aplex import ProcessAsyncPoolExecutor, WorkInterrupted


async def wait() -> None:
    await asyncio.sleep(60)


def compute() -> None:
    while True:
        pass


def sleep() -> None:
    time.sleep(60)


def stuck_in_c() -> None:
    """Keeps the interpreter lock, so that nothing in its process can interrupt it."""
    ctypes.PyDLL(None).sleep(60)


def best_effort() -> int:
    """Return what was found until the time was over."""
    found = 0
    try:
        while True:
            found += 1
            time.sleep(0.01)
    except WorkInterrupted:
        return found


def main() -> None:
    with ProcessAsyncPoolExecutor(pool_size=2) as pool:
        list(pool.map(abs, range(10)))  # the workers have started
        impatient = pool.options(time_limit=0.5, kill_after=0.5)
        for work in (wait, compute, sleep, stuck_in_c):
            began = time.monotonic()
            error = impatient.submit(work).exception()
            print(f"{time.monotonic() - began:.1f} s: {type(error).__name__}: {error}")
        print(f"found in time: {impatient.submit(best_effort).result()}")

        future = pool.submit(compute)
        while not future.running():
            time.sleep(0.01)
        print(f"cancel: {future.cancel()}")

        # Two workers cannot do six such works within a second.
        hurried = pool.options(deadline=1.0)
        futures = [hurried.submit(time.sleep, 0.4) for _ in range(6)]
        late = sum(isinstance(future.exception(), TimeoutError) for future in futures)
        print(f"too late: {late} of {len(futures)}")


if __name__ == "__main__":
    main()
