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

from aplex._backends.remote.launcher import Launcher, Order
from aplex._common.locks import RLock
from aplex._wire.frames import PipeEnd, Reader, Writer

assert sys.platform != "win32"

BEGIN, LAUNCH, KILL, JOINED, FAILED, PLACED, ENDED = range(7)
"""What `aplex._ray.envoy` knows."""
LAST: Final = 8.0
"""Seconds in which the envoy must have ended when the pool is gone; then it is killed."""
FINAL: Final = 1.0
"""Seconds after which a worker is lost of which Ray says so, though its connection is open."""
_PROGRAM: Final = (
    "import sys; sys.path[:] = {path!r}; from aplex._ray.envoy import main; main({descriptor})"
)


class _Envoy:
    """One that was started."""

    def __init__(self, *, quiet: bool) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            program = _PROGRAM.format(path=sys.path, descriptor=theirs.fileno())
            self.process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-c", program],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if quiet else None,
                stderr=subprocess.DEVNULL if quiet else None,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self.end = PipeEnd(ours.detach())
        self.reader, self.writer = Reader(self.end), Writer(self.end)
        self.numbers: set[int] = set()  # of orders that it has
        self.failure: str | None = None

    def tell(self, *message: Any) -> None:
        """Tell it something. It may have ended: that is read."""
        with contextlib.suppress(OSError):
            self.writer.write(message)


class RayLauncher(Launcher):
    """Has actors started."""

    def __init__(self, init: dict[str, Any], options: dict[str, Any]) -> None:
        """Start nothing yet.

        Args:
            init: The arguments of ``ray.init``.
            options: Those of an actor.
        """
        self._settings = pickle.dumps({"init": init, "options": options})
        self._quiet = not init["log_to_driver"]  # then Ray shows messages of its own all the same
        self._envoy: _Envoy | None = None
        self._envoys: set[_Envoy] = set()
        self._lock = RLock()

    def launch(self, order: Order) -> None:
        number, _, token = order.token.partition("-")
        with self._lock:
            envoy = self._envoy
            if envoy is None:
                envoy = self._envoy = _Envoy(quiet=self._quiet)
                self._envoys.add(envoy)
                envoy.tell(BEGIN, self._settings)
                self.listener.call_soon(partial(self._watch, envoy))
            envoy.numbers.add(order.number)
        envoy.tell(
            LAUNCH, int(number), order.host, order.port, int(number), bytes.fromhex(token),
            order.secret.encode(), order.tls is not None,
        )  # fmt: skip

    def kill(self, number: int) -> None:
        with self._lock:
            envoys = [envoy for envoy in self._envoys if number in envoy.numbers]
        for envoy in envoys:
            envoy.tell(KILL, number)

    def close(self) -> None:
        end = time.monotonic() + LAST
        with self._lock:
            envoys, self._envoy = list(self._envoys), None
            self._envoys.clear()
        for envoy in envoys:
            self.listener.unwatch(envoy.end)
            envoy.end.close()
        for envoy in envoys:
            try:
                envoy.process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                envoy.process.kill()
                envoy.process.wait()

    def abandon_after_fork(self) -> None:
        for envoy in self._envoys:
            envoy.end.close()
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
        elif kind == FAILED:
            envoy.failure = f"found no cluster of Ray: {rest[0]}"

    def _lose(self, envoy: _Envoy) -> None:
        """Take in that an envoy has ended, and with it all its actors."""
        with self._lock:
            if self._envoy is envoy:
                self._envoy = None
            self._envoys.discard(envoy)
        self.listener.unwatch(envoy.end)
        envoy.end.close()
        code = envoy.process.wait()
        reason = envoy.failure or f"lost its connection to Ray (which ended by code {code})"
        for number in list(envoy.numbers):
            self._end(envoy, number, reason)

    def _end(self, envoy: _Envoy, number: int, reason: str) -> None:
        """Tell that an actor is gone; if its connection says nothing of that, insist."""
        if number not in envoy.numbers:
            return
        envoy.numbers.discard(number)
        self.events.ended(number, reason)
        insist = partial(self.events.node_lost, number, f"what had started it {reason}")
        self.listener.call_at(time.monotonic() + FINAL, insist)
