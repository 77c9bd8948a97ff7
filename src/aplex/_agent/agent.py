"""The Agent: starts one worker, stands between it and its pool, and tells how it has ended.

It is the process that was launched; the worker is a process that it forks off, with the lanes'
connections. The agent keeps copies of these, and the memory in which the worker counts what it has
started: so when the worker dies, at whatever moment, what it had written arrives, and the agent
certifies how it ended and how far it had got, as the kernel and shared memory do for a process of
the pool's own machine.

Who dies, and what follows:

* The worker: the agent sends the `Certificate`, says that nothing more comes on the lanes, and ends
  when the pool has closed the control connection.
* The pool, or the network: the control connection ends, and so does the worker's lifeline. It
  cleans up, and is killed if that takes longer than `GRACE`.
* What has started the agent, where that gives it a standard input to live by: the worker is killed,
  and its end is certified as ever. Its place belongs to others now.
* The agent: the worker's lifeline ends, for the agent has its other side. The pool sees the end of
  the control connection without a certificate, and takes everything aboard for started.

It is deaf to Ctrl-C. A SIGTERM is the machine's wish that the worker goes: the pool is told.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import sys
import threading
import time
from typing import Any, Final

from aplex._agent import tunnels
from aplex._agent.arrival import arrive
from aplex._agent.dialing import Place
from aplex._agent.ward import Ward
from aplex._common.oom_kills import OomKills
from aplex._common.resident import resident
from aplex._wire import orders
from aplex._wire.counters import Progress
from aplex._wire.frames import PipeEnd, Writer, one_way
from aplex._wire.orders import Certificate
from aplex._worker.process import ORPHAN_GRACE

assert sys.platform != "win32"

GRACE: Final = ORPHAN_GRACE + 2.0
"""Seconds that a worker has when its pool is gone."""
LAST: Final = 30.0
"""Seconds in which a pool takes in the end of a worker; then it has forgotten it."""
_NUMBER: Final = orders.NUMBER.size
_LEFT: Final = 64 * 1024  # bytes of last words


class Agent:
    """Stands between a worker and its pool."""

    _ward: Ward  # from `run` on
    _lifeline: PipeEnd

    def __init__(self, control: PipeEnd, lanes: list[PipeEnd], progress: Progress) -> None:
        """Have no worker yet.

        Args:
            control: The control connection.
            lanes: Copies of what the worker writes to.
            progress: Where the worker counts.
        """
        self._control = control
        self._writer = Writer(control)
        self._lanes = lanes
        self._progress = progress
        self._rest = b""  # of a number that has come in part
        self._oom_kills = OomKills()
        self._said = threading.Lock()  # a signal handler writes, too: it does not wait
        self._leaving = False
        self._ended = False

    # -- what the pool wants ------------------------------------------------

    def run(self, ward: Ward, lifeline: PipeEnd, keeper: PipeEnd | None = None) -> None:
        """Serve until the worker has ended, or the pool is gone.

        Args:
            ward: The worker.
            lifeline: The end to which what is for the worker is written.
            keeper: Ends with what has started this process, if that can be known.
        """
        self._ward, self._lifeline = ward, lifeline
        wakee, waker = socket.socketpair()
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        selector = selectors.DefaultSelector()
        for source in (self._control, ward.end, wakee):
            selector.register(source, selectors.EVENT_READ)
        if keeper is not None:
            selector.register(keeper, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if keeper is not None and keeper in ready and not _says_more(keeper):
                selector.unregister(keeper)
                self._tell(orders.BEREFT)
                self._ward.kill()
            if wakee in ready:
                wakee.recv(64)
                self._tell_leaving()
            if ward.end in ready:
                self._certify()
                return
            if self._control in ready and not self._obey():
                self._end_worker()
                return

    def leave(self, _number: int, _frame: Any) -> None:
        """Note that the machine wants the worker to go. A signal handler."""
        self._leaving = True

    def _tell_leaving(self) -> None:
        if self._leaving:
            self._leaving = False
            self._tell(orders.LEAVING, 0.0)

    def _obey(self) -> bool:
        """Do what the pool wants; return False if it is gone."""
        data = bytearray(512 * _NUMBER)
        try:
            count = self._control.read_into(memoryview(data))
        except OSError:
            return False
        if not count:
            return False
        data[count:] = b""
        whole = self._rest + data
        cut = len(whole) - len(whole) % _NUMBER
        self._rest = bytes(whole[cut:])
        for (number,) in orders.NUMBER.iter_unpack(whole[:cut]):
            if orders.is_for_agent(number):
                self._follow(number)
            else:
                with contextlib.suppress(OSError):  # it has ended: that is told
                    self._lifeline.write([number.to_bytes(_NUMBER, sys.byteorder)])
        return True

    def _follow(self, number: int) -> None:
        kind, value = orders.kind_of(number), orders.value_of(number)
        if kind == orders.KILL:
            self._ward.kill()
        elif kind == orders.DOOM:
            doomed = self._progress.doom(value)
            if doomed:
                self._ward.kill()
            self._tell(orders.DOOMED, value, doomed)
        elif kind == orders.RECORD:
            self._progress.record(value)
        elif kind in (orders.BEAT, orders.PAGE):
            page = self._progress.page
            self._tell(
                orders.COUNTED,
                time.monotonic_ns(),
                bytes(page.counters),
                resident(self._ward.pid) or 0,
                page.snapshot() if kind == orders.PAGE else None,
            )

    def _tell(self, *message: Any) -> None:
        with contextlib.suppress(OSError):  # it is gone: that is read
            self._writer.write(message)

    # -- the end ------------------------------------------------------------

    def _certify(self) -> None:
        """Tell how the worker has ended, and wait until the pool has taken that in."""
        exitcode, peak = self._ward.how_ended()
        progress = self._progress
        words = progress.last_words().encode(errors="replace")[:_LEFT]
        if progress.is_for_stderr and words:
            with contextlib.suppress(OSError):
                os.write(2, words + b"\n")
        killed = exitcode == -signal.SIGKILL
        certificate = Certificate(
            exitcode,
            bytes(progress.page.counters),
            progress.page.snapshot(),
            words,
            progress.left(),
            peak,
            self._oom_kills.blame() if killed else False,
        )
        for lane in self._lanes:  # what is on its way arrives first
            with contextlib.suppress(OSError):
                _shut(lane)
        self._tell(orders.ENDED, orders.plain(certificate))
        selector = selectors.DefaultSelector()
        selector.register(self._control, selectors.EVENT_READ)
        over = time.monotonic() + LAST
        while selector.select(max(0.0, over - time.monotonic())):
            with contextlib.suppress(OSError):
                if self._control.read_into(memoryview(bytearray(512))):
                    continue
            return

    def _end_worker(self) -> None:
        """End the worker of a pool that is gone, or does not want it."""
        self._lifeline.close()
        selector = selectors.DefaultSelector()
        selector.register(self._ward.end, selectors.EVENT_READ)
        if not selector.select(GRACE):
            self._ward.kill()
        self._ward.how_ended()


def serve(place: Place, keeper: PipeEnd | None = None) -> int:
    """Dial a pool, and be what it wants. Returns in the agent only, when all is over.

    The caller must have no other threads: this process forks. In the worker the call ends by
    SystemExit, so that the interpreter ends in order there.

    Args:
        place: Which worker of which pool.
        keeper: Ends with what has started this process; then the worker is killed.

    Returns:
        An exit code.

    Raises:
        RefusedError: The pool does not want this worker.
        OSError: It cannot be reached.
    """
    control, coroutines, plain, logs, welcome, belongings, bulk = arrive(place)
    from aplex._agent.body import begin, make_progress

    progress = make_progress(welcome, place.number)
    lanes = [coroutines, plain] if bulk is None else [coroutines, plain, bulk]
    agent = Agent(control, lanes, progress)
    signal.signal(signal.SIGINT, hear_nothing)
    signal.signal(signal.SIGTERM, agent.leave)
    ours, theirs = make_lifeline()
    tunnels.pause()
    pid = os.fork()
    if pid == 0:
        tunnels.abandon()
        ours.close()
        control.close()
        if keeper is not None:
            keeper.close()
        ends = (coroutines, plain, theirs, logs, bulk)
        begin(welcome, place.number, ends, belongings, progress)
        raise SystemExit(0)
    tunnels.resume()
    welcome["setup"].clear()
    theirs.close()
    for end in (logs, *belongings.memory):
        if end is not None:
            end.close()
    agent.run(Ward(pid), ours, keeper)
    tunnels.finish(control, *lanes)
    return 0


def _says_more(keeper: PipeEnd) -> bool:
    try:
        return bool(keeper.read_into(memoryview(bytearray(512))))
    except OSError:
        return False


def hear_nothing(_number: int, _frame: Any) -> None:
    """Leave Ctrl-C to the pool. What is ignored would be so in programs that works start."""


def make_lifeline() -> tuple[PipeEnd, PipeEnd]:
    """Return the end that a worker reads, behind the one that its agent writes to."""
    reader, writer = one_way()
    assert isinstance(reader, PipeEnd)
    assert isinstance(writer, PipeEnd)
    writer.set_blocking(False)
    return writer, reader


def _shut(lane: PipeEnd) -> None:
    """Say that nothing more comes on a connection of which this is a copy."""
    connection = socket.socket(fileno=os.dup(lane.fileno()))
    with connection:
        connection.shutdown(socket.SHUT_WR)
