"""mpire: multiprocessing with progress, insights and worker state."""

from collections.abc import Iterable, Sequence
from typing import Any

from mpire.pool import WorkerPool

from peers.base import BlockingPeer, Work


class Blocking(BlockingPeer):
    def open(self) -> None:
        method = self.settings.get("mp_context", "fork")
        self.pool = WorkerPool(self.workers, start_method=method, keep_alive=True)

    def close(self) -> None:
        self.pool.stop_and_join()

    def submit(self, work: Work, value: Any) -> Any:
        return self.pool.apply_async(work, (value,))

    def result(self, handle: Any) -> Any:
        return handle.get()

    def imap(self, work: Work, items: Sequence[Any], chunksize: int) -> Iterable[Any]:
        results: Iterable[Any] = self.pool.imap(work, items, chunk_size=chunksize or None)
        return results
