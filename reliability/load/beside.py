"""What runs beside a load: streams, maps and works that raise, each accounted for item by item."""

from __future__ import annotations

import contextlib
import random
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, Self

from aplex import WorkerLostError, WorkQuarantinedError
from reliability.load import works

LOST: Final = (WorkerLostError, WorkQuarantinedError)
ITEMS: Final = 200
"""Of each stream, and of each map."""
CHUNK: Final = 10


class Beside:
    """Runs streams, maps and works that raise in threads, as long as the block lasts."""

    def __init__(self, pool: Any, rng: random.Random) -> None:
        self._pool = pool
        self._rngs = [random.Random(rng.random()) for _ in range(3)]
        self._over = threading.Event()
        kinds = (self._stream, self._map, self._fail)
        self._threads = [
            threading.Thread(target=self._repeat, args=(kind, rng), name=kind.__name__)
            for kind, rng in zip(kinds, self._rngs, strict=True)
        ]
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, kind: Callable[[random.Random], None], rng: random.Random) -> None:
        while not self._over.is_set():
            try:
                kind(rng)
            except BaseException as error:
                self.faults.append(f"{kind.__name__}: {error!r}")
                return

    def _stream(self, rng: random.Random) -> None:
        """A stream is right as far as it comes, and breaks off by a death only."""
        got: list[int] = []
        leave_at = rng.choice((ITEMS, ITEMS, rng.randrange(ITEMS)))
        with contextlib.suppress(*LOST), self._pool.stream(works.numbers, ITEMS) as stream:
            for item in stream:
                got.append(item)
                if len(got) == leave_at:
                    break
            else:
                if len(got) != ITEMS:
                    self.faults.append(f"a stream of {len(got)} items ended as if whole")
        if got != list(range(len(got))):
            self.faults.append(f"a stream was {got}")
        self.counts["items of streams"] += len(got)

    def _map(self, rng: random.Random) -> None:
        """A map that may run again is whole, in order; or it was given up, with a death."""
        start, got = rng.randrange(10**6), []
        view = self._pool.options(retries=2)
        with contextlib.suppress(*LOST):
            got.extend(view.map(works.echo, range(start, start + ITEMS), chunksize=CHUNK))
            if len(got) != ITEMS:
                self.faults.append(f"a map of {len(got)} items ended as if whole")
        if got != list(range(start, start + len(got))):
            self.faults.append(f"a map was {got}")
        self.counts["items of maps"] += len(got)

    def _fail(self, rng: random.Random) -> None:
        """What raises does so once, by its own exception, or by a death."""
        values = [rng.random() for _ in range(10)]
        futures = [self._pool.submit(works.fail, value) for value in values]
        for value, future in zip(values, futures, strict=True):
            error = future.exception()
            own = isinstance(error, LookupError) and error.args == (value,)
            if not own and not isinstance(error, LOST):
                self.faults.append(f"a work that was to raise: {error!r}")
        self.counts["works that raise"] += len(values)
