"""The RayLauncher: has an actor started in a cluster of Ray for each worker, by an *envoy*.

The envoy (`aplex._ray.envoy`) is a child process that holds the connection to Ray, for Ray ends
that process when the head of the cluster dies. It is started with the first order, and again if it
has ended. Its environment is that of this program; so a token for Ray is where Ray looks for it,
and nothing here reads it.
"""

from __future__ import annotations

import contextlib
import pickle
import socket
import subprocess
import sys
import time
from functools import partial
from typing import Any, Final

from aplex._backends.listener import Listener
from aplex._backends.remote.launcher import Launcher, LauncherEvents, Order
from aplex._backends.remote.meetings import Meetings, Way
from aplex._common.locks import RLock
from aplex._wire.frames import PipeEnd, Reader, Writer

assert sys.platform != "win32"

BEGIN, LAUNCH, KILL, JOINED, FAILED, PLACED, ENDED, LISTENS = range(8)
"""What `aplex._ray.envoy` knows."""
LAST: Final = 8.0
"""Seconds in which the envoy must have ended when the pool is gone; then it is killed."""
FINAL: Final = 1.0
"""Seconds after which a worker is lost of which Ray says so, though its connection is open."""
_PROGRAM: Final = (
    "import sys; sys.path[:] = {path!r}; from aplex._ray.envoy import main; main{arguments}"
)


class _Envoy:
    """One that was started."""

    def __init__(self, *, quiet: bool) -> None:
        ours, theirs = socket.socketpair()
        # For descriptors, each with the number of an order: a read of frames would drop them.
        self.hatch, there = socket.socketpair(type=socket.SOCK_SEQPACKET)
        self.hatch.setblocking(False)
        with theirs, there:
            passed = theirs.fileno(), there.fileno()
            program = _PROGRAM.format(path=sys.path, arguments=passed)
            self.process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-c", program],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if quiet else None,
                stderr=subprocess.DEVNULL if quiet else None,
                pass_fds=passed,
                start_new_session=True,
            )
        self.end = PipeEnd(ours.detach())
        self.reader, self.writer = Reader(self.end), Writer(self.end)
        self.orders: dict[int, Order] = {}  # that it has
        self.failure: str | None = None

    def close(self) -> None:
        """Have it leave."""
        self.hatch.close()
        self.end.close()

    def tell(self, *message: Any) -> None:
        """Tell it something. It may have ended: that is read."""
        with contextlib.suppress(OSError):
            self.writer.write(message)


