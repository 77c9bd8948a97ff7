#!/usr/bin/env python3
"""A model that is shared by all workers, against one that travels with each work, measured.

    python examples/shared_model.py

The model is a table of weights, in NumPy if that is installed. What all processes take together is
told as well (PSS, on Linux: memory that is shared counts once).
"""

import argparse
import os
import time
from array import array
from pathlib import Path
from typing import Any

from aplex import ProcessAsyncPoolExecutor

try:
    import numpy as np
except ImportError:
    np = None  # type: ignore[assignment, unused-ignore]


class Model:
    """Says how much a row of its weights is, times something."""

    def __init__(self, rows: int, columns: int) -> None:
        self.columns = columns
        numbers: Any = array("d", bytes(8 * rows * columns))
        self.weights = numbers if np is None else np.ones(rows * columns)

    def predict(self, row: int, factor: float) -> float:
        start = row * self.columns
        return factor * float(sum(self.weights[start : start + self.columns]))


# --- in the workers ----------------------------------------------------------------------


def predict(model: Model, row: int, factor: float) -> float:
    return model.predict(row, factor)


# --- the program -------------------------------------------------------------------------


def memory() -> float:
    """Return what this process and those below it take, in MiB; 0 if that is not known."""
    try:
        return sum(map(proportional, family(os.getpid()))) / 1024
    except OSError:
        return 0.0


def family(pid: int) -> list[int]:
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += family(int(child))
    return found


def proportional(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def measure(model: Any, count: int, workers: int) -> tuple[float, float]:
    """Return predictions per second, and the memory that has come to it."""
    with ProcessAsyncPoolExecutor(workers) as pool:
        little = Model(1, COLUMNS)  # workers import what they need
        for future in [pool.submit(predict, little, 0, 1.0) for _ in range(20 * workers)]:
            future.result()
        before = memory()
        began = time.perf_counter()
        given = model if model is not None else pool.share(Model(ROWS, COLUMNS))
        futures = [pool.submit(predict, given, number % ROWS, 1.0) for number in range(count)]
        for future in futures:
            future.result()
        return count / (time.perf_counter() - began), memory() - before


ROWS, COLUMNS = 20_000, 100  # 16 MB


def main() -> None:
    parser = argparse.ArgumentParser(description="A model for all workers.")
    parser.add_argument("--count", type=int, default=500, help="predictions (%(default)s)")
    parser.add_argument("--workers", type=int, default=4, help="(%(default)s)")
    options = parser.parse_args()
    slow, _ = measure(Model(ROWS, COLUMNS), options.count, options.workers)
    fast, taken = measure(None, options.count, options.workers)
    print(f"with each work: {slow:8,.0f} predictions/s")
    print(f"shared once:    {fast:8,.0f} predictions/s, {fast / slow:.1f} times as many")
    print(f"a model of 16 MB took {taken:,.0f} MiB in {options.workers} workers together")


if __name__ == "__main__":
    main()
