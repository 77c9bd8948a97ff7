"""The RemoteLink: the parent's side of the connections to one remote worker.

What a process on this machine publishes in shared memory, the agent of a remote worker tells when
it is asked (`_wire.orders`); it is kept here in memory of the same kind, so all that looks at it
works as it does for processes, only that it may be old by as long as a message travels. Times are
turned into those of this machine's clock: where both are the same run of one machine (`boot`), they
are the same; else they may be off by the time that the first message took.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from aplex._backends.linked.link import Link
from aplex._backends.linked.log_thread import LogChannel
from aplex._backends.remote.bulk import Bulk
from aplex._backends.remote.clocks import shifted
from aplex._backends.remote.late_results import LateResults
from aplex._common.messages import (
    COROUTINE,
    LEFT,
    PLAIN,
    RECORDING,
    SINCE,
    TURN_ENDED,
    TURN_SINCE,
    Reports,
)
from aplex._wire import orders, parcels
from aplex._wire.borrowed import BorrowedMemory
from aplex._wire.counters import Progress
from aplex._wire.frames import Bytes, End, PipeEnd, Reader, Writer
from aplex._wire.orders import Arrival, Certificate
from aplex._wire.page import COUNTER_COUNT
from aplex._wire.parcels import Parcel
from aplex._wire.shared_memory import SharedMemory, SharedPayload
from aplex._worker.log_forwarding import ROOM

if TYPE_CHECKING:
    from aplex._backends.remote.common import Common
    from aplex._pool.state import PoolWorker, Work

FRESH: Final = 0.05
"""Seconds for which how busy a loop is, is new enough."""
_TIMES: Final = (SINCE, TURN_SINCE, TURN_ENDED)
"""Counters that are times."""


class RemoteLink(Link):
    """The parent's side of one remote worker.

    Attributes:
        arrival: Who its agent is.
        certificate: How it has ended, once that is known.
        skew: What to add to a time of its clock to get one of ours, in nanoseconds.
        rss: Bytes of memory that it held when it was asked last; None: not known.
        bulk: Where big payloads travel; None: they lie in memory that it maps.
        common: The shared objects that have come to its machine, if they come there together.
    """

    def __init__(
        self,
        worker: PoolWorker,
        control: PipeEnd,
        lanes: tuple[PipeEnd, PipeEnd],
        logs: LogChannel | None,
        arrival: Arrival,
        skew: int,
        memory: tuple[SharedMemory, PipeEnd] | None,
        bulk: Bulk | None,
    ) -> None:
        """Take over connections; they are non-blocking.

        Args:
            worker: Whose.
            control: To its agent.
            lanes: To the worker, by lane.
            logs: Where its log records come.
            arrival: What the agent has said of itself.
            skew: See above.
            memory: Where its arguments are, and the file in which its results are, if it maps them.
            bulk: Where these travel instead.

        Raises:
            OSError: There are too many open files.
        """
        super().__init__(worker, None if memory is None else memory[0])
        self.progress = Progress(room=ROOM if logs is not None else 0)
        self.readers = [Reader(end) for end in lanes]
        self.writers = [Writer(end) for end in lanes]
        self.lifeline = control
        self.logs = logs
        if memory is not None:
            self.results = BorrowedMemory(memory[1])
        self.bulk = bulk
        self.common: Common | None = None
        self._late = LateResults()
        self.arrival = arrival
        self.skew = skew
        self.rss: int | None = None
        self.certificate: Certificate | None = None
        self.started = True
        self.asked_at = 0.0  # seconds: when the agent was asked last
        self._asked = 0  # how often
        self._answered = 0
        self._again = False  # something was wanted to be known since it was asked last
        self.ended_lanes: set[int] = set()

    @property
    def described(self) -> str:
        return f"the worker of {self.arrival.host}"

    def tell(self, order: int) -> bool:
        """Tell the agent something, and return whether that is on its way.

        Else it has gone, or is stuck: that is noticed elsewhere.
        """
        if self.closed:
            return False
        try:
            self.lifeline.write([order.to_bytes(8, sys.byteorder)])
        except OSError:
            return False
        return True

    def ask(self, order: int = orders.BEAT) -> int:
        """Have the agent tell the counters as they are now, or later. Under the lock.

        While an answer is awaited, which may be older, the next question waits for it: so there
        are not more of them than answers.

        Returns:
            The number of the answer that tells it.
        """
        if self._asked > self._answered and order == orders.BEAT:
            self._again = True
            return self._asked + 1
        self.asked_at = time.monotonic()
        if self.tell(order):  # else no answer comes, and a later one would count as it
            self._asked += 1
        return self._asked

    def glance(self) -> None:
        """Have the agent tell them, unless it did so lately."""
        if time.monotonic() - self.asked_at > FRESH:
            self.ask()

    def answered(self) -> None:
        """Note that an answer has come."""
        self._answered += 1
        again, self._again = self._again, False
        if again:
            self.ask()

    def has_told(self, number: int) -> bool:
        """Whether that answer has come, or none can come any more."""
        return self.closed or self.certificate is not None or self._answered >= number

    def kill(self) -> None:
        self.tell(orders.KILL)

    def take_counted(self, counters: bytes, rss: int, page: bytes | None) -> None:
        """Take in an answer, see `COUNTED`."""
        self.answered()
        self.take_counters(counters)
        self.take_page(page)
        self.rss = rss or None

    def take_counters(self, counters: bytes) -> None:
        """Take in what the agent has told."""
        if self.closed:
            return
        words = memoryview(counters).cast("Q").tolist()
        started = self.progress.started
        words[RECORDING], words[LEFT] = started[RECORDING], started[LEFT]
        for place in _TIMES:
            if words[place]:
                words[place] = max(1, words[place] + self.skew)
        # The number of what runs last: see `running_in`.
        for place in range(COUNTER_COUNT - 1, -1, -1):
            if place != PLAIN:
                started[place] = words[place]
        started[PLAIN] = words[PLAIN]

    def take_page(self, page: bytes | None) -> None:
        """Take in what the worker has measured."""
        if page is not None and not self.closed:
            self.progress.page.restore(page)

    def certify(self, certificate: Certificate) -> None:
        """Take in how the worker has ended."""
        self.certificate = certificate
        self.take_counters(certificate.counters)
        self.take_page(certificate.page)
        if certificate.left and self.logs is not None:
            with contextlib.suppress(OSError):  # no memory: they count as lost
                self.progress.leave(certificate.left)

    def read(self, lane: int) -> deque[Reports]:
        """Read once; times of the worker's clock become ours."""
        known = len(self.readers[lane].frames)
        frames = super().read(lane)
        if self.bulk is not None:
            self._late.hold_back(frames)
        if self.skew:
            for index in range(known, len(frames)):
                frames[index] = shifted(lane, frames[index], self.skew)
        return frames

    def read_out(self, lane: int) -> deque[Reports]:
        """Read all that is there now; note if that is the end of the lane."""
        frames: deque[Reports] = self.readers[lane].frames
        try:
            while True:
                self.read(lane)
        except BlockingIOError:
            pass
        except Exception:  # noqa: BLE001 - its end, or nothing decodable comes
            self.ended_lanes.add(lane)
        return frames

    @property
    def is_read_out(self) -> bool:
        """Whether nothing more can come."""
        return self.ended_lanes == {COROUTINE, PLAIN} and (
            self.bulk is None or self.bulk.is_read_out
        )

    # -- big payloads --------------------------------------------------------------

    def ends(self) -> Iterator[End]:
        yield from super().ends()
        if self.bulk is not None:
            yield self.bulk.end

    def close(self) -> None:
        if self.bulk is not None:
            self.bulk.close()
        super().close()

    def send_call(self, work: Work) -> list[int]:
        """Send arguments; return how the frame names them."""
        assert self.bulk is not None
        payload: SharedPayload = work.call
        number = self.bulk.send(
            parcels.CALL, payload.views(), payload.frozen, number=work.seq, keep=payload
        )
        return [number, *payload.lengths]

    def tell_bulk(self, kind: int, number: int, *parts: bytes) -> None:
        """Tell a worker something of a shared object. Any thread."""
        assert self.bulk is not None
        self.bulk.send(kind, parts, range(len(parts)), number=number)

    def carry(self, number: int, place: bytes, payload: SharedPayload) -> None:
        """Send a worker a shared object, for all of its machine."""
        assert self.bulk is not None
        parts: list[Bytes] = [place, *payload.views()]
        self.bulk.send(parcels.SHARED, parts, [0], number=number, keep=payload)

    def came(self, parcel: Parcel) -> deque[Reports]:
        """Take in a result; return the report of it, if that has come. Under the lock."""
        return self._late.came(parcel)

    def _take_back(self, work_id: int, seq: int) -> None:
        if self.bulk is None:
            super()._take_back(work_id, seq)
        else:
            work = None if self._worker is None else self._worker.works.get(work_id)
            if work is not None and work.seq == seq and type(work.call) is SharedPayload:
                self.bulk.send(parcels.FORGET, number=seq)
