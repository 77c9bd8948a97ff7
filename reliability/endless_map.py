"""Maps an endless input with a slow consumer, and watches the memory of this process.

    python3 dev.py reliability endless_map [--seconds 600] [--engine spawn] [--chunksize auto]

Items carry some KiB each, so an input that was read ahead would show at once. Exits with 1
if the resident memory has grown by more than `ALLOWED`.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aplex import ProcessAsyncPoolExecutor, ThreadAsyncPoolExecutor

ALLOWED = 5 * 2**20
"""Bytes by which the memory may grow."""
ITEM = 4096
"""Bytes of an item."""
BUFFER = 100
"""Items that may be taken and not handed over."""


@dataclass
class Seen:
    """What was seen in a run."""

    handed: int
    taken: int
    grown: int  # bytes

    @property
    def ok(self) -> bool:
        """Whether the memory is flat, and the input was stopped."""
        return self.grown <= ALLOWED and self.taken - self.handed <= BUFFER


def size(item: bytes) -> int:
    """Do next to nothing."""
    return len(item)


def memory() -> int:
    """Return the resident memory of this process, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def watch(seconds: float, engine: str, chunksize: Any, pause: float = 0.002) -> Seen:
    """Run; the first tenth of the time is for warming up."""
    taken = handed = 0
    start = peak = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield os.urandom(ITEM)

    pool: Any = (
        ThreadAsyncPoolExecutor(pool_size=2)
        if engine == "thread"
        else ProcessAsyncPoolExecutor(pool_size=2, mp_context=engine)
    )
    with pool:
        results = pool.map(size, endless(), buffersize=BUFFER, chunksize=chunksize)
        next(results)  # the workers have started
        handed, began = 1, time.monotonic()
        for _ in results:
            handed += 1
            passed = time.monotonic() - began
            if passed > seconds:
                break
            if passed > seconds / 10 and handed % 20 == 0:
                start = start or memory()
                peak = max(peak, memory())
            time.sleep(pause)
        results.close()
    return Seen(handed, taken, peak - start)


def main() -> None:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--engine", choices=("spawn", "forkserver", "thread"), default="spawn")
    parser.add_argument("--chunksize", default="1", help="a number, or auto")
    options = parser.parse_args()
    chunksize = options.chunksize if options.chunksize == "auto" else int(options.chunksize)
    seen = watch(options.seconds, options.engine, chunksize)
    grown = f"memory grew by {seen.grown / 2**20:.2f} MiB"
    print(f"{seen.handed} results, {seen.taken} items taken, {grown}")
    sys.exit(not seen.ok)


if __name__ == "__main__":
    main()
