"""The contract of a launcher: what starts remote workers somewhere, and hears of their end.

A launcher is the only part that knows a cluster. It gets an `Order` for each worker, and has a
process run somewhere that calls ``python -m aplex.worker`` with the arguments of the order, or
`aplex._agent.agent.serve` (which forks: only where there are no other threads), with the secret
in its environment, or over a channel of the cluster's own. That process dials the pool itself; no
work passes through the launcher. See `command.CommandLauncher` for the smallest one.

Rules:

* All methods are called on one thread of the pool's own, one after another, and may block. `launch`
  comes once for each number; `kill` may come at any time after it, more than once, also when the
  worker has ended; `close` comes last, when no worker is there any more.
* It reports by `LauncherEvents`, from any thread, never holding a lock that its methods want.
* It starts an order once. Where the cluster starts it again elsewhere, the second process is
  refused, for the token of an order is good for one worker, and ends by exit code 3. The pool
  itself starts successors, with new numbers.
* Restarts, retries and backoff are not its business. An order that the cluster cannot place now may
  wait as long as the cluster lets it; the clock of ``start_timeout`` starts with `placed`.
* If the cluster is away that was there before, it says so (`LauncherEvents.away`), keeps the orders
  that have no place yet, looks for the cluster in growing intervals (`absence.Absence`), and starts
  them when it is back (`LauncherEvents.back`).

How a worker goes:

1. `LauncherEvents.placed`: something runs (or is about to) somewhere. 2. It dials in; from now on
the pool itself sees how it is. 3. It ends: the pool is mostly told by the worker's agent, before
the launcher knows. 4. `LauncherEvents.ended`: whatever was launched is gone. If it comes before 2,
the start has failed; a launcher whose process returns at once, since it has only submitted a job,
does not report that.
"""

from __future__ import annotations

import signal
import socket
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

from aplex._backends.listener import Listener
from aplex._wire.credentials import Credentials

__all__ = ["Launcher", "LauncherEvents", "Order", "told"]


@dataclass(frozen=True, slots=True)
class Order:
    """A worker that is to be started.

    Attributes:
        number: Unique in the pool.
        index: The place in the pool that it will have.
        name: For logs, and for names of jobs: that of the pool, and the number.
        host: Where it is to dial.
        port: There.
        token: Good for one worker.
        secret: Of the pool. Belongs into the environment as ``APLEX_SECRET``, or onto a channel
            that is as private; never onto a command line, nor into a log.
        tls: By which the worker speaks TLS, unless it is told others where it is; None: it does
            not.
    """

    number: int
    index: int
    name: str
    host: str
    port: int
    token: str
    secret: str
    tls: Credentials | None = None

    @property
    def arguments(self) -> list[str]:
        """What ``python -m aplex.worker`` is to be given."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return ["--connect", f"{host}:{self.port}", "--token", self.token]

    @property
    def environment(self) -> dict[str, str]:
        """What is to be added to its environment."""
        return {"APLEX_SECRET": self.secret} | ({} if self.tls is None else self.tls.environment)

    def __repr__(self) -> str:
        """Show it without its secret."""
        return f"<order {self.name}>"


class LauncherEvents(Protocol):
    """What a launcher reports. Any thread."""

    def placed(self, number: int, node: str | None = None) -> None:
        """Note that a worker has its place, and begins; the clock of its start starts now.

        Args:
            number: That of the order.
            node: Where, if that is known: the worker says so itself, too.
        """

    def ended(self, number: int, reason: str) -> None:
        """Note that what was launched is gone, or never came to be.

        Args:
            number: That of the order.
            reason: Why, for a message: ``exited with code 127``, ``its node was lost``.
        """

    def node_lost(self, number: int, reason: str) -> None:
        """Note that the cluster says that a worker is lost, though its connection may be open.

        The cluster's word is final: the connections are closed, what was aboard counts as started.
        """

    def leaving(self, number: int, seconds: float | None) -> None:
        """Note that a worker has to go: it gets no more works, and another one is started.

        Args:
            number: That of the order.
            seconds: Until it is ended by force; None: not known.
        """

    def unreached(self, number: int, reason: str) -> None:
        """Note that what was launched cannot be reached: it is no use."""

    def visited(self, connection: socket.socket, peer: str) -> None:
        """Let in who is at the other end of a connection, if it proves who it is.

        Args:
            connection: One that a worker did not dial; from now on the pool's.
            peer: Who that should be, for messages.
        """

    def reached(self, number: int, way: str) -> None:
        """Note in which way a worker is reached, where it does not dial.

        Args:
            number: That of the order.
            way: ``"caller"`` or ``"relay"``.
        """

    def capacity(self, count: int) -> None:
        """Note how many workers the cluster has places for: the pool is to have so many.

        Args:
            count: At least one.
        """

    def away(self, reason: str) -> None:
        """Note that the cluster cannot be reached, or still cannot, and will be looked for.

        Until `back`, no end of a worker is a failed start. Comes before the ends that follow.

        Args:
            reason: Why, for a message.
        """

    def back(self) -> None:
        """Note that the cluster can be reached. Also if it was not known to be away."""


class Launcher(ABC):
    """Starts workers, and hears of their end."""

    events: LauncherEvents
    listener: Listener
    workers_dial: bool = True  # else nothing is listened to

    def bind(self, events: LauncherEvents, listener: Listener) -> None:
        """Tell where to report. Called once, before all else; starts nothing.

        Args:
            events: Where to report.
            listener: The pool's thread that waits for descriptors; its `call_soon`, `call_at`, and
                on its own thread `watch`, may be used.
        """
        self.events = events
        self.listener = listener

    def check_can_start(self) -> None:  # noqa: B027 - most have nothing to check
        """Check what can be known before the first order. In the thread of a caller: must be quick.

        Raises:
            RuntimeError: No worker can be started; says why.
        """

    @abstractmethod
    def launch(self, order: Order) -> None:
        """Have a worker started.

        Raises:
            Exception: It cannot be; this counts as a failed start, and is its reason.
        """

    @abstractmethod
    def kill(self, number: int) -> None:
        """End by force what was launched by that number, if it still waits or runs."""

    def arrived(self, number: int) -> None:  # noqa: B027 - most workers dial
        """Note that the agent of a worker was let in. On the listener's thread."""

    def over(self, number: int) -> None:  # noqa: B027 - most see that themselves
        """Note that a worker has ended, and has told so itself: what was launched is about to end.

        So there is nothing to kill; but a cluster may still have it written down.
        """

    @abstractmethod
    def close(self) -> None:
        """Free everything. What was launched is about to end; after a while, end it by force."""

    def abandon_after_fork(self) -> None:  # noqa: B027 - most hold nothing
        """In a forked child: close copies of descriptors. Nothing that is the parent's may end."""


def told(code: int) -> str:
    """Return how a process has ended: negative codes are signals, as in ``subprocess``."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
