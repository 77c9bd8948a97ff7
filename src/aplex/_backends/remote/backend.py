"""Workers elsewhere: a launcher starts them, they dial in, and are linked to the pool by TCP.

For each worker a `Launch` is kept from its order to its end. It comes to life in this order, all on
the listener's thread: its agent dials in (control), and is told how to begin; the lanes dial in;
when all are there, the link is made, and from now on a worker is like any other. Whoever dials in
must prove that it knows the secret, and have the token of a launch, see `Door`.

How it ends, `ends.py` tells.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import time
from functools import partial
from typing import Any

from aplex._backends.contract import Events, Setup
from aplex._backends.listener import Listener
from aplex._backends.remote.answers import Answers
from aplex._backends.remote.door import Door
from aplex._backends.remote.ends import Ends
from aplex._backends.remote.launch import Launch
from aplex._backends.remote.launcher import Launcher, Order
from aplex._backends.remote.launches import Launches
from aplex._backends.remote.link import RemoteLink
from aplex._backends.remote.payloads import Payloads
from aplex._backends.remote.security import Security
from aplex._backends.remote.shipping import NONE, Modules
from aplex._backends.remote.supply import Supply
from aplex._backends.remote.welcomes import Welcomes
from aplex._common.errors import SerializationError, WorkerStartError
from aplex._pool.state import PoolWorker
from aplex._wire import handshake, orders
from aplex._wire.frames import PipeEnd
from aplex._wire.handshake import Claim
from aplex._wire.orders import Arrival, Certificate
from aplex._wire.past import Part
from aplex._wire.setup_packer import pack_setup
from aplex._worker.green_threads import check_program


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
        security: Security | None = None,
    ) -> None:
        """Start nothing yet.

        Args:
            launcher: What starts the workers.
            listen: The address of the interface at which they dial in.
            port: There; 0: any.
            secret: Of the pool; None: a new one.
            setup: What the workers are set up with.
            modules: What travels to them.
            security: How TLS is spoken with them; None: it is not.

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
        self._launcher = launcher
        self._security = security
        self._listen = listen, port
        self._secret = secret or secrets.token_hex(32)
        self._door: Door | None = None
        self._launches = Launches()
        self._answers = Answers()
        self._welcomes = Welcomes(setup, [bytes(part) for part in packed.parts], self)
        self._supply = Supply(setup.name, launcher, self._launches, modules)
        self._ends = Ends(self._launches, self._supply, self._welcomes.leave, self._take_end)

    def bind(self, events: Events, listener: Listener) -> None:
        super().bind(events, listener)
        self._welcomes.bind(listener)
        self._supply.bind(events, listener, self._ends, self._receive)
        self._ends.bind(events, listener)

    @property
    def cluster_away(self) -> str | None:
        return self._supply.why_away

    # -- start ----------------------------------------------------------------

    def check_can_start(self) -> None:
        check_program(forks=False)
        self._launcher.check_can_start()

    def start(self, worker: PoolWorker) -> None:
        try:
            self._make_gate()
            door = self._open_door()
        except OSError as error:
            where = f"{self._listen[0]}:{self._listen[1]}"
            self._unborn(worker, WorkerStartError(f"cannot listen on {where}: {error}"))
            return
        launch = self._launches.get(worker.id)
        if launch is None:  # else Ctrl-C broke into this very method
            launch = self._launches[worker.id] = Launch(worker)
        host, port = door.address
        order = Order(
            worker.id,
            worker.index,
            f"{self._setup.name}-{worker.id}",
            host,
            port,
            f"{worker.id}-{launch.token.hex()}",
            self._secret,
            None if self._security is None else self._security.credentials,
        )
        self._supply.order(order)

    def _open_door(self) -> Door:
        """Return the door; it is open, if workers dial.

        Raises:
            OSError: It cannot be listened there.
        """
        if self._door is None:
            self._door = Door(
                *self._listen,
                self._secret.encode(),
                self.listener,
                self._launches.admit,
                self._arrived,
                self._security,
            )
        if self._launcher.workers_dial:
            self._door.open()
        return self._door

    # -- who dials in; on the listener's thread ---------------------------------

    def _receive(self, connection: socket.socket, peer: str) -> None:
        """Take a connection that no worker has dialled."""
        if self._door is None:
            connection.close()
        else:
            self._door.receive(connection, peer)

    def _arrived(self, claim: Claim, connection: socket.socket) -> None:
        launch = self._launches[claim.number]
        end = PipeEnd(connection.detach())
        end.set_blocking(False)
        if claim.channel == handshake.CONTROL:
            self._launcher.arrived(claim.number)
            launch.take_control(end, logs=self._logs.are_wanted())
            self.listener.watch(end, partial(self._hear, launch))
        else:
            launch.channels[claim.channel] = end
            self._connect(launch)

    def _connect(self, launch: Launch) -> None:
        """Make the link, if all of it is there."""
        if launch.is_complete and launch.link is None:
            self.events.locked(partial(self._link_up, launch))

    def _link_up(self, launch: Launch) -> None:
        if launch.is_over or launch.link is not None:
            return
        assert launch.arrival is not None
        near = self._welcomes.nodes.is_ours(launch.arrival.boot)
        try:
            link = launch.make_link(self._arena, self.listener, near=near)
        except OSError as error:
            failure = WorkerStartError(f"no memory for what a worker tells: {error}")
            self.listener.call_soon(partial(self._ends.lose_unborn, launch, failure))
            return
        link.progress.page.name(self._setup.name, launch.worker.id)
        self._links[launch.worker] = link
        launch.worker.node = launch.arrival.host
        launch.worker.way = launch.way
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
            self._ends.lose_connection(launch, error)
            return
        while frames and not launch.is_over:
            self._take(launch, frames.popleft())

    def _take(self, launch: Launch, message: Any) -> None:
        kind, link = message[0], launch.link
        if kind == orders.SETTLED:
            launch.arrival = Arrival(*message[1])
            launch.skew = time.monotonic_ns() - launch.arrival.now
            self._welcomes.meet(launch)
        elif kind == orders.SET_UP:
            self._welcomes.set_up(launch, *message[1:])
            self._connect(launch)
        elif kind == orders.LEAVING:
            self.events.leaving(launch.worker)
        elif kind == orders.BEREFT:
            launch.bereft = True
            launch.worker.why_killed = "what had started it is gone"
        elif kind == orders.ENDED:
            self._ends.certified(launch, Certificate(*message[1]))
            self._answers.have_come()
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
        link.take_counted(counters, rss, page)
        self._answers.have_come()
        if not link.closed:
            self.events.looked(launch.worker, link.progress.running())

    def _ended_bulk(self, launch: Launch) -> None:
        link = launch.link
        if link is not None and not launch.is_over:
            if link.certificate is None:
                self._cut_off(link)
            self._ends.end_if_read_out(launch)

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

    def weigh(self, worker: PoolWorker) -> int | None:
        link = self._links.get(worker)
        if link is not None and link.certificate is None:
            link.ask()
        return None

    def record(self, level: int) -> None:
        super().record(level)
        self._welcomes.recording = level
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
        if links and not self.listener.is_current() and not self.is_broken_into():
            self._answers.wait(links, order, self.events.locked)

    # -- end --------------------------------------------------------------------

    def stop(self, worker: PoolWorker) -> None:
        if worker in self._links:
            super().stop(worker)
        else:
            self.kill(worker)

    def kill(self, worker: PoolWorker) -> None:
        launch = self._launches.get(worker.id)
        if launch is not None:
            self._ends.kill(launch)

    def close(self) -> None:
        if self._door is not None:
            self._door.close()
        for launch in list(self._launches.values()):
            self._ends.forget(launch)
        super().close()
        self._supply.close()

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
