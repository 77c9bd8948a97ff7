"""Limits: which works wait for more than a worker, and when they may go to one.

Rules of this file: logic only, as in ``_pool.pool``. The clock is handed in; an alarm goes out as
a number of seconds, after which `Limits.due` is to be called.

A work with ``max_concurrency``, ``rate`` or ``priority`` does not wait in the line of its lane but
*apart*, here. Works of one key form a `Group`, which has a line for each lane, ordered by rank
(the highest priority first, then the oldest). The head of a line is *ready* when the limits of
its group allow it to start. Then it only needs a worker with room; the Pool takes it at the
moment it has one. From then until it is done the work *holds* a place in its group. If it has to
wait again (its worker died, or gave it back), it returns its place.

That a head is ready is only a hint, and is checked again when the work is taken: a work of the
same group in the other lane may have been faster.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from heapq import heappop, heappush
from typing import Any, Final, cast

from aplex._common.adaptive_limit import AdaptiveLimit
from aplex._common.messages import LANES, PLAIN
from aplex._pool.adaptation import Adaptation
from aplex._pool.state import Work

SPACED_LINE: Final = 2
"""Index of the ready plain functions with a ``rate``, which need an idle worker.

Other functions are sent ahead to busy workers. These would then start at any time, perhaps two
at once.
"""
KEPT_GROUPS: Final = 64
"""Groups that are kept without checking which of them are still needed."""

Rank = tuple[int, int]
"""By what works are ordered: the lowest first."""
Entry = tuple[int, int, Work]


def rank(work: Work) -> Rank:
    """Return the rank of a work: by its priority, then by its age."""
    return -work.options.priority, work.id


class Group:
    """The works of one key: those that hold a place, and those that wait for one."""

    __slots__ = (
        *("adaptation", "alarmed", "base", "busy_until", "held", "late", "lines", "offered"),
        "paused_until",
    )

    def __init__(self) -> None:
        self.held = 0  # places; `Limits.holders` knows by whom
        self.lines: tuple[list[Entry], list[Entry]] = ([], [])
        self.offered: list[Work | None] = [None, None]  # the ready head of each line
        self.base = float("-inf")  # when the last start was, or should have been
        self.busy_until = float("-inf")  # until when the last start matters
        self.alarmed = False  # whether `Limits.due` is going to be called
        self.late = False  # whether the next start has waited for an alarm
        self.paused_until = float("-inf")  # a work was told to wait so long
        self.adaptation: Adaptation | None = None  # if its bound follows what is borne

    def is_full_for(self, work: Work) -> bool:
        """Whether as many works hold a place as this work allows."""
        bound = work.options.max_concurrency
        if bound is None:
            return False
        if isinstance(bound, AdaptiveLimit):
            if self.adaptation is None:
                self.adaptation = Adaptation(bound)
            bound = self.adaptation.limit
        return self.held >= cast("int", bound)

    def wait(self, work: Work, now: float) -> float:
        """Return the seconds from now until a work may start; not positive: it may."""
        start = self.paused_until
        if work.options.rate is not None:
            start = max(start, self.due(work))
        return start - now

    def due(self, work: Work) -> float:
        """Return the time from which the rate of a work allows it to start."""
        rate = work.options.rate
        return self.base if rate is None else self.base + 1 / rate

    def start(self, work: Work, now: float) -> None:
        """Give a place to a work, which has none.

        A timer is always a little late. Up to half a spacing of that is made good, since
        otherwise no rate would ever be reached. So between one start and the m-th after it there
        are at least m - 1/2 spacings.
        """
        rate = work.options.rate
        late = 0.0
        if rate is not None:
            if self.late:
                late = min(now - self.due(work), 0.5 / rate)
            self.busy_until = max(self.busy_until, now + 1 / rate)
        self.base = now - late
        self.late = False
        self.held += 1

    def head(self, lane: int) -> Work | None:
        """Return the first work of a line; drop those in front that have left it."""
        line = self.lines[lane]
        while line and (not line[0][2].apart or line[0][2].on_trial):
            heappop(line)
        return line[0][2] if line else None


class Limits:
    """The works that wait apart, and the groups they belong to."""

    def __init__(
        self, clock: Callable[[], float], alarm: Callable[[float, Group | Work], None]
    ) -> None:
        self._clock = clock
        self._alarm = alarm  # called with the seconds after which to call `due`
        self._groups: dict[Hashable, Group] = {}
        self._clean_above = KEPT_GROUPS  # groups; above, those not needed are dropped
        self._ready: tuple[list[Entry], list[Entry], list[Entry]] = ([], [], [])
        self._members: dict[Work, Group | None] = {}  # all that are not done
        self.waiting: set[Work] = set()  # those of them that wait apart
        self.holders: set[Work] = set()  # those of them that hold a place

    @property
    def spaced(self) -> bool:
        """Whether a plain function is ready, and needs an idle worker."""
        return bool(self._ready[SPACED_LINE])

    def adaptations(self) -> list[tuple[Hashable, Group]]:
        """Return the keys whose bound follows what is borne. Any thread."""
        return [(key, group) for key, group in list(self._groups.items()) if group.adaptation]

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
        self._give_back(work, group)
        self._offer(group)

    def beside(self, work: Work) -> Collection[Work]:
        """Return the works of the same key that hold a place. It may not have been added yet.

        Raises:
            TypeError: The key cannot be hashed.
        """
        group = self._members.get(work) or self._group_of(work)
        if group is None or not group.held:
            return ()
        return [other for other in self.holders if self._members.get(other) is group]

    def tidy(self) -> None:
        """Let no work that may not start be the first of those that are ready.

        To withdraw one can make others ready, in any line: so this comes before anybody looks
        for room or for the first. Those are able to start.
        """
        for ready in self._ready:
            while ready and not self._may_start(ready[0][2]):
                self._withdraw(heappop(ready)[2])

    def first(self, room: Sequence[bool]) -> Work | None:
        """Return the first of the ready works for which there is room; after `tidy`."""
        heads = [ready[0] for place, ready in enumerate(self._ready) if room[place] and ready]
        return min(heads)[2] if heads else None

    def take(self, work: Work) -> None:
        """Give a place to the work that ``first`` has returned: it goes to a worker."""
        group = self._members[work]
        work.apart = False
        self.waiting.discard(work)
        if group is not None:
            self.holders.add(work)
            group.start(work, self._clock())
            if group.adaptation is not None:
                work.epoch = group.adaptation.epoch
            self._offer(group)

    def leave(self, work: Work) -> None:
        """Forget a work that is done."""
        if work not in self._members:
            return
        group = self._members.pop(work)
        work.apart = False
        self.waiting.discard(work)
        if group is not None:
            self._give_back(work, group)
            self._offer(group)

    def left(self, settled: Iterable[tuple[Work, int, Any]]) -> None:
        """Forget the works among these that are done.

        Others run on and keep their places: a stream that has yielded, or a function whose future
        has failed and that cannot be stopped.
        """
        for work, _, _ in settled:
            if work.is_done and work in self.holders:
                self.leave(work)

    def hold_back(self, work: Work) -> None:
        """Have a work wait whose outcome is looked at. It keeps its place.

        So the next one starts when it is known whether there are too many.
        """
        self._members.setdefault(work, None)
        work.apart = work.on_trial = True
        self.waiting.add(work)

    def postpone(self, work: Work, seconds: float) -> None:
        """Have a work that is held back wait for its turn again, after so many seconds."""
        group = self._members.get(work)
        if group is not None:
            self._give_back(work, group)
            self._offer(group)
        self._alarm(seconds, work)

    def feedback(self, work: Work, pause: float | None) -> None:
        """Take in whether a work that is held back was told to slow down.

        Args:
            work: It.
            pause: For how many seconds works of its key are to wait; None: it went well.
        """
        group = self._members.get(work)
        if group is None:
            return
        if group.adaptation is not None and pause is None:
            waits = any(group.head(lane) for lane in LANES)
            group.adaptation.went_well(work.epoch, bound_matters=waits)
        elif group.adaptation is not None:
            group.adaptation.was_refused(work.epoch)
        if pause:
            group.paused_until = max(group.paused_until, self._clock() + pause)
            group.busy_until = max(group.busy_until, group.paused_until)
        self._offer(group)

    def due(self, item: Group | Work) -> None:
        """Look at a group, or at a work that was postponed, whose alarm is due."""
        if isinstance(item, Work):
            if item.on_trial and item in self._members:
                item.on_trial = False
                self.add(item)
            return
        group = item
        group.alarmed = False
        group.late = any(group.head(lane) for lane in LANES)
        self._offer(group)

    def clear(self) -> list[Work]:
        """Remove all works that wait; return them by rank."""
        works = sorted(self.waiting, key=rank)
        for work in works:
            work.apart = False
            self.waiting.discard(work)
        return works

    def recount(self, elsewhere: set[Work]) -> None:
        """Build everything anew from the works, after an exception broke into an event.

        Args:
            elsewhere: Works that wait, but not here.
        """
        members = list(self._members)
        for group in self._groups.values():
            group.held = 0
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
                group.held += 1
                self.holders.add(work)
        else:
            work.apart = True
            self.waiting.add(work)
            if work.on_trial:
                return
            line = self._ready[work.lane] if group is None else group.lines[work.lane]
            heappush(line, (*rank(work), work))

    def _give_back(self, work: Work, group: Group) -> None:
        """Take the place from a work, if it has one."""
        if work in self.holders:
            self.holders.discard(work)
            group.held -= 1

    def _group_of(self, work: Work) -> Group | None:
        options = work.options
        if not options.limited:
            return None  # it has a priority only, or is judged
        key = work.target if options.limit_key is None else options.limit_key
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
        """Drop groups without works whose last start no longer matters."""
        if len(self._groups) < self._clean_above:
            return
        used, now = {id(group) for group in self._members.values()}, self._clock()
        self._groups = {
            key: group
            for key, group in self._groups.items()
            if id(group) in used or group.busy_until > now or group.adaptation is not None
        }
        self._clean_above = max(KEPT_GROUPS, 2 * len(self._groups))

    def _may_start(self, work: Work) -> bool:
        """Whether the work lacks nothing but a worker."""
        if not work.apart or work.on_trial:
            return False
        group = self._members[work]
        return group is None or (
            not group.is_full_for(work) and group.wait(work, self._clock()) <= 0
        )

    def _withdraw(self, work: Work) -> None:
        """Note that a work is not ready after all: it has left, or another one was faster."""
        group = self._members.get(work)
        if group is not None and work in group.offered:
            # Not by its present lane: a function that returned a coroutine has changed lanes.
            group.offered[group.offered.index(work)] = None
            self._offer(group)

    def _offer(self, group: Group) -> None:
        """Make the heads of a group ready if its limits allow it; otherwise set an alarm."""
        for lane in LANES:
            head = group.head(lane)
            if head is None or group.is_full_for(head) or group.offered[lane] is head:
                continue
            wait = group.wait(head, self._clock())
            if wait <= 0:
                group.offered[lane] = head
                spaced = lane == PLAIN and head.options.rate is not None
                heappush(self._ready[SPACED_LINE if spaced else lane], (*rank(head), head))
            elif not group.alarmed:
                group.alarmed = True
                self._alarm(wait, group)
