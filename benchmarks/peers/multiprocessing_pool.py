"""`multiprocessing.Pool`."""

from collections.abc import Iterable, Sequence
from multiprocessing import get_context
from typing import Any

from peers.base import BlockingPeer, Work


class Blocking(BlockingPeer):
    def open(self) -> None:
        self.pool = get_context(self.settings.get("mp_context")).Pool(self.workers)

    def close(self) -> None:
        self.pool.close()
        self.pool.join()

    def submit(self, work: Work, value: Any) -> Any:
        return self.pool.apply_async(work, (value,))

    def result(self, handle: Any) -> Any:
        return handle.get()

    def imap(self, work: Work, items: Sequence[Any], chunksize: int) -> Iterable[Any]:
        return self.pool.imap(work, items, chunksize)
