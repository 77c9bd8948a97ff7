"""loky: a sturdier ProcessPoolExecutor."""

from collections.abc import Iterable, Sequence
from typing import Any

import loky

from peers.base import BlockingPeer, Work


class Blocking(BlockingPeer):
    def open(self) -> None:
        self.pool = loky.ProcessPoolExecutor(self.workers)

    def close(self) -> None:
        self.pool.shutdown()

    def submit(self, work: Work, value: Any) -> Any:
        return self.pool.submit(work, value)

    def imap(self, work: Work, items: Sequence[Any], chunksize: int) -> Iterable[Any]:
        results: Iterable[Any] = self.pool.map(work, items, chunksize=chunksize)
        return results
