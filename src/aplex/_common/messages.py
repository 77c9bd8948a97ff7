"""What parent and worker say to each other. A leaf: it imports nothing of aplex.

Down, on the lane the works belong to, a frame is ``(definitions, ids, functions,
calls, cancels, recalls, credits, submitted)``:

* ``definitions`` - ``{number: function}``: functions this lane has not seen yet, and, with numbers
  below 0, shared objects; None: to be forgotten;
* ``ids``, ``functions``, ``calls`` - columns, a row for each work to run: its id,
  the number of its function (0: it travels in the call), its arguments. A worker
  counts the works of a lane that it has *started*, in the order they came, so that
  the parent knows after a death what may run elsewhere;
* ``cancels`` - ``[(id, seq)]``: cancel these works; ``seq`` is the work's place in
  that order, 0 unless it is a plain function. Always on the coroutine lane, which no
  plain function blocks;
* ``recalls`` - the same of plain functions that are wanted back, if they were not
  started;
* ``credits`` - ``[(id, count)]``: so many items may these streams yield, counted from
  their first one. Always on the coroutine lane, as cancels;
* ``submitted`` - when the first of the works was submitted, in nanoseconds of the
  monotonic clock; 0: not known.

A plain function that is to be interrupted is named on the lifeline, by its ``seq``: a
worker's thread that runs no user's code reads that, and answers inquiries, which come
there, too.

``None`` instead of a frame: close down: finish, clean up, exit. Always on the plain
lane.

Up, a frame is ``(seconds, others, ids, values, pickled, pickles)``: the seconds the
works took; reports ``(id, kind, data)`` of every kind below; and, in columns, what
most reports are: ids and results as they are, ids and pickled results. ``others``
comes first: a cancel that was delivered is known before the outcome, and the items of a
stream are before its end. While the parent records, there is one field more, of which the Pool
knows nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    from typing import Any, Final, TypeAlias


ATOMS: Final = frozenset({int, float, complex, bool, type(None)})
"""Types of which every value is small and immutable: it travels as it is."""

COROUTINE: Final = 0
"""The lane of coroutine works: the thread of the worker's event loop."""
PLAIN: Final = 1
"""The lane of plain functions: the worker's main thread, one at a time."""
LANES: Final = (COROUTINE, PLAIN)

SINCE: Final = 2
"""Index, behind the counters of works started: when the plain function that runs began, in
nanoseconds of the monotonic clock, which all processes of a machine share; 0: none runs."""
DOOMED: Final = 3
"""Index: not 0 while the parent looks whether to kill the worker; no plain function starts."""
LOGGED: Final = 4
"""Index: how many log records the worker has had to forward."""
LEFT: Final = 5
"""Index: how many bytes of records it has left behind, see `Progress.leave`."""
RECORDING: Final = 6
"""Index: not 0 while the parent records what works do; then frames of reports have one more field,
the `Column` of ``_worker.times``. 2: with the messages of exceptions."""
LEFT_BEHIND: Final = 7
"""Index: not 0 if the parent has given the worker up, which cannot be killed; nothing starts."""

TURN_SINCE: Final = 8
"""Index: when the turn of the event loop began that runs now, likewise; 0: it waits."""
TURN_ENDED: Final = 9
"""Index: when the last turn ended."""
TURN_LAG: Final = 10
"""Index: how long turns take, in nanoseconds: up at once, down slowly."""
SLOW: Final = 11
"""Index: after how many nanoseconds a turn is told of; 0: never. Written by the parent."""
COUNTERS: Final = 12
"""How many of these numbers there are."""

VALUE: Final = 0  # data is the result itself
PICKLED: Final = 1  # data is the pickled result
ERROR: Final = 2  # data is a pickled exception
RAISED: Final = 3  # data is the exception itself
CANCELLED: Final = 4  # the work ended cancelled; or, if data is its seq, was never started
DELIVERED: Final = 5  # the cancel has reached the work; the outcome will follow
TOO_LATE: Final = 6  # the cancel has found the plain function running; it runs on
DETACHED: Final = 7  # a plain function returned a coroutine, which now runs
READY: Final = 8  # the worker serves; data is its process id
FAILED: Final = 9  # the worker cannot serve; data as for ERROR or RAISED
RETURNED: Final = 10  # the recall has found the work not started; data is the recall's seq
STALLED: Final = 13  # something blocks the event loop; data is a `_worker.loop_watch.Stall`
ITEMS: Final = 11  # the stream has yielded; data is the number of the first item, and a list
FREED: Final = 12  # the worker has nothing of some shared objects any more; data are their numbers

DUMPED: Final = 20  # what the worker does now; the id is that of the inquiry

Item: TypeAlias = "tuple[bool, Any]"  # of a stream: whether it is pickled, and what travels
Report: TypeAlias = "tuple[int, int, Any]"
Reports: TypeAlias = "tuple[float, list[Report], list[int], list[Any], list[int], list[Any]]"


def only(*reports: Report) -> Reports:
    """Return a frame of reports that are no results."""
    return 0.0, list(reports), [], [], [], []


class ReportBatch:
    """Reports that are gathered for a frame."""

    __slots__ = ("batches", "ids", "others", "pickled", "pickles", "values")

    def __init__(self) -> None:
        self.batches: dict[int, list[Item]] | None = None  # items of streams, in ``others`` too
        self.others: list[Report] = []
        self.ids: list[int] = []
        self.values: list[Any] = []
        self.pickled: list[int] = []
        self.pickles: list[Any] = []

    def __bool__(self) -> bool:
        return bool(self.ids or self.others or self.pickled)

    def put(self, work_id: int, data: Any, *, pickled: bool) -> None:
        """Add a result."""
        if pickled:
            self.pickled.append(work_id)
            self.pickles.append(data)
        else:
            self.ids.append(work_id)
            self.values.append(data)

    def put_item(self, work_id: int, number: int, item: Item) -> None:
        """Add an item of a stream. Those of one frame are one report."""
        if self.batches is None:
            self.batches = {}
        batch = self.batches.get(work_id)
        if batch is None:
            batch = self.batches[work_id] = []
            self.others.append((work_id, ITEMS, (number, batch)))
        batch.append(item)

    def __len__(self) -> int:
        return len(self.ids) + len(self.others) + len(self.pickled)

    def frame(self, seconds: float) -> Reports:
        """Return what goes up."""
        return seconds, self.others, self.ids, self.values, self.pickled, self.pickles
