"""The Launch: what is known of one remote worker, from its order to its end."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from aplex._backends.linked.log_thread import LogChannel
from aplex._backends.remote.bulk import Bulk
from aplex._backends.remote.link import RemoteLink
from aplex._wire import handshake
from aplex._wire.frames import PipeEnd, Reader, Writer
from aplex._worker.log_levels import levels_now

if TYPE_CHECKING:
    from aplex._backends.listener import Listener, Timer
    from aplex._backends.remote.common import Common
    from aplex._backends.remote.nodes import Node
    from aplex._backends.remote.shipping import Shipment
    from aplex._pool.state import PoolWorker
    from aplex._wire.orders import Arrival, Certificate
    from aplex._wire.shared_memory import SharedMemory


class Launch:
    """One worker.

    Attributes:
        worker: Which one.
        token: By which it is let in, once.
        ordered: Whether the launcher has been told to start it.
        used: Channels for which it was used.
        channels: Connections that are there, and not in the link yet.
        control: The connection to its agent.
        writer: Writes to that how to begin.
        reader: Reads from that what the agent tells.
        arrival: Who the agent is.
        skew: Our clock less its clock, as far as known, in nanoseconds.
        link: Once all connections are there.
        way: Who made the connections: ``"worker"``, ``"caller"``, or ``"relay"``.
        unwanted: Whether it is to end.
        gone: What the launcher has said of the end of what it launched.
        modules: What travels with it.
        results: A file in memory for its results, if it is on this machine; it was told of it.
        mapped: Whether it has that file; None: it has not said so yet.
        node: The machine it is on.
        common: The shared objects that have come there.
        bereft: Whether what had started its agent is gone, and may be started again.
        lost_by: Why it is lost, if nothing certifies its end.
        timer: When it is given up.
        wanted: The channels that are to be there.
        is_over: Whether its end was reported, or is about to be.
    """

    def __init__(self, worker: PoolWorker) -> None:
        self.worker = worker
        self.token = os.urandom(handshake.TOKEN)
        self.ordered = False
        self.used: set[int] = set()
        self.channels: dict[int, PipeEnd] = {}
        self.control: PipeEnd | None = None
        self.writer: Writer
        self.reader: Reader | None = None
        self.arrival: Arrival | None = None
        self.skew = 0
        self.link: RemoteLink | None = None
        self.way = "worker"
        self.unwanted = False
        self.gone: str | None = None
        self.modules: Shipment | None = None
        self.results: PipeEnd | None = None
        self.mapped: bool | None = None
        self.node: Node[Launch] | None = None
        self.common: Common | None = None
        self.bereft = False
        self.lost_by: str | None = None
        self.timer: Timer | None = None
        self.is_over = False
        self.born = time.monotonic()
        self.wanted: set[int] = set()

    def take_control(self, control: PipeEnd, *, logs: bool) -> None:
        """Note that the agent has dialled in."""
        self.control = control
        self.writer, self.reader = Writer(control), Reader(control)
        self.wanted = {handshake.COROUTINES, handshake.PLAIN}
        if logs:
            self.wanted.add(handshake.LOGS)

    @property
    def is_complete(self) -> bool:
        """Whether all is there that the link needs."""
        return self.mapped is not None and self.channels.keys() == self.wanted

    def set_up(self, *, mapped: bool) -> None:
        """Note whether the agent has the memory that it was told of."""
        self.mapped = mapped
        if not mapped:
            self.wanted.add(handshake.BULK)
            if self.results is not None:
                self.results.close()
                self.results = None

    def make_link(
        self, arena: SharedMemory | None, listener: Listener, *, near: bool
    ) -> RemoteLink:
        """Make the link of all that is there, which has that from now on. Under the lock.

        Args:
            arena: Where the arguments are.
            listener: On whose thread big payloads are read and written, if they travel.
            near: Whether it is known to be on this very machine.

        Raises:
            OSError: There are too many open files; it has what it had.
        """
        assert self.control is not None
        assert self.arrival is not None
        ends, results = self.channels, self.results
        logs, bulk = ends.get(handshake.LOGS), ends.get(handshake.BULK)
        link = RemoteLink(
            self.worker,
            self.control,
            (ends[handshake.COROUTINES], ends[handshake.PLAIN]),
            None if logs is None else LogChannel(logs),
            self.arrival,
            0 if near else self.skew,
            None if results is None or arena is None else (arena, results),
            None if bulk is None else Bulk(bulk, listener),
        )
        self.link, self.channels, self.results = link, {}, None
        if link.logs is not None:
            with contextlib.suppress(OSError):  # it has gone by now: that is read
                link.logs.writer.write(levels_now())
        return link

    @property
    def certified(self) -> Certificate | None:
        """How it has ended, if that is known."""
        return None if self.link is None else self.link.certificate

    def be_over(self, listener: Listener) -> None:
        """Have nothing watched but what is the link's. On the listener's thread."""
        self.is_over = True
        if self.timer is not None:
            self.timer.cancel()
        if self.link is None:
            for end in self._ends():
                listener.unwatch(end)
                listener.unwatch_writing(end)
                end.close()

    def abandon(self) -> None:
        """In a forked child: close the copies of connections that are no link's yet."""
        if self.link is None:
            for end in self._ends():
                with contextlib.suppress(OSError):
                    end.close()

    def _ends(self) -> list[PipeEnd]:
        ends = list(self.channels.values())
        if self.results is not None:
            ends.append(self.results)
        return ends if self.control is None else [*ends, self.control]