class RayLauncher(Launcher):
    """Has actors started."""

    def __init__(
        self, init: dict[str, Any], options: dict[str, Any], connect: str = "worker"
    ) -> None:
        """Start nothing yet.

        Args:
            init: The arguments of ``ray.init``.
            options: Those of an actor.
            connect: Who makes the connections, as of `RayAsyncPoolExecutor`.
        """
        self.workers_dial = connect in ("worker", "auto")
        self._connect = connect
        self._meetings = Meetings(self._relay, self._met)
        self._ways: dict[str, Way] = {}  # that have worked, by the id of the node
        self._settings = pickle.dumps({"init": init, "options": options})
        self._quiet = not init["log_to_driver"]  # then Ray shows messages of its own all the same
        self._envoy: _Envoy | None = None
        self._envoys: set[_Envoy] = set()
        self._lock = RLock()

    def bind(self, events: LauncherEvents, listener: Listener) -> None:
        super().bind(events, listener)
        self._meetings.bind(events, listener)

    def launch(self, order: Order) -> None:
        number, _, token = order.token.partition("-")
        with self._lock:
            envoy = self._envoy
            if envoy is None:
                envoy = self._envoy = _Envoy(quiet=self._quiet)
                self._envoys.add(envoy)
                envoy.tell(BEGIN, self._settings)
                self.listener.call_soon(partial(self._watch, envoy))
            envoy.orders[order.number] = order
        envoy.tell(
            LAUNCH, int(number), order.host, order.port, int(number), bytes.fromhex(token),
            order.secret.encode(), order.tls is not None, self._meeting(order),
        )  # fmt: skip

    def _meeting(self, order: Order) -> tuple[Any, ...] | None:
        """Return how the actor is to meet the pool, if it does not simply dial."""
        if self._connect == "worker":
            return None
        return self._connect, dict(self._ways), order.host, order.port, order.tls is not None

    def kill(self, number: int) -> None:
        self.over(number)
        with self._lock:
            envoys = [envoy for envoy in self._envoys if number in envoy.orders]
        for envoy in envoys:
            envoy.tell(KILL, number)

    def over(self, number: int) -> None:
        self.listener.call_soon(partial(self._meetings.forget, number))

    def close(self) -> None:
        end = time.monotonic() + LAST
        with self._lock:
            envoys, self._envoy = list(self._envoys), None
            self._envoys.clear()
        for envoy in envoys:
            self.listener.unwatch(envoy.end)
            envoy.close()
        for envoy in envoys:
            try:
                envoy.process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                envoy.process.kill()
                envoy.process.wait()

    def abandon_after_fork(self) -> None:
        for envoy in self._envoys:
            envoy.close()
            envoy.process.returncode = 0  # it is no child of this process

    # -- what the envoy tells; on the listener's thread --------------------------

    def _watch(self, envoy: _Envoy) -> None:
        if envoy in self._envoys:
            self.listener.watch(envoy.end, partial(self._hear, envoy))

    def _hear(self, envoy: _Envoy) -> None:
        try:
            frames = envoy.reader.read()
        except BlockingIOError:
            return
        except (EOFError, OSError):
            self._lose(envoy)
            return
        while frames:
            self._take(envoy, *frames.popleft())

    def _take(self, envoy: _Envoy, kind: int, *rest: Any) -> None:
        if kind == PLACED:
            self.events.placed(*rest)
        elif kind == ENDED:
            number, reason = rest
            self._end(envoy, number, reason)
        elif kind == LISTENS:
            self._meet(envoy, *rest)
        elif kind == FAILED:
            envoy.failure = f"found no cluster of Ray: {rest[0]}"

    def _meet(self, envoy: _Envoy, number: int, node: str, way: Way, host: str, port: int) -> None:
        """Reach a worker that does not dial."""
        order = envoy.orders.get(number)
        if order is not None:
            both = self._connect == "auto" and way == "caller"
            ways: tuple[Way, ...] = ("caller", "relay") if both else (way,)
            self._meetings.begin(order, node, (host, port), ways)

    def arrived(self, number: int) -> None:
        self._meetings.arrived(number)

    def _met(self, node: str, way: Way) -> None:
        if self._connect == "auto":
            self._ways[node] = way

    def _relay(self, number: int, connection: socket.socket, host: str, port: int) -> None:  # noqa: ARG002
        """Have a connection made inside the cluster: the envoy knows where."""
        with connection, contextlib.suppress(OSError):  # it has ended: so has the connection
            with self._lock:
                envoys = [envoy for envoy in self._envoys if number in envoy.orders]
            for envoy in envoys:
                data = number.to_bytes(8, sys.byteorder)
                socket.send_fds(envoy.hatch, [data], [connection.fileno()])

    def _lose(self, envoy: _Envoy) -> None:
        """Take in that an envoy has ended, and with it all its actors."""
        with self._lock:
            if self._envoy is envoy:
                self._envoy = None
            self._envoys.discard(envoy)
        self.listener.unwatch(envoy.end)
        envoy.close()
        code = envoy.process.wait()
        reason = envoy.failure or f"lost its connection to Ray (which ended by code {code})"
        for number in list(envoy.orders):
            self._end(envoy, number, reason)

    def _end(self, envoy: _Envoy, number: int, reason: str) -> None:
        """Tell that an actor is gone; if its connection says nothing of that, insist."""
        if envoy.orders.pop(number, None) is None:
            return
        self.events.ended(number, reason)
        insist = partial(self.events.node_lost, number, f"what had started it {reason}")
        self.listener.call_at(time.monotonic() + FINAL, insist)
