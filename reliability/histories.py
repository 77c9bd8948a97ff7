"""Random histories of the pool's logic, as many as you like.

    python3 dev.py reliability histories --count 100000

It runs the state machine of ``tests/pool/test_histories.py`` in parts, each with a number from
which its histories follow: ``--first NUMBER --count 500`` runs a part that has failed again.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

from tests.pool.test_histories import run_histories

PART = 500
"""Histories in one part: hypothesis remembers all of them until its end."""


def main() -> int:
    """Run the parts; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=100_000, help="histories; default: 100000")
    parser.add_argument("--first", type=int, default=1, help="number of the first part; default: 1")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="default: one per core")
    arguments = parser.parse_args()
    began = time.monotonic()
    done = failed = 0
    for number, count, failure in run_parts(arguments.count, arguments.first, arguments.jobs):
        done += count
        failed += bool(failure)
        if failure:
            print(f"part {number} failed:\n{failure}", flush=True)
        seconds = time.monotonic() - began
        print(f"{done} histories, {seconds:.0f} s, {failed} parts failed", flush=True)
    return 1 if failed else 0


def run_parts(count: int, first: int, jobs: int | None) -> Iterator[tuple[int, int, str]]:
    """Run so many histories; yield the number of each part, its histories, and why it failed."""
    # A new process for each part: it gives back what hypothesis remembers.
    with ProcessPoolExecutor(jobs, get_context("spawn"), max_tasks_per_child=1) as pool:
        parts = [
            pool.submit(run_part, number, min(PART, count - begin))
            for number, begin in enumerate(range(0, count, PART), first)
        ]
        for part in as_completed(parts):
            yield part.result()


def run_part(number: int, count: int) -> tuple[int, int, str]:
    """Run the histories of one part."""
    try:
        run_histories(count, number)
    except Exception:
        return number, count, traceback.format_exc()
    return number, count, ""


if __name__ == "__main__":
    sys.exit(main())
