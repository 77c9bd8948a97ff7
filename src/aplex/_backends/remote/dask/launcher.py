"""The DaskLauncher: has each worker started by a task of a Dask cluster, its anchor.

The anchor (`anchor.run`) takes one slot of the cluster, so that Dask counts the worker: it places
it, waits with it for a place, keeps the machine while it runs, and tells of its end. What an anchor
tells comes as events of Dask, of which each pool has a topic of its own; they come before the task
is told to be done, for they travel the same way.

Where Dask starts an anchor again, as its Dask worker is lost, the new worker is refused by the
pool, or killed if it waits to be dialled: the pool has ordered a successor itself.
"""

from __future__ import annotations

import contextlib
import inspect
import secrets
import socket
import threading
import time
from functools import partial
from importlib import metadata
from typing import Any, Final

from aplex._backends.listener import Listener
from aplex._backends.remote.dask import anchor
from aplex._backends.remote.dask.cluster import DaskCluster, begin
from aplex._backends.remote.dask.connection import Connection
from aplex._backends.remote.dask.relays import DaskRelays
from aplex._backends.remote.launcher import Launcher, LauncherEvents, Order, told
from aplex._backends.remote.meetings import NODES, Meetings, Way
from aplex._backends.remote.recent import Recent
from aplex._backends.remote.shipping import Shipment, own_packages
from aplex._version import __version__

LAST: Final = 5.0
"""Seconds in which anchors must have ended when the pool is gone."""
_RUN: Final = "(exec(text, space := {'__name__': 'aplex_anchor'}), space['run'](order))[1]"
_KILL: Final = "(exec(text, space := {'__name__': 'aplex_anchor'}), space['kill'](*which))[1]"


class _Anchor:
    """One task."""

    __slots__ = ("address", "client", "future", "key", "lacks", "order", "reason", "unwanted")

    def __init__(self, order: Order) -> None:
        self.order = order
        self.key = ""  # of the task
        self.client: Any = None  # by which it was submitted
        self.future: Any = None
        self.unwanted = False
        self.address: str | None = None  # of the Dask worker, once it runs
        self.lacks = False  # whether there is no aplex
        self.reason: str | None = None  # how its worker has ended


