"""The ProcessCodec: how calls come to a worker that has memory of its own, and outcomes leave it.

The `Codecs` of a worker are one for each lane. What they have together is made by them, too.
"""

from __future__ import annotations

from aplex._common.messages import ATOMS, ERROR, Report, ReportBatch
from aplex._wire.calls import CallDecoder, Put, encode_value, is_atom
from aplex._wire.exceptions import encode_exception
from aplex._worker.meter import Names
from aplex._worker.worker_memory import WorkerMemory

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    from collections.abc import Callable, MutableSequence
    from typing import Any

    from aplex._wire.frames import PipeEnd
    from aplex._wire.page import WorkerPage
    from aplex._wire.shared_objects import SharedObjects
    from aplex._worker.bulk import Bulk, Start
    from aplex._worker.child_ends import ChildEnds


class ProcessCodec(CallDecoder):
    """Calls and outcomes travel as pickles, atoms as they are."""

    def __init__(
        self,
        arena_in: PipeEnd | None,
        put: Put | None,
        shared: Callable[[], SharedObjects] | None = None,
        bulk: Bulk | None = None,
    ) -> None:
        """Open and fill shared memory, where there is such.

        Args:
            arena_in: The file with what the parent has put there.
            put: Puts a big result there.
            shared: Returns the shared objects of this worker.
            bulk: Where big payloads travel instead.
        """
        self._borrowed: Any = None
        self._arena_in = arena_in
        open_ = None if arena_in is None else self._open_place
        super().__init__(open_ if bulk is None else bulk.open, shared)
        self._put_item = put
        self._put_value: Any = put if bulk is None else bulk.put

    def _open_place(self, place: list[int]) -> list[memoryview]:
        if self._borrowed is None:
            from aplex._wire.borrowed import BorrowedMemory

            assert self._arena_in is not None
            self._borrowed = BorrowedMemory(self._arena_in)
        views: list[memoryview] = self._borrowed.open(place)
        return views

    def forget(self) -> None:
        """Unmap what the calls had, where no end of a process does that."""
        if self._borrowed is not None:
            self._borrowed.forget()

    def put(self, batch: ReportBatch, work_id: int, value: Any) -> None:
        if type(value) in ATOMS or is_atom(value):
            batch.ids.append(work_id)
            batch.values.append(value)
        else:
            batch.put(work_id, encode_value(value, self._put_value), pickled=True)

    def value(self, value: Any) -> tuple[bool, Any]:
        if is_atom(value):
            return False, value
        return True, encode_value(value, self._put_value)

    def item(self, value: Any) -> tuple[bool, Any]:
        if is_atom(value):
            return False, value
        return True, encode_value(value, self._put_item)

    def error(self, work_id: int, error: BaseException) -> Report:
        return work_id, ERROR, encode_exception(error)


class Codecs:
    """The codecs of one worker, and what they have together.

    Attributes:
        names: The functions that works have called.
        memory: What the worker shares with its parent.
        bulk: Where big payloads travel instead; None: nowhere.
    """

    def __init__(
        self,
        kind: type[ProcessCodec],
        ends: ChildEnds,
        page: WorkerPage,
        wake: Callable[[], object],
        start: Start,
        lost: Callable[[], object],
    ) -> None:
        """Have no codec yet.

        Args:
            kind: What they are.
            ends: Where payloads travel.
            page: Where names are written.
            wake: Wakes the watcher, see `WorkerMemory`.
            start: Starts a daemon thread of that name.
            lost: Is called when big payloads cannot come any more.
        """
        self.names = Names(page)
        self.memory = WorkerMemory(ends, wake)
        self.bulk: Bulk | None = None
        if ends.bulk is not None:
            from aplex._worker.bulk import Bulk

            self.bulk = Bulk(ends.bulk, ends.common, start, self.memory.keep, lost)
            self.memory.arrivals = self.bulk.arrivals
        self._kind = kind
        self._ends = ends
        self._made: list[ProcessCodec] = []

    def make(self, counters: MutableSequence[int] | memoryview) -> ProcessCodec:
        """Make the codec of one lane, which notes there what it calls."""
        put = None if self._ends.arena_out is None else self.memory.put
        codec = self._kind(self._ends.arena_in, put, self.memory.objects, self.bulk)
        codec.counters, codec.name = counters, self.names.of_call
        self._made.append(codec)
        return codec

    def forget(self) -> None:
        """Unmap it all, where no end of a process does that."""
        self.memory.forget()
        for codec in self._made:
            codec.forget()
