"""The Supply: where a pool's remote workers come from.

It has the launcher called, on a thread of its own, and takes in what that reports. What a worker
says itself is not its business.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from aplex._backends.remote.launcher import Launcher, Order
from aplex._backends.remote.launches import Launches
from aplex._backends.remote.launching import LauncherThread
from aplex._common.errors import WorkerStartError

if TYPE_CHECKING:
    from aplex._backends.contract import Events
    from aplex._backends.listener import Listener
    from aplex._backends.remote.launch import Launch
    from aplex._backends.remote.shipping import Modules

AWAY: Final = (
    "%s: the cluster is away: %s. Works wait until it is back; workers that are left go on"
)
_log = logging.getLogger("aplex")


class Losses(Protocol):
    """Who sees to it that workers are lost. On the listener's thread."""

    def lose_unborn(self, launch: Launch, failure: WorkerStartError) -> None:
        """Report that a worker has ended that was never linked."""

    def cut_short(self, launch: Launch, reason: str) -> None:
        """Lose a worker of whose end nothing is certified."""


class Supply:
    """Orders workers; these are the `LauncherEvents`.

    Attributes:
        why_away: Why no worker can be started now, if the cluster is away.
    """

    def __init__(self, name: str, launcher: Launcher, launches: Launches, modules: Modules) -> None:
        """Order nothing yet.

        Args:
            name: Of the pool.
            launcher: What starts the workers.
            launches: Those that were ordered.
            modules: What travels to them.
        """
        self.why_away: str | None = None
        self._name = name
        self._launcher = launcher
        self._launches = launches
        self._modules = modules

    def bind(
        self,
        events: Events,
        listener: Listener,
        losses: Losses,
        receive: Callable[[socket.socket, str], None],
    ) -> None:
        """Say where to report. Called once.

        Args:
            events: Of the pool.
            listener: Its thread.
            losses: Who is told what ends.
            receive: Takes connections that no worker has dialled; on the listener's thread.
        """
        self._events, self._listener, self._losses = events, listener, losses
        self._receive = receive
        self._thread = LauncherThread(f"{self._name}-launcher", events.failed)
        self._launcher.bind(self, listener)

    # -- what the launcher is told ------------------------------------------------

    def order(self, order: Order) -> None:
        """Have a worker started; once, however often that is ordered. Any thread."""
        # Not here, with the lock: a thread may be started for it.
        self._listener.call_soon(partial(self._thread.do, partial(self._launch, order)))

    def _launch(self, order: Order) -> None:
        """Have a worker started. On the launcher's thread."""
        launch = self._launches.get(order.number)
        if launch is None or launch.ordered:
            return
        launch.ordered = True
        if launch.unwanted:
            self.ended(order.number, "was not wanted any more")
            return
        try:
            launch.modules = self._modules.shipment()
            self._launcher.launch(order)
        except Exception as error:  # noqa: BLE001 - of a cluster, or of the user's command
            self._listener.call_soon(partial(self._not_launched, order.number, error))

    def _not_launched(self, number: int, error: BaseException) -> None:
        failure = WorkerStartError(f"a worker could not be launched: {error}")
        failure.__cause__ = error
        launch = self._launches.get(number)
        if launch is not None:
            self._losses.lose_unborn(launch, failure)

    def kill(self, launch: Launch) -> None:
        """Have the launcher end what it has launched. On the listener's thread."""
        self._thread.do(partial(self._kill, launch.worker.id))

    def _kill(self, number: int) -> None:
        try:
            self._launcher.kill(number)
        except Exception:  # noqa: BLE001 - of a cluster, which may be gone
            _log.exception("a worker that is lost may still run elsewhere: it could not be ended")

    def over(self, launch: Launch) -> None:
        """Tell the launcher that a worker has ended by itself. On the listener's thread."""
        self._thread.do(partial(self._over, launch.worker.id))

    def _over(self, number: int) -> None:
        try:
            self._launcher.over(number)
        except Exception:  # noqa: BLE001 - of a cluster, which may be gone
            _log.exception("a cluster could not be told that a worker has ended")

    def close(self) -> None:
        """Order no more; wait until the launcher is closed, for a while."""
        self._thread.finish(self._close)

    def _close(self) -> None:
        try:
            self._launcher.close()
        except Exception:  # noqa: BLE001 - of a cluster
            _log.exception("what has launched workers could not be closed")

    # -- what it reports; any thread ----------------------------------------------

    def placed(self, number: int, node: str | None = None) -> None:
        launch = self._launches.get(number)
        if launch is not None:
            self._events.placed(launch.worker, node)

    def ended(self, number: int, reason: str) -> None:
        self._listener.call_soon(partial(self._ended, number, reason))

    def _ended(self, number: int, reason: str) -> None:
        launch = self._launches.get(number)
        if launch is None:
            return
        launch.gone = reason
        if launch.control is None:
            said = f"what was to start a worker {reason} before it has dialled in"
            self._losses.lose_unborn(launch, WorkerStartError(said))
        # Else the connection tells.

    def node_lost(self, number: int, reason: str) -> None:
        self._listener.call_soon(partial(self._lost, number, reason))

    def _lost(self, number: int, reason: str) -> None:
        launch = self._launches.get(number)
        if launch is not None:
            self._losses.cut_short(launch, reason)

    def leaving(self, number: int, seconds: float | None) -> None:  # noqa: ARG002 - it goes at once
        launch = self._launches.get(number)
        if launch is not None:
            self._events.leaving(launch.worker)

    def unreached(self, number: int, reason: str) -> None:
        error = ConnectionError(reason)
        self._listener.call_soon(partial(self._not_launched, number, error))

    def visited(self, connection: socket.socket, peer: str) -> None:
        self._listener.call_soon(partial(self._receive, connection, peer))

    def reached(self, number: int, way: str) -> None:
        launch = self._launches.get(number)
        if launch is not None:
            launch.way = way

    def capacity(self, count: int) -> None:
        self._events.capacity(count)

    def away(self, reason: str) -> None:
        before, self.why_away = self.why_away, reason
        if before is None:
            self._say(logging.WARNING, AWAY, self._name, reason)

    def back(self) -> None:
        before, self.why_away = self.why_away, None
        if before is not None:
            self._say(logging.INFO, "%s: the cluster is back", self._name)

    def _say(self, *line: Any) -> None:
        # On the listener's thread: those of clusters may have locks that a handler wants.
        self._listener.call_soon(partial(_log.log, *line))
