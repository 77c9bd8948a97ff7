"""Workers die, the pool lives: retries, death certificates, quarantine."""

import os
import random
import signal
from concurrent.futures import as_completed

from aplex import ProcessAsyncPoolExecutor, WorkerLostError, WorkQuarantinedError


def risky(number: int) -> int:
    """One time in ten, something kills the worker: the system without memory, say."""
    if random.random() < 0.1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def poison() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def main() -> None:
    with ProcessAsyncPoolExecutor(pool_size=2) as pool:
        # Without retries, a work that had started fails with its worker.
        futures = [pool.submit(risky, number) for number in range(20)]
        errors = [future.exception() for future in as_completed(futures)]
        lost = [error for error in errors if isinstance(error, WorkerLostError)]
        print(f"without retries: {len(lost)} of 20 works were lost")
        for error in lost[:1]:
            print(f"  {error}")

        # It is safe to run this one twice, so say it.
        view = pool.options(retries=10, quarantine_after=10)
        print(f"with retries: the sum is {sum(view.map(risky, range(20)))}")

        # A work that kills worker after worker is given up. The others go on.
        future = view.options(quarantine_after=3).submit(poison)
        others = [pool.submit(abs, -number) for number in range(5)]
        try:
            future.result()
        except WorkQuarantinedError as error:
            print(f"quarantined: {error.work}")
            for death in error.deaths:
                print(f"  process {death.pid}: {death.signal_name}")
        print(f"the others: {[other.result() for other in others]}")


if __name__ == "__main__":
    main()
