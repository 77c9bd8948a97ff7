"""Workers elsewhere: a launcher starts them, they dial in, and are linked to the pool by TCP.

For each worker a `Launch` is kept from its order to its end. It comes to life in this order, all on
the listener's thread: its agent dials in (control), and is told how to begin; the lanes dial in;
when all are there, the link is made, and from now on a worker is like any other. Whoever dials in
must prove that it knows the secret, and have the token of a launch, see `Door`.

How a worker ends:

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

import contextlib
import hmac
import logging
import os
import secrets
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from aplex._backends.contract import Events, Setup
from aplex._backends.linked.backend import unborn
from aplex._backends.linked.log_thread import LogChannel
from aplex._backends.listener import Listener
from aplex._backends.remote.bulk import Bulk
from aplex._backends.remote.certificates import examine
from aplex._backends.remote.door import Door
from aplex._backends.remote.launch import Launch
from aplex._backends.remote.launcher import Launcher, Order
from aplex._backends.remote.launching import LauncherThread
from aplex._backends.remote.link import RemoteLink
from aplex._backends.remote.nodes import Node
from aplex._backends.remote.payloads import Payloads
from aplex._backends.remote.shipping import NONE, Modules
from aplex._common.errors import SerializationError, WorkerStartError
from aplex._common.messages import LANES
from aplex._pool.state import PoolWorker
from aplex._wire import handshake, orders
from aplex._wire.frames import PipeEnd, frame_of
from aplex._wire.handshake import Claim, RefusedError, UnwantedError
from aplex._wire.lent_files import Told
from aplex._wire.orders import Arrival, Certificate, Welcome
from aplex._wire.past import Part
from aplex._wire.setup_packer import pack_setup
from aplex._worker.green_threads import check_program
from aplex._worker.log_levels import levels_now

STUCK: Final = 3.0
"""Seconds after which a worker that was killed, and of which nothing is heard, is given up."""
LAST_FRAMES: Final = 5.0
"""Seconds in which what a worker had written must have come, after its end was certified."""
_log = logging.getLogger("aplex")
GIVEN_UP: Final = 256
"""Workers that were not wanted before they were there; should they dial in, nothing is wrong."""
LOOK: Final = 0.25
"""Seconds for which `stats` waits for agents, at most: the last that is known does else."""


class RemoteBackend(Payloads):
    """Has workers launched, lets them in, and notices their end."""

    can_interrupt = True
    shares_early = True
    waits_for_places = True

    def __init__(
        self,
        launcher: Launcher,
        listen: str,
        port: int,
        secret: str | None,
        setup: Setup,
        modules: Modules = NONE,
    ) -> None:
        """Start nothing yet.

        Args:
            launcher: What starts the workers.
            listen: The address of the interface at which they dial in.
            port: There; 0: any.
            secret: Of the pool; None: a new one.
            setup: What the workers are set up with.
            modules: What travels to them.

        Raises:
            SerializationError: That cannot travel.
        """
        super().__init__(setup, main_by_value=lambda: True, forward_logs=setup.forward_logs)
        parts = (setup.worker_loop_factory, setup.initializer, setup.initargs, setup.surroundings)
        packed = pack_setup(parts, main_by_value=True, by_fork=True)
        if packed.inherited:
            kinds = ", ".join(dict.fromkeys(type(each).__qualname__ for each in packed.inherited))
            raise SerializationError(
                f"the initializer or its arguments have something ({kinds}) that only processes of "
                "one machine can share"
            )
        self._setup = setup
        self._parts = [bytes(part) for part in packed.parts]
        self._launcher = launcher
        self._modules = modules
        self._listen = listen, port
        self._secret = secret or secrets.token_hex(32)
        self._door: Door | None = None
        self._launches: dict[int, Launch] = {}
        self._looked = threading.Condition()
        self._boot = orders.boot_of_this_machine()
        self._nodes: dict[str, Node[Launch]] = {}
        self._given_up: deque[bytes] = deque(maxlen=GIVEN_UP)  # tokens

    def bind(self, events: Events, listener: Listener) -> None:
        super().bind(events, listener)
        self._thread = LauncherThread(f"{self._setup.name}-launcher", events.failed)
        self._launcher.bind(self, listener)

    # -- start ----------------------------------------------------------------

    def check_can_start(self) -> None:
        check_program(forks=False)
        self._launcher.check_can_start()

    def start(self, worker: PoolWorker) -> None:
        if worker.id in self._launches:  # Ctrl-C broke into this very method
            return
        try:
            self._make_gate()
            if self._door is None:
                door = Door(
                    *self._listen,
                    self._secret.encode(),
                    self.listener,
                    self._admit,
                    self._arrived,
                )
                door.open()
                self._door = door
        except OSError as error:
            where = f"{self._listen[0]}:{self._listen[1]}"
            self._unborn(worker, WorkerStartError(f"cannot listen on {where}: {error}"))
            return
        launch = self._launches[worker.id] = Launch(worker)
        host, port = self._door.address
        order = Order(
            worker.id,
            worker.index,
            f"{self._setup.name}-{worker.id}",
            host,
            port,
            f"{worker.id}-{launch.token.hex()}",
            self._secret,
        )
        self._ask_launcher(partial(self._have_launched, order))

    def _ask_launcher(self, call: Callable[[], None]) -> None:
        # Not here, with the lock: a thread may be started for it.
        self.listener.call_soon(partial(self._thread.do, call))

    def _have_launched(self, order: Order) -> None:
        """Have a worker started. On the launcher's thread."""
        launch = self._launches.get(order.number)
        if launch is None or launch.unwanted:
            self.ended(order.number, "was not wanted any more")
            return
        try:
            launch.modules = self._modules.shipment()
            self._launcher.launch(order)
        except Exception as error:  # noqa: BLE001 - of a cluster, or of the user's command
            self.listener.call_soon(partial(self._not_launched, order.number, error))

    def _not_launched(self, number: int, error: BaseException) -> None:
        failure = WorkerStartError(f"a worker could not be launched: {error}")
        failure.__cause__ = error
        launch = self._launches.get(number)
        if launch is not None:
            self._lose_unborn(launch, failure)

    # -- what the launcher reports; any thread ----------------------------------

    def placed(self, number: int, node: str | None = None) -> None:
        launch = self._launches.get(number)
        if launch is not None:
            self.events.placed(launch.worker, node)

    def ended(self, number: int, reason: str) -> None:
        self.listener.call_soon(partial(self._command_ended, number, reason))

    def node_lost(self, number: int, reason: str) -> None:
        def lose() -> None:
            launch = self._launches.get(number)
            if launch is not None:
                self._cut_short(launch, reason)

        self.listener.call_soon(lose)

    def leaving(self, number: int, seconds: float | None) -> None:  # noqa: ARG002 - see below
        launch = self._launches.get(number)
        if launch is not None:
            self.events.leaving(launch.worker)

    def capacity(self, count: int) -> None:
        self.events.capacity(count)

    def _command_ended(self, number: int, reason: str) -> None:
        launch = self._launches.get(number)
        if launch is None:
            return
        launch.gone = reason
        if launch.control is None:
            self._lose_unborn(
                launch,
                WorkerStartError(f"what was to start a worker {reason} before it has dialled in"),
            )
        # Else the connection tells.

    # -- who dials in; on the listener's thread ---------------------------------

    def _admit(self, claim: Claim) -> None:
        launch = self._launches.get(claim.number)
        if claim.token in self._given_up:
            raise UnwantedError("it is not wanted any more")
        if launch is None or not hmac.compare_digest(launch.token, claim.token):
            raise RefusedError(
                "its token is not valid: the worker that was to have it has been given up, or has "
                "ended"
            )
        first = launch.control is None
        if claim.channel in launch.used or (claim.channel == handshake.CONTROL) != first:
            raise RefusedError("its token was used before")
        launch.used.add(claim.channel)

    def _arrived(self, claim: Claim, connection: socket.socket) -> None:
        launch = self._launches[claim.number]
        end = PipeEnd(connection.detach())
        end.set_blocking(False)
        if claim.channel == handshake.CONTROL:
            self._begin(launch, end)
        else:
            launch.channels[claim.channel] = end
            self._connect(launch)

    def _begin(self, launch: Launch, control: PipeEnd) -> None:
        """Hear what an agent is."""
        launch.take_control(control, logs=self._logs.are_wanted())
        self.listener.watch(control, partial(self._hear, launch))

    def _meet(self, launch: Launch) -> None:
        """Tell an agent how to begin, once it can find what others of its machine have."""
        assert launch.arrival is not None
        boot = launch.arrival.boot
        # Where nothing is known of a machine, each worker is on one of its own.
        node = launch.node = self._nodes.setdefault(boot, Node()) if boot else Node()
        digest = None if launch.modules is None else launch.modules.digest
        if node.comes(launch, digest, far=boot != self._boot):
            self._welcome(launch, node)

    def _welcome(self, launch: Launch, node: Node[Launch]) -> None:
        """Tell an agent how to begin."""
        logs = handshake.LOGS in launch.wanted
        assert launch.arrival is not None
        shipped = launch.modules
        modules_at = [] if shipped is None else node.some(node.modules.get(shipped.digest, {}))
        welcome = Welcome(
            pool=self._setup.name,
            index=launch.worker.index,
            logs=logs,
            slow_callback=self._setup.slow_callback,
            recording=self._recording,
            setup=self._parts,
            modules=None if shipped is None or modules_at else shipped.data,
            modules_at=modules_at,
            path=[entry for entry in map(os.path.abspath, sys.path) if os.path.isdir(entry)],  # noqa: PTH112
            memory=self._memory_for(launch) if launch.arrival.boot == self._boot != "" else [],
            common=node.some(node.common),
        )
        launch.writer.rest += frame_of(welcome)
        self._write_welcome(launch)

    def _set_up(
        self,
        launch: Launch,
        mapped: bool,  # noqa: FBT001 - as it comes
        common: Told | None,
        modules: Told | None,
        lacking: bool,  # noqa: FBT001
    ) -> None:
        """Take in what an agent has, see `SET_UP`."""
        launch.set_up(mapped=mapped)
        node = launch.node
        assert node is not None
        if lacking:
            assert launch.modules is not None
            launch.writer.rest += frame_of(launch.modules.data)
            self._write_welcome(launch)
        if common is not None:
            node.common[launch] = common
            launch.common = self._common_at(node, common)
        if modules is not None and launch.modules is not None:
            node.modules.setdefault(launch.modules.digest, {})[launch] = modules
        for other in node.answered(launch):
            self._meet(other)

    def _write_welcome(self, launch: Launch) -> None:
        end = launch.writer.end
        try:
            if not launch.is_over and not launch.writer.flush():
                self.listener.watch_writing(end, partial(self._write_welcome, launch))
                return
        except OSError:
            pass  # it has gone: that is read
        self.listener.unwatch_writing(end)

    def _connect(self, launch: Launch) -> None:
        """Make the link, if all of it is there."""
        if launch.is_complete and launch.link is None:
            self.events.locked(partial(self._link_up, launch))

    def _link_up(self, launch: Launch) -> None:
        if launch.is_over or launch.link is not None:
            return
        assert launch.control is not None
        assert launch.arrival is not None
        coroutines, plain = (
            launch.channels.pop(handshake.COROUTINES),
            launch.channels.pop(handshake.PLAIN),
        )
        logs = launch.channels.pop(handshake.LOGS, None)
        bulk = launch.channels.pop(handshake.BULK, None)
        results, launch.results = launch.results, None
        memory = None if results is None or self._arena is None else (self._arena, results)
        channel = None
        if logs is not None:
            channel = LogChannel(logs)
            channel.writer.write(levels_now())
        try:
            link = RemoteLink(
                launch.worker, launch.control, (coroutines, plain), channel, launch.arrival,
                0 if launch.arrival.boot == self._boot != "" else launch.skew,
                memory, None if bulk is None else Bulk(bulk, self.listener),
            )  # fmt: skip
        except OSError as error:  # too many open files
            for end in (coroutines, plain, logs, bulk, results):
                if end is not None:
                    end.close()
            failure = WorkerStartError(f"no memory for what a worker tells: {error}")
            self.listener.call_soon(partial(self._lose_unborn, launch, failure))
            return
        link.progress.page.name(self._setup.name, launch.worker.id)
        launch.link = self._links[launch.worker] = link
        launch.worker.node = launch.arrival.host
        self._attach(launch.worker, link)
        self._watch_bulk(launch, link)
        link.tell(orders.RECORD | self._recording)  # it may have changed since the welcome
        if launch.unwanted:
            link.kill()

    # -- what agents tell; on the listener's thread -----------------------------

    def _hear(self, launch: Launch) -> None:
        assert launch.reader is not None
        try:
            frames = launch.reader.read()
        except BlockingIOError:
            return
        except Exception as error:  # noqa: BLE001 - the end, or nothing decodable
            self._cut_short(launch, _why_cut(error, launch))
            return
        while frames and not launch.is_over:
            self._take(launch, frames.popleft())

    def _take(self, launch: Launch, message: Any) -> None:
        kind, link = message[0], launch.link
        if kind == orders.SETTLED:
            launch.arrival = Arrival(*message[1])
            launch.skew = time.monotonic_ns() - launch.arrival.now
            self._meet(launch)
        elif kind == orders.SET_UP:
            self._set_up(launch, *message[1:])
            self._connect(launch)
        elif kind == orders.LEAVING:
            self.events.leaving(launch.worker)
        elif kind == orders.BEREFT:
            launch.bereft = True
            launch.worker.why_killed = "what had started it is gone"
        elif kind == orders.ENDED:
            self._certified(launch, Certificate(*message[1]))
        elif link is None:
            return
        elif kind == orders.COUNTED:
            _, _, counters, rss, page = message
            self.events.locked(partial(self._take_counted, launch, link, counters, rss, page))
        elif kind == orders.DOOMED and not message[2]:
            launch.worker.why_killed = None  # it has ended by itself, just in time

    def _take_counted(
        self, launch: Launch, link: RemoteLink, counters: bytes, rss: int, page: bytes | None
    ) -> None:
        link.answered()
        link.take_counters(counters)
        link.take_page(page)
        link.rss = rss or None
        with self._looked:
            self._looked.notify_all()
        if not link.closed:
            self.events.looked(launch.worker, link.progress.running())

    def _ended_bulk(self, launch: Launch) -> None:
        link = launch.link
        if link is None or launch.is_over:
            return
        if link.is_read_out:
            self._end(launch)
        elif link.certificate is None:
            self._cut_off(link)

    # -- stops functions --------------------------------------------------------

    def running(self, worker: PoolWorker) -> tuple[int, float]:
        link = self._links.get(worker)
        if link is not None and link.certificate is None:
            link.ask()
        return super().running(worker)

    def turns(self, worker: PoolWorker) -> tuple[float, float]:
        link = self._links.get(worker)
        if link is not None and link.certificate is None:
            link.glance()
        return super().turns(worker)

    def kill_at(self, worker: PoolWorker, seq: int) -> bool:
        link = self._links.get(worker)
        if link is None or link.closed:
            return False
        link.tell(orders.DOOM | seq)
        return True  # its agent decides; see `_take`

    def resident(self, worker: PoolWorker) -> int | None:
        link = self._links.get(worker)
        return None if link is None else link.rss

    def record(self, level: int) -> None:
        super().record(level)
        for link in self._links.values():
            link.tell(orders.RECORD | level)

    def timings(self) -> list[Part]:
        """Return what workers have measured; waits for their agents, for `LOOK` seconds at most."""
        self._await(list(self._links.values()), orders.PAGE)
        return super().timings()

    def look(self, worker: PoolWorker | None = None) -> None:
        links = self._links
        wanted = list(links.values()) if worker is None else [links.get(worker)]
        self._await([link for link in wanted if link is not None], orders.BEAT)

    def _await(self, links: list[RemoteLink], order: int) -> None:
        """Have agents tell, and wait for that, where this thread may."""
        links = [link for link in links if link.certificate is None]
        if not links or self.listener.is_current() or self.is_broken_into():
            return
        numbers: dict[RemoteLink, int] = {}
        self.events.locked(lambda: numbers.update((link, link.ask(order)) for link in links))

        def have_told() -> bool:
            return all(link.has_told(number) for link, number in numbers.items())

        with self._looked:
            self._looked.wait_for(have_told, LOOK)

    # -- end --------------------------------------------------------------------

    def stop(self, worker: PoolWorker) -> None:
        if worker in self._links:
            super().stop(worker)
        else:
            self.kill(worker)

    def kill(self, worker: PoolWorker) -> None:
        launch = self._launches.get(worker.id)
        if launch is None:
            return
        first, launch.unwanted = not launch.unwanted, True
        if launch.link is not None:
            launch.link.unwanted = True
            launch.link.kill()
        if first:
            self.listener.call_soon(partial(self._kill_soon, launch))

    def _kill_soon(self, launch: Launch) -> None:
        """See to the end of a worker that was killed. On the listener's thread."""
        if launch.link is None:
            self._have_killed(launch)
            self._lose_unborn(launch, WorkerStartError("it is not wanted any more"))
        else:
            stuck = partial(self._cut_short, launch, "it was killed, and its agent says nothing")
            launch.timer = self.listener.call_at(time.monotonic() + STUCK, stuck)

    def _have_killed(self, launch: Launch) -> None:
        """Have the launcher end what it has launched. On the listener's thread."""
        self._thread.do(partial(self._kill_launched, launch.worker.id))

    def _kill_launched(self, number: int) -> None:
        try:
            self._launcher.kill(number)
        except Exception:  # noqa: BLE001 - of a cluster, which may be gone
            _log.exception("a worker that is lost may still run elsewhere: it could not be ended")

    def _lose_unborn(self, launch: Launch, failure: WorkerStartError) -> None:
        """Report that a worker has ended that was never linked. On the listener's thread."""
        if launch.link is not None:
            self._cut_short(launch, str(failure))
        elif not launch.is_over:
            self._forget(launch)
            self.events.lost(launch.worker, lambda: unborn(failure))

    def _cut_short(self, launch: Launch, reason: str) -> None:
        """Lose a worker of whose end nothing is certified. On the listener's thread."""
        if launch.is_over:
            return
        if launch.link is None:
            said = f"a worker that had dialled in was lost before it was ready: {reason}"
            self._lose_unborn(launch, WorkerStartError(said))
            return
        launch.lost_by = reason
        self._end(launch)

    def _certified(self, launch: Launch, certificate: Certificate) -> None:
        """Take in how a worker has ended; read what it had written. On the listener's thread."""
        link = launch.link
        if link is None:
            said = f"exit code {certificate.exitcode}"
            self._lose_unborn(launch, WorkerStartError(f"a worker ended before it began: {said}"))
            return
        self.events.locked(partial(link.certify, certificate))
        with self._looked:
            self._looked.notify_all()
        late = partial(self._end, launch)
        launch.timer = self.listener.call_at(time.monotonic() + LAST_FRAMES, late)
        for lane in LANES:
            self.listener.watch(link.readers[lane].end, partial(self._read_out, launch, lane))

    def _read_out(self, launch: Launch, lane: int) -> None:
        link = launch.link
        if launch.is_over or link is None:
            return
        self.events.receive(launch.worker, lane, partial(link.read_out, lane))
        if lane in link.ended_lanes:
            self.listener.unwatch(link.readers[lane].end)
        if link.is_read_out:
            self._end(launch)

    def _end(self, launch: Launch) -> None:
        """Report the end of a linked worker. On the listener's thread."""
        if launch.is_over:
            return
        link = launch.link
        assert link is not None
        self._forget(launch)
        self._take_end(launch.worker, link, partial(examine, launch, link))

    def _forget(self, launch: Launch) -> None:
        """Have its token void, and nothing of it watched but the link. On the listener's thread."""
        self._launches.pop(launch.worker.id, None)
        if launch.link is None and launch.unwanted:
            self._given_up.append(launch.token)  # it may be about to dial in
        node = launch.node
        if node is not None:
            node.leaves(launch)
            for other in node.answered(launch):
                self._meet(other)
        if launch.certified is None or launch.bereft:
            self._have_killed(launch)
        else:
            self._thread.do(partial(self._launcher.over, launch.worker.id))
        launch.be_over(self.listener)

    def close(self) -> None:
        if self._door is not None:
            self._door.close()
        for launch in list(self._launches.values()):
            self._forget(launch)
        super().close()
        self._thread.finish(self._close_launcher)

    def _close_launcher(self) -> None:
        try:
            self._launcher.close()
        except Exception:  # noqa: BLE001 - of a cluster
            _log.exception("what has launched workers could not be closed")

    def break_down(self) -> None:
        for link in list(self._links.values()):
            with contextlib.suppress(Exception):
                link.kill()
        self._bury_all()
        self.close()

    # -- fork ---------------------------------------------------------------------

    def abandon_after_fork(self) -> None:
        if self._door is not None:
            self._door.abandon()
        for launch in self._launches.values():
            launch.abandon()
        self._launcher.abandon_after_fork()
        super().abandon_after_fork()


def _why_cut(error: BaseException, launch: Launch) -> str:
    """Return why a connection has ended."""
    if launch.gone is not None:
        return f"what had started it {launch.gone}"
    if isinstance(error, EOFError):
        return "its connection ended"
    if isinstance(error, OSError):
        return f"its connection was lost: {error.strerror or error}"
    return f"undecodable data came from it: {error}"
