"""pebble: a process pool with a time limit and a kill for each task."""

from collections.abc import Iterable, Sequence
from multiprocessing import get_context
from typing import Any

import pebble

from peers.base import BlockingPeer, Work


class Blocking(BlockingPeer):
    def open(self) -> None:
        context = get_context(self.settings.get("mp_context"))
        self.pool: Any = pebble.ProcessPool(self.workers, context=context)

    def close(self) -> None:
        self.pool.close()
        self.pool.join()

    def submit(self, work: Work, value: Any) -> Any:
        return self.pool.schedule(work, args=(value,))

    def imap(self, work: Work, items: Sequence[Any], chunksize: int) -> Iterable[Any]:
        results: Iterable[Any] = self.pool.map(work, items, chunksize=chunksize).result()
        return results