class DaskLauncher(Launcher):
    """Starts workers by tasks of Dask."""

    def __init__(
        self,
        cluster: DaskCluster,
        options: dict[str, Any],
        least: int | None,
        connect: str = "worker",
    ) -> None:
        """Start nothing yet.

        Args:
            cluster: Where.
            options: Of each task: ``resources``, ``workers``, ``priority`` and the like.
            least: If the pool is to have as many workers as the cluster has places, how many it has
                at least; else None.
            connect: Who makes the connections, as of `DaskAsyncPoolExecutor`.
        """
        self.workers_dial = connect in ("worker", "auto")
        self._connect = connect
        self._connection = Connection(cluster, self._subscribe, self._place_all)
        self._relays = DaskRelays(lambda: self._connection.client)
        self._meetings = Meetings(self._relay, self._met)
        self._ways: Recent[str, Way] = Recent(NODES)  # that have worked, by node
        self._options = options
        self._least = least or 0
        self._follows = least is not None
        self._topic = f"aplex-{secrets.token_hex(8)}"
        self._text = inspect.getsource(anchor)
        self._packages: Shipment | None = None
        self._needs = {"aplex": __version__, "cloudpickle": metadata.version("cloudpickle")}
        self._anchors: dict[int, _Anchor] = {}
        self._changed = threading.Condition()

    def bind(self, events: LauncherEvents, listener: Listener) -> None:
        super().bind(events, listener)
        self._meetings.bind(events, listener)
        self._connection.bind(events, listener)

    # -- the launcher's thread ------------------------------------------------------

    def launch(self, order: Order) -> None:
        self._connection.ensure()
        entry = self._anchors[order.number] = _Anchor(order)
        self._place(entry)

    def _subscribe(self, client: Any) -> None:
        client.subscribe_topic(self._topic, self._hear)
        if self._follows or self._connect in ("relay", "auto"):
            client.subscribe_topic("all", partial(self._hear_of_all, client))
        if self._follows:
            begin(client, self._count(client))

    def _place_all(self) -> None:
        """Place the orders that have waited for the scheduler."""
        for entry in list(self._anchors.values()):
            self._place(entry)

    def _place(self, entry: _Anchor) -> None:
        """Submit an anchor, if it is not, and the scheduler is there. Any thread."""
        client = self._connection.client
        with self._changed:
            if client is None or entry.client is not None or entry.unwanted:
                return
            entry.client = client
        try:
            self._submit(client, entry)
        except Exception:
            entry.client = None
            if client.status == "running":
                self._anchors.pop(entry.order.number, None)
                raise
            self._connection.lose(client)

    def _submit(self, client: Any, entry: _Anchor) -> None:
        order = entry.order
        key = f"aplex-worker-{secrets.token_hex(8)}"
        task = {
            "number": order.number,
            "topic": self._topic,
            "arguments": order.arguments,
            "secret": order.secret,
            "tls": order.tls is not None,
            "needs": self._needs,
            "packages": None if self._packages is None else tuple(self._packages),
            "way": self._connect,
            "ways": dict(self._ways),
            "door": (order.host, order.port),
            "relay": self._relays.texts if self._connect in ("relay", "auto") else None,
        }
        entry.lacks, entry.key = False, key
        future = entry.future = client.submit(
            eval,
            _RUN,
            {"text": self._text, "order": task},
            key=key,
            pure=False,
            retries=0,
            **self._options,
        )
        if entry.unwanted:  # since just now
            client.cancel([future])
        future.add_done_callback(partial(self._done, entry))

    def kill(self, number: int) -> None:
        self.listener.call_soon(partial(self._meetings.forget, number))
        entry = self._anchors.get(number)
        if entry is None:
            return
        with self._changed:
            entry.unwanted = True
            client, future = entry.client, entry.future
            if client is None:  # it was never submitted, or its scheduler is gone
                self._anchors.pop(number, None)
        if client is None or future is None or self._connection.client is not client:
            return
        client.cancel([future])
        if entry.address is not None:
            self._kill(client, entry.address, number)

    def _kill(self, client: Any, address: str, number: int) -> None:
        which = {"text": self._text, "which": (self._topic, number)}

        def kill() -> None:
            with contextlib.suppress(Exception):  # the client is closed, or the machine is gone
                client.run(eval, _KILL, which, workers=[address], on_error="ignore")

        # On a thread of its own: if that machine is gone, Dask tries for half a minute.
        threading.Thread(target=kill, name="aplex-dask-kill", daemon=True).start()

    def over(self, number: int) -> None:
        """Have Dask forget the anchor, which it may have placed anew, where nobody needs it."""
        self.listener.call_soon(partial(self._meetings.forget, number))
        entry, client = self._anchors.get(number), self._connection.client
        if entry is None:
            return
        entry.unwanted = True
        if client is not None and entry.client is client:
            client.cancel([entry.future])

    def close(self) -> None:
        try:
            if self._connection.client is not None:
                self._wait(self._connection.client)
        finally:
            self._connection.close()

    def _wait(self, client: Any) -> None:
        """Wait until no place of the cluster is taken any more, for a while."""
        end = time.monotonic() + LAST
        with self._changed:
            self._changed.wait_for(lambda: not self._anchors, end - time.monotonic())
        for number in list(self._anchors):
            self.kill(number)
        client.unsubscribe_topic(self._topic)

    # -- Dask's threads -------------------------------------------------------------

    def _hear(self, event: tuple[float, dict[str, Any]]) -> None:
        """Take in what an anchor tells. On the loop of the client."""
        message = event[1]
        number, what = message["number"], message["what"]
        entry = self._anchors.get(number)
        if entry is None or entry.unwanted:
            client = self._connection.client
            if what == "placed" and client is not None:
                # Started anew by Dask, or just when it was cancelled: what waits to be dialled
                # would keep its place for half a minute.
                self._kill(client, message["address"], number)
            return
        if what == "placed":
            entry.address = message["address"]
            self.events.placed(number, message["node"])
            if message["listens"] is not None:
                host, port = message["listens"]
                ways: tuple[Way, ...] = (message["way"],)
                if self._connect == "auto" and message["way"] == "caller":
                    ways = ("caller", "relay")
                self._meetings.begin(entry.order, message["node"], (host, port), ways)
        elif what == "ended":
            entry.reason = told(message["code"])
        elif what == "failed":
            entry.reason = f"could not start it: {message['reason']}"
        elif what == "lacks":
            entry.lacks = True

    def arrived(self, number: int) -> None:
        self._meetings.arrived(number)

    def _met(self, node: str, way: Way) -> None:
        if self._connect == "auto":
            self._ways.note(node, way)

    def _relay(self, number: int, connection: socket.socket, host: str, port: int) -> None:
        """Have a connection made inside the cluster. On the listener's thread."""
        entry = self._anchors.get(number)
        if entry is None or entry.address is None:
            connection.close()
        else:
            self._relays.connect(connection, entry.address, entry.key, host, port)

    async def _hear_of_all(self, client: Any, event: tuple[float, dict[str, Any]]) -> None:
        """Hear which Dask workers come and go. On the loop of the client."""
        action = event[1].get("action")
        if action == "add-worker":
            self._relays.meet(event[1]["worker"])
        elif action == "remove-worker":
            self._relays.lose(event[1]["worker"])
        if self._follows and action in ("add-worker", "remove-worker", "retire-workers"):
            await self._count(client)

    async def _count(self, client: Any) -> None:
        """Count the places. On the loop of the client."""
        known = await client.scheduler.identity()
        places = sum(self._places(address, of) for address, of in known["workers"].items())
        self.events.capacity(max(self._least, places))

    def _places(self, address: str, of: dict[str, Any]) -> int:
        """Return how many anchors a Dask worker can have at a time."""
        names = self._options.get("workers")
        if names is not None:
            wanted = {names} if isinstance(names, str) else set(names)
            if not wanted & {address, of["name"], of["host"], address.rpartition("/")[2]}:
                return 0
        if of.get("status") not in (None, "init", "running", "paused"):
            return 0
        has: dict[str, float] = of.get("resources") or {}
        needs: dict[str, float] = self._options.get("resources") or {}
        # Not //, as 1 // 0.1 is 9.
        places = [int(has.get(name, 0) / need + 1e-9) for name, need in needs.items() if need]
        return min([int(of["nthreads"]), *places])

    def _done(self, entry: _Anchor, future: Any) -> None:
        """Note that a task is over. On a thread that Dask has for this."""
        if entry.lacks and future.status == "finished":
            try:
                self._packages = self._packages or own_packages()
                self._submit(entry.client, entry)
            except Exception as error:  # noqa: BLE001 - whatever there is with the cluster
                entry.reason = f"has no aplex, and could not be sent it: {error}"
            else:
                return
        if future.status == "cancelled" and _has_lost_scheduler(entry.client, future):
            self._connection.lose(entry.client)
            if entry.address is None and not entry.unwanted:  # it waits for a place again
                entry.client = entry.future = None
                self._place(entry)
                return
        with self._changed:
            self._anchors.pop(entry.order.number, None)
            self._changed.notify_all()
        self.events.ended(entry.order.number, entry.reason or _said(future))


def _has_lost_scheduler(client: Any, future: Any) -> bool:
    """Whether a task was cancelled since the scheduler is gone, for all that the client knows."""
    why = getattr(future._state.exception, "reason", None)  # noqa: SLF001
    return client.status != "running" or why == "scheduler-connection-lost"


def _said(future: Any) -> str:
    """Return why a task is over that has told nothing itself."""
    if future.status == "error":
        return f"failed: {future._state.exception}"  # noqa: SLF001
    if future.status == "finished":
        return "has ended"
    return "was cancelled: the Dask scheduler or the client is gone, or somebody has cancelled it"
