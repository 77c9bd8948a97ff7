#!/usr/bin/env python3
"""A scikit-learn model that is loaded once per worker, against once per work, measured.

    python examples/model_per_worker.py

Without scikit-learn a model of plain Python stands in; it is made and loaded the same way.
"""

import argparse
import contextlib
import pickle
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from aplex import ProcessAsyncPoolExecutor, current_worker

try:
    from sklearn.ensemble import RandomForestClassifier  # type: ignore[import-not-found, unused-ignore]
except ImportError:
    RandomForestClassifier = None


class Neighbours:
    """Stands in for a model of scikit-learn: says the class of the nearest point."""

    def fit(self, points: list[list[float]], classes: list[int]) -> "Neighbours":
        self.known = list(zip(points, classes, strict=True))
        return self

    def predict(self, points: list[list[float]]) -> list[int]:
        return [min(self.known, key=partial(distance, point))[1] for point in points]


def distance(point: list[float], known: tuple[list[float], int]) -> float:
    return sum((a - b) ** 2 for a, b in zip(point, known[0], strict=True))


def train() -> Any:
    chance = random.Random(1)
    points = [[chance.random(), chance.random()] for _ in range(5000)]
    classes = [int(x > y) for x, y in points]
    model = Neighbours() if RandomForestClassifier is None else RandomForestClassifier(100)
    return model.fit(points, classes)


def load(path: Path) -> Any:
    return pickle.loads(path.read_bytes())


# --- in the workers ----------------------------------------------------------------------


@contextlib.contextmanager
def loaded(path: Path) -> Iterator[Any]:
    """Load the model when the worker starts."""
    yield load(path)


def predict(point: list[float]) -> int:
    return int(current_worker().state.predict([point])[0])


def load_and_predict(path: Path, point: list[float]) -> int:
    return int(load(path).predict([point])[0])


# --- the program -------------------------------------------------------------------------


def measure(
    work: Callable[..., int], points: list[list[float]], lifespan: Callable[[], Any] | None
) -> tuple[list[int], float]:
    with ProcessAsyncPoolExecutor(2, lifespan=lifespan) as pool:
        pool.start()
        before = time.perf_counter()
        classes = list(pool.map(work, points))
        return classes, len(points) / (time.perf_counter() - before)


def main() -> None:
    parser = argparse.ArgumentParser(description="A model per worker, or per work.")
    parser.add_argument("--count", type=int, default=200, help="predictions (%(default)s)")
    count = parser.parse_args().count
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.pickle")
        path.write_bytes(pickle.dumps(train()))
        points = [[n / count, 0.5] for n in range(count)]
        first, slow = measure(partial(load_and_predict, path), points, None)
        second, fast = measure(predict, points, partial(loaded, path))
    assert first == second
    print(f"loaded in each work:    {slow:8,.0f} predictions/s")
    print(f"loaded once per worker: {fast:8,.0f} predictions/s, {fast / slow:.1f} times as many")


if __name__ == "__main__":
    main()
