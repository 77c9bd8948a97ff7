"""The Ends of remote workers, each noticed in one of these ways.

* Its agent certifies that. What the worker had written before is read to its end first: the
  certificate travels on another connection, and may be the faster one.
* The control connection ends without that: the agent has died, or the machine, or the network.
  What was aboard counts as started.
* It is killed and its agent says nothing: after `STUCK` seconds it is given up, likewise.
* It never dials in: the launcher says that what it has launched is gone, or ``start_timeout`` has
  it killed.

Whatever comes from a worker that was given up is not read any more, for its connections are closed;
and its token is void.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from aplex._backends.linked.backend import unborn
from aplex._backends.remote.certificates import examine
from aplex._backends.remote.launches import Launches
from aplex._backends.remote.supply import Supply
from aplex._common.errors import WorkerStartError
from aplex._common.messages import LANES

if TYPE_CHECKING:
    from aplex._backends.contract import Death, Events
    from aplex._backends.linked.link import Link
    from aplex._backends.listener import Listener
    from aplex._backends.remote.launch import Launch
    from aplex._pool.state import PoolWorker
    from aplex._wire.orders import Certificate

STUCK: Final = 3.0
"""Seconds after which a worker that was killed, and of which nothing is heard, is given up."""
LAST_FRAMES: Final = 5.0
"""Seconds in which what a worker had written must have come, after its end was certified."""


class Ends:
    """Notices the ends of workers. On the listener's thread, but for `kill`."""

    def __init__(
        self,
        launches: Launches,
        supply: Supply,
        leave: Callable[[Launch], None],
        take_end: Callable[[PoolWorker, Link, Callable[[], Death]], None],
    ) -> None:
        """Have noticed none.

        Args:
            launches: Who is expected, or there.
            supply: Where they come from.
            leave: Is told of each, first.
            take_end: Takes in the end of a linked one, as `LinkedBackend` does.
        """
        self._launches = launches
        self._supply = supply
        self._leave = leave
        self._take_end = take_end

    def bind(self, events: Events, listener: Listener) -> None:
        """Say where to report. Called once."""
        self._events, self._listener = events, listener

    # -- killed -------------------------------------------------------------------

    def kill(self, launch: Launch) -> None:
        """Have a worker killed. Any thread."""
        first, launch.unwanted = not launch.unwanted, True
        if launch.link is not None:
            launch.link.unwanted = True
            launch.link.kill()
        if first:
            self._listener.call_soon(partial(self._kill_soon, launch))

    def _kill_soon(self, launch: Launch) -> None:
        """See to the end of a worker that was killed."""
        if launch.link is None:
            self._supply.kill(launch)
            self.lose_unborn(launch, WorkerStartError("it is not wanted any more"))
        elif launch.certified is None and not launch.is_over:
            stuck = partial(self.cut_short, launch, "it was killed, and its agent says nothing")
            self._wait(launch, STUCK, stuck)

    def _wait(self, launch: Launch, seconds: float, late: Callable[[], None]) -> None:
        """Give a worker up after a while, and not before."""
        if launch.timer is not None:
            launch.timer.cancel()
        launch.timer = self._listener.call_at(time.monotonic() + seconds, late)

    # -- lost ---------------------------------------------------------------------

    def lose_unborn(self, launch: Launch, failure: WorkerStartError) -> None:
        """Report that a worker has ended that was never linked."""
        if launch.link is not None:
            self.cut_short(launch, str(failure))
        elif not launch.is_over:
            self.forget(launch)
            death = replace(unborn(failure), blameless=self._supply.why_away is not None)
            self._events.lost(launch.worker, lambda: death)

    def cut_short(self, launch: Launch, reason: str) -> None:
        """Lose a worker of whose end nothing is certified."""
        if launch.is_over:
            return
        if launch.link is None:
            said = f"a worker that had dialled in was lost before it was ready: {reason}"
            self.lose_unborn(launch, WorkerStartError(said))
            return
        launch.lost_by = reason
        self._end(launch)

    def lose_connection(self, launch: Launch, error: BaseException) -> None:
        """Take in that the connection to an agent has ended, or carries nothing decodable."""
        self.cut_short(launch, _why_cut(error, launch))

    # -- certified ----------------------------------------------------------------

    def certified(self, launch: Launch, certificate: Certificate) -> None:
        """Take in how a worker has ended; read what it had written."""
        link = launch.link
        if link is None:
            said = f"exit code {certificate.exitcode}"
            self.lose_unborn(launch, WorkerStartError(f"a worker ended before it began: {said}"))
            return
        self._events.locked(partial(link.certify, certificate))
        self._wait(launch, LAST_FRAMES, partial(self._end, launch))
        for lane in LANES:
            self._listener.watch(link.readers[lane].end, partial(self._read_out, launch, lane))

    def _read_out(self, launch: Launch, lane: int) -> None:
        link = launch.link
        if launch.is_over or link is None:
            return
        self._events.receive(launch.worker, lane, partial(link.read_out, lane))
        if lane in link.ended_lanes:
            self._listener.unwatch(link.readers[lane].end)
        self.end_if_read_out(launch)

    def end_if_read_out(self, launch: Launch) -> None:
        """Report the end of a worker that was certified, if nothing more can come of it."""
        if not launch.is_over and launch.link is not None and launch.link.is_read_out:
            self._end(launch)

    def _end(self, launch: Launch) -> None:
        """Report the end of a linked worker."""
        if launch.is_over:
            return
        link = launch.link
        assert link is not None
        self.forget(launch)
        blameless = self._supply.why_away is not None
        death = lambda: replace(examine(launch, link), blameless=blameless)  # noqa: E731
        self._take_end(launch.worker, link, death)

    def forget(self, launch: Launch) -> None:
        """Have its token void, and nothing of it watched but the link."""
        self._launches.end(launch)
        self._leave(launch)
        if launch.certified is None or launch.bereft:
            self._supply.kill(launch)
        else:
            self._supply.over(launch)
        launch.be_over(self._listener)


def _why_cut(error: BaseException, launch: Launch) -> str:
    """Return why a connection has ended."""
    if launch.gone is not None:
        return f"what had started it {launch.gone}"
    if isinstance(error, EOFError):
        return "its connection ended"
    if isinstance(error, OSError):
        return f"its connection was lost: {error.strerror or error}"
    return f"undecodable data came from it: {error}"
