"""The RayLauncher: has an actor started in a cluster of Ray for each worker, by an *envoy*.

The envoy (`aplex._ray.envoy`) is a child process that holds the connection to Ray, for Ray ends
that process when the head of the cluster dies. It is started with the first order, and again if it
has ended: once there was a cluster, it waits for that to come back. Its environment is that of this
program; so a token for Ray is where Ray looks for it, and nothing here reads it.
"""

from __future__ import annotations

import pickle
import socket
import subprocess
import sys
import time
from functools import partial
from typing import Any, Final

from aplex._backends.listener import Listener
from aplex._backends.remote.absence import Absence
from aplex._backends.remote.launcher import Launcher, LauncherEvents, Order
from aplex._backends.remote.meetings import NODES, Meetings, Way
from aplex._backends.remote.ray_envoy import (
    BEGIN,
    ENDED,
    FAILED,
    JOINED,
    KILL,
    LAUNCH,
    LISTENS,
    MISSED,
    PLACED,
    RayEnvoy,
)
from aplex._backends.remote.recent import Recent
from aplex._common.locks import RLock

assert sys.platform != "win32"

LAST: Final = 8.0
"""Seconds in which the envoy must have ended when the pool is gone; then it is killed."""
FINAL: Final = 1.0
"""Seconds after which a worker is lost of which Ray says so, though its connection is open."""


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
        self._ways: Recent[str, Way] = Recent(NODES)  # that have worked, by the id of the node
        self._settings = {"init": init, "options": options}
        self._quiet = not init["log_to_driver"]  # then Ray shows messages of its own all the same
        self._envoy: RayEnvoy | None = None
        self._envoys: set[RayEnvoy] = set()
        self._lock = RLock()
        self._absence = Absence()
        self._looks = False  # whether there will be another envoy in a while
        self._waiting: dict[int, Order] = {}  # without a place, as yet
        self._serving: set[int] = set()  # with a place, and not known to be over
        self._joined = False  # whether there ever was a cluster
        self._closed = False

    def bind(self, events: LauncherEvents, listener: Listener) -> None:
        super().bind(events, listener)
        self._meetings.bind(events, listener)

    def launch(self, order: Order) -> None:
        with self._lock:
            self._waiting[order.number] = order
            if self._envoy is not None:
                self._hand(self._envoy, order)
            elif not self._looks:
                self._send_envoy()

    def _send_envoy(self) -> None:
        """Start an envoy, and hand it what waits. Under the lock."""
        if self._closed or self._envoy is not None:
            return
        envoy = self._envoy = RayEnvoy(quiet=self._quiet)
        self._envoys.add(envoy)
        # Once there was a cluster, it waits for it.
        envoy.tell(BEGIN, pickle.dumps({**self._settings, "patient": self._joined}))
        self.listener.call_soon(partial(self._watch, envoy))
        for order in self._waiting.values():
            self._hand(envoy, order)

    def _hand(self, envoy: RayEnvoy, order: Order) -> None:
        number, _, token = order.token.partition("-")
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
        with self._lock:
            self._waiting.pop(number, None)
            self._serving.discard(number)
            if self._envoy is not None:
                self._dismiss_if_useless(self._envoy)

    def close(self) -> None:
        end = time.monotonic() + LAST
        with self._lock:
            self._closed = True
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

    def _watch(self, envoy: RayEnvoy) -> None:
        if envoy in self._envoys:
            self.listener.watch(envoy.end, partial(self._hear, envoy))

    def _hear(self, envoy: RayEnvoy) -> None:
        try:
            frames = envoy.reader.read()
        except BlockingIOError:
            return
        except (EOFError, OSError):
            self._lose(envoy)
            return
        while frames:
            self._take(envoy, *frames.popleft())

    def _take(self, envoy: RayEnvoy, kind: int, *rest: Any) -> None:
        if kind == PLACED:
            with self._lock:
                self._serving.add(rest[0])
                self._waiting.pop(rest[0], None)
            self._is_back(envoy)
            self.events.placed(*rest)
        elif kind == JOINED:
            self._joined = envoy.joined = True
            self._is_back(envoy)
        elif kind == MISSED:
            self._miss(envoy, rest[0])
        elif kind == ENDED:
            number, reason = rest
            self._end(envoy, number, reason)
        elif kind == LISTENS:
            self._meet(envoy, *rest)
        elif kind == FAILED:
            envoy.failure = f"found no cluster of Ray: {rest[0]}"

    def _meet(
        self, envoy: RayEnvoy, number: int, node: str, way: Way, host: str, port: int
    ) -> None:
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
            self._ways.note(node, way)

    def _relay(self, number: int, connection: socket.socket, host: str, port: int) -> None:  # noqa: ARG002
        """Have a connection made inside the cluster: the envoy knows where."""
        with connection:
            with self._lock:
                envoys = [envoy for envoy in self._envoys if number in envoy.orders]
            for envoy in envoys:
                envoy.pass_on(number, connection)

    def _miss(self, envoy: RayEnvoy, reason: str) -> None:
        """Take in that the head of the cluster does not answer."""
        self._absence.begin(reason)
        self.events.away(reason)
        with self._lock:
            envoy.missed = True
            self._dismiss_if_useless(envoy)

    def _dismiss_if_useless(self, envoy: RayEnvoy) -> None:
        """End an envoy without head and actors, which Ray would do after a minute. Under the lock.

        While there are actors, Ray decides about them.
        """
        if envoy.joined and envoy.missed and not self._serving:
            envoy.process.kill()

    def _is_back(self, envoy: RayEnvoy) -> None:
        envoy.missed = False
        self._absence.end()
        self.events.back()

    def _lose(self, envoy: RayEnvoy) -> None:
        """Take in that an envoy has ended, and with it all its actors."""
        self.listener.unwatch(envoy.end)
        envoy.close()
        code = envoy.process.wait()
        reason = envoy.failure or f"lost its connection to Ray (which ended by code {code})"
        with self._lock:
            if self._envoy is envoy:
                self._envoy = None
            self._envoys.discard(envoy)
            if self._joined:  # what has no place waits until the cluster is back
                for number in self._waiting:
                    envoy.orders.pop(number, None)
                self._look_later(self._absence.reason or reason)
        for number in list(envoy.orders):
            self._end(envoy, number, reason)

    def _look_later(self, reason: str) -> None:
        """Have another envoy look for the cluster in a while. Under the lock."""
        self._absence.begin(reason)
        self.events.away(reason)
        self._looks = True
        self.listener.call_at(time.monotonic() + self._absence.pause(), self._look)

    def _look(self) -> None:
        with self._lock:
            self._looks = False
            if self._waiting:
                try:
                    self._send_envoy()
                except OSError as error:  # no memory, or too many processes
                    self._look_later(f"its envoy could not be started: {error}")

    def _end(self, envoy: RayEnvoy, number: int, reason: str) -> None:
        """Tell that an actor is gone; if its connection says nothing of that, insist."""
        if envoy.orders.pop(number, None) is None:
            return
        self.over(number)
        self.events.ended(number, reason)
        insist = partial(self.events.node_lost, number, f"what had started it {reason}")
        self.listener.call_at(time.monotonic() + FINAL, insist)
