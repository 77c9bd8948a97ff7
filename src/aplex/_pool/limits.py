"""Limits: which works wait for more than a worker, and when they may go to one.

Rules of this file: logic only, as in ``_pool.pool``. The clock is handed in; a time to come goes
out as a number of seconds, after which `Limits.due` is to be called.

A work with ``max_concurrency``, ``rate`` or ``priority`` does not wait in the line of its
lane but *apart*, here. Works of one key are a `Group`, each lane of which has a line by rank
(the highest priority first, then the oldest). The head of a line is *ready* when the limits
of its group allow it to start; then it only needs a worker with room, and the Pool takes it
at the moment it gives it to one. From then until it is done the work *holds* a place in its
group. One that has to wait again (its worker died, or gave it back) returns its place.

That a head is ready is a hint, looked at again when it is taken: another work of the group,
of the other lane, may have been faster.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Final

from aplex._common.messages import LANES, PLAIN

if TYPE_CHECKING:
    from aplex._pool.work import Work

SPACED_PLAIN: Final = 2
"""Index of the ready plain functions with a ``rate``, which need an idle worker.

Others are sent ahead to busy workers. These would then start at any time, two at once.
"""
FEW: Final = 64
"""Groups that are kept without a look at which of them are still needed."""

Rank = tuple[int, int]
"""What works are ordered by: the lower, the earlier."""
Entry = tuple[int, int, "Work"]


def rank(work: Work) -> Rank:
    """Return the rank of a work: by priority, then by age."""
    return -work.options.priority, work.id


class Group:
    """The works of one key: those that hold a place, and those that wait for one."""

    __slots__ = ("alarmed", "base", "busy_until", "holders", "late", "lines", "offered")

    def __init__(self) -> None:
        self.holders: set[Work] = set()
        self.lines: tuple[list[Entry], list[Entry]] = ([], [])
        self.offered: list[Work | None] = [None, None]  # the ready head of each line
        self.base = float("-inf")  # when the last start was, or should have been
        self.busy_until = float("-inf")  # when the last start does not matter any more
        self.alarmed = False  # whether `Limits.due` will be called
        self.late = False  # the next start has waited for its time

    def is_full_for(self, work: Work) -> bool:
        """Whether as many works hold a place as this one allows."""
        bound = work.options.max_concurrency
        return bound is not None and len(self.holders) >= bound

    def due(self, work: Work) -> float:
        """Return when a work may start, as far as its rate is concerned."""
        rate = work.options.rate
        return self.base if rate is None else self.base + 1 / rate

    def start(self, work: Work, now: float) -> None:
        """Give a place to a work.

        A timer is always a little late. Up to half of the spacing is made good, else a rate
        would never be reached; so from one start to the m-th after it there are m - 1/2
        spacings, or more.
        """
        rate = work.options.rate
        late = 0.0
        if rate is not None:
            if self.late:
                late = min(now - self.due(work), 0.5 / rate)
            self.busy_until = max(self.busy_until, now + 1 / rate)
        self.base = now - late
        self.late = False
        self.holders.add(work)

    def head(self, lane: int) -> Work | None:
        """Return the first work of a line; drop those in front that have left it."""
        line = self.lines[lane]
        while line and not line[0][2].apart:
            heappop(line)
        return line[0][2] if line else None


class Limits:
    """The works that wait apart, and the groups they belong to."""

    def __init__(self, clock: Callable[[], float], alarm: Callable[[float, Group], None]) -> None:
        self._clock = clock
        self._alarm = alarm  # is told after how many seconds to call `due`
        self._groups: dict[Hashable, Group] = {}
        self._many = FEW  # groups after which those not needed are dropped
        self._ready: tuple[list[Entry], list[Entry], list[Entry]] = ([], [], [])
        self._members: dict[Work, Group | None] = {}  # all that are not done
        self.waiting: set[Work] = set()  # of those, who waits apart
        self.holders: set[Work] = set()  # and who holds a place

    @property
    def spaced(self) -> bool:
        """Whether a plain function is ready, and needs an idle worker."""
        return bool(self._ready[SPACED_PLAIN])

    # -- events ---------------------------------------------------------------

    def add(self, work: Work) -> None:
        """Let a work wait apart: a new one, or one that has to wait again.

        Raises:
            TypeError: Its key cannot be hashed.
        """
        if work not in self._members:
            self._members[work] = self._group_of(work)
        group = self._members[work]
        work.apart = True
        self.waiting.add(work)
        if group is None:
            heappush(self._ready[work.lane], (*rank(work), work))
            return
        heappush(group.lines[work.lane], (*rank(work), work))
        if work in self.holders:
            self.holders.discard(work)
            group.holders.discard(work)
        self._offer(group)

    def first(self, room: Sequence[bool]) -> Work | None:
        """Return the ready work that comes first, of the lines for which there is room."""
        best: Entry | None = None
        for place, ready in enumerate(self._ready):
            if room[place]:
                while ready and not self._may_start(ready[0][2]):
                    self._withdraw(heappop(ready)[2])
                if ready and (best is None or ready[0] < best):
                    best = ready[0]
        return None if best is None else best[2]

    def take(self, work: Work) -> None:
        """Give a place to the work that was the first, which goes to a worker."""
        group = self._members[work]
        work.apart = False
        self.waiting.discard(work)
        if group is not None:
            self.holders.add(work)
            group.start(work, self._clock())
            self._offer(group)

    def leave(self, work: Work) -> None:
        """Forget a work that is done."""
        if work not in self._members:
            return
        group = self._members.pop(work)
        work.apart = False
        self.waiting.discard(work)
        if group is not None:
            self.holders.discard(work)
            group.holders.discard(work)
            self._offer(group)

    def left(self, settled: Iterable[tuple[Work, int, Any]]) -> None:
        """Forget works that are done, among others.

        What was settled tells not only of these: a stream that has yielded, or a function whose
        future has failed and that cannot be stopped, runs on, and keeps its place.
        """
        for work, _, _ in settled:
            if work.is_done and work in self.holders:
                self.leave(work)

    def due(self, group: Group) -> None:
        """The time of an alarm has come."""
        group.alarmed = False
        group.late = any(group.head(lane) for lane in LANES)
        self._offer(group)

    def clear(self) -> list[Work]:
        """Let no work wait any more; return those that did, by rank."""
        works = sorted(self.waiting, key=rank)
        for work in works:
            work.apart = False
            self.waiting.discard(work)
        return works

    def mend(self, elsewhere: set[Work]) -> None:
        """Begin anew, after an exception that can come at any moment broke into an event.

        Args:
            elsewhere: Works that wait, but not here.
        """
        members = list(self._members)
        for group in self._groups.values():
            group.holders.clear()
            group.offered = [None, None]
            group.lines = ([], [])
            group.alarmed = False  # one alarm too many does no harm
        self._ready = ([], [], [])
        self.waiting.clear()
        self.holders.clear()
        for work in members:
            self._place_anew(work, is_elsewhere=work in elsewhere)
        for group in self._groups.values():
            self._offer(group)

    # -- decisions ------------------------------------------------------------

    def _place_anew(self, work: Work, *, is_elsewhere: bool) -> None:
        group = self._members[work]
        work.apart = False
        if work.is_done:
            del self._members[work]
        elif is_elsewhere or not work.is_waiting:
            if group is not None:
                group.holders.add(work)
                self.holders.add(work)
        else:
            work.apart = True
            self.waiting.add(work)
            line = self._ready[work.lane] if group is None else group.lines[work.lane]
            heappush(line, (*rank(work), work))

    def _group_of(self, work: Work) -> Group | None:
        options = work.options
        if options.max_concurrency is None and options.rate is None:
            return None  # it has a priority only
        key = work.what if options.limit_key is None else options.limit_key
        try:
            group = self._groups.get(key)
        except TypeError as error:
            raise TypeError(
                f"a limit is for all works of one key, and {work.name} cannot be one "
                f"({error}); name a key: options(limit_key=…)"
            ) from error
        if group is None:
            self._drop_groups()
            group = self._groups[key] = Group()
        return group

    def _drop_groups(self) -> None:
        """Drop the groups that have no works and remember no start that matters."""
        if len(self._groups) < self._many:
            return
        used, now = {id(group) for group in self._members.values()}, self._clock()
        self._groups = {
            key: group
            for key, group in self._groups.items()
            if id(group) in used or group.busy_until > now
        }
        self._many = max(FEW, 2 * len(self._groups))

    def _may_start(self, work: Work) -> bool:
        """Whether nothing but a worker is missing."""
        if not work.apart:
            return False
        group = self._members[work]
        return group is None or (
            not group.is_full_for(work)
            and (work.options.rate is None or group.due(work) <= self._clock())
        )

    def _withdraw(self, work: Work) -> None:
        """A work that was ready is not: it has left, or another one was faster."""
        group = self._members.get(work)
        if group is not None and work in group.offered:
            # Not the lane it has now: a function that returned a coroutine has changed lanes.
            group.offered[group.offered.index(work)] = None
            self._offer(group)

    def _offer(self, group: Group) -> None:
        """Let the heads of a group be ready, if its limits allow; or set an alarm."""
        for lane in LANES:
            head = group.head(lane)
            if head is None or group.is_full_for(head) or group.offered[lane] is head:
                continue
            wait = group.due(head) - self._clock() if head.options.rate is not None else 0.0
            if wait <= 0:
                group.offered[lane] = head
                spaced = lane == PLAIN and head.options.rate is not None
                heappush(self._ready[SPACED_PLAIN if spaced else lane], (*rank(head), head))
            elif not group.alarmed:
                group.alarmed = True
                self._alarm(wait, group)
