"""Meetings: how a pool comes by the connections of workers that do not dial it.

Such a worker listens, and the cluster tells where. Then the pool dials (``caller``), or has that
done inside the cluster (``relay``), and gives what it gets to its `Door` as a visitor, who has to
prove all that others have to. With ``auto`` the second follows if the first comes to nothing.

The first connection is that of the agent. When that was let in, the others are dialled: one for
each channel, and if the worker wants fewer, it closes what is left.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Final, Literal, Protocol

from aplex._backends.listener import Listener, Timer
from aplex._backends.remote.launcher import LauncherEvents, Order
from aplex._backends.remote.recent import Recent
from aplex._wire import handshake

Way = Literal["worker", "caller", "relay"]
NODES: Final = 1000
"""Nodes of which it is known how their workers were reached."""
ANSWER: Final = 3.0
"""Seconds in which what listens must have answered, and then the agent."""
_log = logging.getLogger("aplex")


def check_way(connect: object) -> str:
    """Return who is to make the connections, checked.

    Raises:
        ValueError: It is none of those.
    """
    if connect not in ("auto", "worker", "caller", "relay"):
        raise ValueError(f"connect must be 'auto', 'worker', 'caller' or 'relay', not {connect!r}")
    return str(connect)


class Relay(Protocol):
    """What dials inside of a cluster."""

    def __call__(self, number: int, connection: socket.socket, host: str, port: int) -> None:
        """Have something beside a worker dial, and a socket be that connection.

        Args:
            number: Of the order.
            connection: From now on its own: it is closed when the connection ends.
            host: Where the worker listens.
            port: There.
        """


class Meetings:
    """Those of one launcher. On the listener's thread, but for `begin`."""

    def __init__(self, relay: Relay, met: Callable[[str, Way], None]) -> None:
        """Have none yet.

        Args:
            relay: What dials inside the cluster.
            met: Is told in which way the workers of a node are reached.
        """
        self._relay = relay
        self._met = met
        self._meetings: dict[int, _Meeting] = {}
        self._listener: Listener
        self._events: LauncherEvents
        self._told: Recent[tuple[str, Way], None] = Recent(NODES)

    def bind(self, events: LauncherEvents, listener: Listener) -> None:
        """Tell what all launchers are told."""
        self._events, self._listener = events, listener

    def begin(self, order: Order, node: str, where: tuple[str, int], ways: tuple[Way, ...]) -> None:
        """Reach a worker. Any thread.

        Args:
            order: Of which.
            node: Where it is.
            where: It listens there.
            ways: In which to reach it, one after another.
        """
        meeting = _Meeting(order, node, where, ways)
        self._listener.call_soon(partial(self._begin, meeting))

    def arrived(self, number: int) -> None:
        """Note that an agent has been let in: the others follow in the same way."""
        meeting = self._meetings.get(number)
        if meeting is None or meeting.met:
            return
        meeting.met = True
        meeting.cancel()
        way = meeting.ways[0]
        self._events.reached(number, way)
        self._met(meeting.node, way)
        if (meeting.node, way) not in self._told:
            self._told.note((meeting.node, way), None)
            level = logging.INFO if meeting.only else logging.WARNING
            _log.log(level, "workers on node %s are reached %s", meeting.node, _SAID[way])
        for _ in handshake.CHANNELS[1:]:
            self._dial(meeting)

    def forget(self, number: int) -> None:
        """Dial no more for a worker."""
        meeting = self._meetings.pop(number, None)
        if meeting is not None:
            meeting.cancel()
            for connection in list(meeting.dialled):
                self._drop(meeting, connection)

    # -- one after another --------------------------------------------------------

    def _begin(self, meeting: _Meeting) -> None:
        self.forget(meeting.order.number)  # a cluster has started it again elsewhere
        self._meetings[meeting.order.number] = meeting
        self._dial(meeting)

    def _dial(self, meeting: _Meeting) -> None:
        if meeting.ways[0] == "caller":
            self._connect(meeting)
            return
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:  # too many open files
            self._fail(meeting, str(error))
            return
        self._relay(meeting.order.number, theirs, *meeting.where)
        self._visit(meeting, ours)

    def _connect(self, meeting: _Meeting) -> None:
        family = socket.AF_INET6 if ":" in meeting.where[0] else socket.AF_INET
        try:
            connection = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            self._fail(meeting, str(error))
            return
        connection.setblocking(False)
        code = connection.connect_ex(meeting.where)
        if code not in (0, errno.EINPROGRESS):
            connection.close()
            self._fail(meeting, errno.errorcode.get(code, str(code)))
            return
        late = partial(self._failed, meeting, connection, "no answer")
        timer = self._listener.call_at(time.monotonic() + ANSWER, late)
        meeting.dialled[connection] = timer
        self._listener.watch_writing(connection, partial(self._connected, meeting, connection))

    def _connected(self, meeting: _Meeting, connection: socket.socket) -> None:
        code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._failed(meeting, connection, errno.errorcode.get(code, str(code)))
            return
        meeting.dialled.pop(connection).cancel()
        self._listener.unwatch_writing(connection)
        self._visit(meeting, connection)

    def _visit(self, meeting: _Meeting, connection: socket.socket) -> None:
        """Knock, and have the visitor say who it is."""
        order = meeting.order
        token = bytes.fromhex(order.token.partition("-")[2])
        with contextlib.suppress(OSError):  # it has gone: that is read
            connection.send(handshake.knock(order.secret.encode(), token))
        if not meeting.met and len(meeting.ways) > 1:
            silent = partial(self._fail, meeting, "no answer")
            meeting.timer = self._listener.call_at(time.monotonic() + ANSWER, silent)
        host, port = meeting.where
        self._events.visited(connection, f"{host}:{port}, which was dialled,")

    def _failed(self, meeting: _Meeting, connection: socket.socket, reason: str) -> None:
        self._drop(meeting, connection)
        self._fail(meeting, reason)

    def _drop(self, meeting: _Meeting, connection: socket.socket) -> None:
        meeting.dialled.pop(connection).cancel()
        self._listener.unwatch_writing(connection)
        connection.close()

    def _fail(self, meeting: _Meeting, reason: str) -> None:
        """Take the next way, if there is one."""
        if meeting.met or self._meetings.get(meeting.order.number) is not meeting:
            return  # the worker wants no more connections; or it is not wanted itself
        meeting.cancel()
        if len(meeting.ways) > 1:
            meeting.ways = meeting.ways[1:]
            self._dial(meeting)
            return
        host, port = meeting.where
        self.forget(meeting.order.number)
        said = f"it could not be dialled at {host}:{port} ({reason})"
        self._events.unreached(meeting.order.number, said)


class _Meeting:
    """One worker that is to be reached."""

    __slots__ = ("dialled", "met", "node", "only", "order", "timer", "ways", "where")

    def __init__(
        self, order: Order, node: str, where: tuple[str, int], ways: tuple[Way, ...]
    ) -> None:
        self.order = order
        self.node = node
        self.where = where
        self.ways = ways
        self.only = len(ways) == 1
        self.met = False
        self.dialled: dict[socket.socket, Timer] = {}
        self.timer: Timer | None = None

    def cancel(self) -> None:
        """Wait no more."""
        if self.timer is not None:
            self.timer.cancel()


_SAID: Final[dict[Way, str]] = {
    "worker": "as they dial this program",
    "caller": "by dialling them, as they cannot dial this program, or are not to",
    "relay": "through the calls of the cluster, as no connection is possible, or wanted",
}
