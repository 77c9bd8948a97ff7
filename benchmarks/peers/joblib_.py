"""joblib: `Parallel`, which only maps; a single work is a map of one."""

import time
from collections.abc import Sequence
from typing import Any

import joblib

from peers.base import Call, Peer, Work


class Blocking(Peer):
    def open(self) -> None:
        self.parallel = joblib.Parallel(self.workers, batch_size=1, pre_dispatch="all")
        self.parallel.__enter__()

    def close(self) -> None:
        self.parallel.__exit__(None, None, None)

    def submit_all(self, calls: Sequence[Call]) -> list[Any]:
        return list(self.parallel(joblib.delayed(work)(value) for work, value in calls))

    def time_each(self, calls: Sequence[Call]) -> list[float]:
        times = []
        for call in calls:
            before = time.perf_counter()
            self.submit_all([call])
            times.append(time.perf_counter() - before)
        return times

    def map(self, work: Work, items: Sequence[Any], chunksize: int) -> list[Any]:
        self.parallel.batch_size = chunksize or "auto"
        return list(self.parallel(joblib.delayed(work)(item) for item in items))
