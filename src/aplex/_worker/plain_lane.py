"""The PlainLane: runs plain functions on the main thread of a worker, one after another."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, MutableSequence, Sequence
from contextvars import Context, copy_context
from functools import partial

from aplex._common.errors import WorkInterrupted
from aplex._common.messages import (
    ATOMS,
    CANCELLED,
    DELIVERED,
    DETACHED,
    DOOMED,
    LEFT_BEHIND,
    PLAIN,
    RECORDING,
    SINCE,
    VALUE,
    Report,
    ReportBatch,
    Reports,
)
from aplex._worker.lane import HOLD, Codec, Detached, Ending, end_chunks, is_coroutine
from aplex._worker.meter import Meter
from aplex._worker.producers import CoroutineProducer, PlainProducer, Producer, Producers

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    from typing import Any, Final

    from aplex._worker.times import Times

DOOM_PAUSE: Final = 0.001
"""Seconds after which a worker looks again whether it is to be killed. Either is soon."""


class LeftBehind(BaseException):
    """Leaves the lane: the parent has given up this worker, which cannot be killed."""


class PlainLane:
    """Runs plain functions one after another, on the thread that calls ``run``.

    Attributes:
        inside: Number of the function whose call the thread is in, in which it may be
            interrupted; 0 in all other code.
        interrupted: Number of the last function that was interrupted.

    Args:
        codec: How calls and outcomes travel.
        started: Where to publish the number of the last work started, and since when it runs.
        send: Sends reports, with the seconds the works took. May be called on
            the thread that calls ``flush_held`` too, never on both at once.
        detach: Takes over a coroutine, or an asynchronous stream, that a plain callable
            returned.
        held: Called when a report is held back while the next function runs: have
            ``flush_held`` called on another thread `HOLD` seconds later. None: hold
            nothing back.
        producers: The streams of this worker.
        meter: Measures works. None: nobody does.
    """

    def __init__(
        self,
        codec: Codec,
        started: MutableSequence[int] | memoryview,
        send: Callable[[Reports], None],
        detach: Callable[[int, Detached], None],
        held: Callable[[], None] | None,
        producers: Producers,
        meter: Meter | None = None,
    ) -> None:
        self._codec = codec
        self._started = started
        self._count = 0  # of works that came so far
        # What works run in: mostly empty, unless the initializer has set variables.
        self._context: Context | None = None
        self._began = 0  # when the one that runs did, in nanoseconds
        self._meter = meter
        self._due = sys.maxsize  # number of the next one to be measured
        self.inside = 0
        self.interrupted = 0
        self._send = send
        self._detach = detach
        self._held = held
        self._producers = producers
        self._producing = False
        self._lock = threading.Lock()  # for what ``skip`` and ``flush_held`` share with ``run``
        self._skipped: set[int] = set()
        self.skips = 0  # works that were not run
        self._batch = ReportBatch()
        self._since = 0.0  # when the time that was not reported yet began
        self._holding = False
        self._items_sent = 0.0  # when an item of a stream was sent last
        self._level = 0  # what the parent has said of recording
        self._times: Times | None = None  # while it records

    def run(
        self, ids: Sequence[int], functions: list[Any], calls: list[Any], submitted: int = 0
    ) -> None:
        """Run works, which were submitted then, one after another, and send their reports.

        Empties the lists, since nothing of a work is to live on while the next ones run.
        """
        before, self._since = self._since, time.perf_counter()
        if self._context is None:
            self._context = copy_context()
        if self._started[RECORDING] != self._level:
            self._level = self._started[RECORDING]
            self._times = _new_times(self._level)
        left = len(ids)
        if self._meter is not None and left:
            idle = self._since - before > HOLD
            self._due = self._meter.frame(self._count, left, submitted, functions[0], idle=idle)
        functions.reverse()
        calls.reverse()
        for work_id in ids:
            left -= 1
            function, call = functions.pop(), calls.pop()
            with self._lock:
                self._begin()
                if self._skipped and self._count in self._skipped:
                    self._skipped.discard(self._count)
                    self.skips += 1
                    self._started[SINCE] = 0
                    if self._meter is not None:
                        self._meter.skip()
                    continue
            self._run(work_id, function, call, last=not left)
        if self._batch:  # the last one was skipped
            self.flush_held()

    def _begin(self) -> None:
        """Publish that the next function starts; not while the parent is about to kill us."""
        started = self._started
        self._count = count = self._count + 1
        while True:
            self._began = started[SINCE] = time.monotonic_ns()
            started[PLAIN] = count
            if not started[DOOMED]:  # in this order, see `Progress.doom`
                return
            started[SINCE] = 0
            started[PLAIN] = count - 1
            if started[LEFT_BEHIND]:
                raise LeftBehind
            time.sleep(DOOM_PAUSE)

    def be_copy(self) -> None:
        """In a process that this thread has forked off: end when it leaves the function."""
        ending: Any = Ending()
        self._codec = self._lock = self._detach = self._send = ending
        end_chunks()

    def skip(self, seq: int) -> bool:
        """Make ``run`` skip a work. Any thread.

        Returns:
            False if it was started already, or was never on this lane (``seq`` is 0).
        """
        with self._lock:
            if self._started[PLAIN] >= seq:
                return False
            self._skipped.add(seq)
            return True

    def tell(self, reports: Reports) -> None:
        """Send reports that are of no function. Any thread."""
        with self._lock:
            self._send(reports)

    def flush_held(self) -> None:
        """Send reports that were held back. Any thread."""
        with self._lock:
            self._flush()

    def _run(self, work_id: int, function: Any, call: Any, *, last: bool) -> None:
        report: Report | None = None
        pickled, data = False, None
        assert self._context is not None
        try:
            # An interrupt raises here from now on ...
            self.inside = self._count
            value = self._context.run(self._codec.run, function, call)
            self.inside = 0  # ... to here: CPython looks for signals after calls, not in between
            if type(value) in ATOMS:  # as mostly, and there is no more to find out
                data = value
            elif isinstance(value, PlainProducer):
                report = self._produce(work_id, value)
            elif is_coroutine(value) or isinstance(value, CoroutineProducer):
                self._detach(work_id, value)
                report = work_id, DETACHED, None
            else:
                pickled, data = self._codec.value(value)
        except BaseException as error:  # noqa: BLE001 - it belongs to the work
            self.inside = 0  # first of all: no call until here
            report = self._failed(work_id, error)
        if self._context:  # what it has set is not seen by the next one
            self._context = copy_context()
        with self._lock:
            if self._times is not None:
                ended = report is None or report[1] != DETACHED
                self._times.rows += (work_id if ended else 0, self._began)
            self._started[SINCE] = 0
            if self.interrupted == self._count:
                self._batch.others.append((work_id, DELIVERED, None))
            if report is None:
                self._batch.put(work_id, data, pickled=pickled)
            else:
                self._batch.others.append(report)
            # The traceback of an exception has this frame: it must not have the exception.
            report = None
            long = time.perf_counter() - self._since > HOLD
            if self._count >= self._due:  # then there is a meter
                assert self._meter is not None
                self._due = self._meter.ended(self._count, self._began)
            elif long and self._meter is not None:
                self._meter.look(self._began)
            if last or long or self._held is None:
                self._flush()
            elif not self._holding:
                self._holding = True
                self._held()

    def _produce(self, work_id: int, producer: PlainProducer) -> Report:
        """Run a stream to its end, or until it is closed."""
        with self._lock:
            self._flush()  # what was held back must not wait for it
            self._producing = True
        self._producers.add(work_id, producer)
        try:
            put = partial(self._put_item, work_id, producer)
            ended = producer.run(put, self.flush_held, self, self._count)
        finally:
            self._producers.remove(work_id)
            with self._lock:
                self._producing = False
        return work_id, VALUE if ended else CANCELLED, None

    def _put_item(self, work_id: int, producer: Producer, value: Any) -> None:
        """Report an item: at once, if the last one was a while ago; else with the next ones."""
        item = self._codec.item(value)
        with self._lock:
            self._batch.put_item(work_id, producer.yielded, item)
            now = time.perf_counter()
            if self._held is None or now - self._items_sent > HOLD:
                self._items_sent = now
                self._flush()
            elif not self._holding:
                self._holding = True
                self._held()

    def _failed(self, work_id: int, error: BaseException) -> Report:
        if isinstance(error, WorkInterrupted) and self.interrupted == self._count:
            return work_id, CANCELLED, None
        if self._times is not None:
            self._times.failed(work_id, error)
        return self._codec.error(work_id, error)

    def _flush(self) -> None:
        self._holding = False
        batch, now = self._batch, time.perf_counter()
        # Items say nothing of how long works take: a stream counts when it has ended.
        seconds = 0.0 if self._producing else now - self._since
        if batch:
            self._batch = ReportBatch()
            frame: Any = batch.frame(seconds)
            if self._times is not None and self._times.rows:
                frame = (*frame, self._times.take_plain(self._started[SINCE]))
            self._send(frame)
        if not self._producing:
            self._since = now


def _new_times(level: int) -> Times | None:
    """Return where to note times, if the parent wants them at this moment."""
    if not level:
        return None
    from aplex._worker.times import Times

    return Times(level)
