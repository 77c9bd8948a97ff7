"""The envoy: a child process of the pool's program that holds its connection to Ray.

Ray ends the process that holds a connection when the head of its cluster dies. So that is this one,
and the pool goes on; works do not pass through it. It starts an actor for each order, kills it when
it is told to, and says what becomes of it. The socket pair to the pool is its lifeline: at its end
it leaves Ray, which ends all actors that still are there, and ends.

Down go tuples: first one pickle (`Settings`), then orders, each with a word of those below. So do
they up. Threads: one reads, so that the end of the pool is noticed while Ray is being waited for;
one watches the head; the main thread does what it was asked, one thing after another; Ray's own
ones tell how calls have ended.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import socket
import sys
import threading
from functools import partial
from importlib import import_module, metadata
from typing import Any, Final

from aplex._version import __version__
from aplex._wire.frames import PipeEnd, Reader, Writer

assert sys.platform != "win32"
from aplex._ray.head import LONGEST, PAUSE, HeadWatch, knock  # noqa: E402 - no Ray on Windows
from aplex._ray.relays import RayRelays  # noqa: E402

BEGIN: Final = 0
"""Down: the pickled settings."""
LAUNCH: Final = 1
"""Down: start an actor; the number of its order, and what it is to be told."""
KILL: Final = 2
"""Down: kill the actor of that number."""
SERVE: Final = -1
"""Of the envoy to itself: have the actor of that number serve, which has its place."""
JOINED: Final = 3
"""Up: there is a connection to Ray, or the head answers again."""
FAILED: Final = 4
"""Up: there is none; why. The envoy ends."""
PLACED: Final = 5
"""Up: the actor of that number has its place; where."""
ENDED: Final = 6
"""Up: the actor of that number is gone; why."""
LISTENS: Final = 7
"""Up: the worker of that number is to be dialled; the id of its node, the way, host and port."""
MISSED: Final = 8
"""Up: the head of the cluster does not answer; why. The envoy goes on, as long as Ray does."""
LAST: Final = 5.0
"""Seconds in which Ray must have been left, when the pool is gone."""
JOIN: Final = 45.0
"""Seconds in which there must be a connection to Ray, which itself tries for minutes."""
AGAIN: Final = 1.0
"""Seconds after which an actor is asked for again that Ray could not reach."""
_LONGEST: Final = 600  # characters of a reason


class Envoy:
    """Has actors started, and hears of their end."""

    def __init__(self, connection: socket.socket, hatch: socket.socket) -> None:
        """Start reading what the pool wants.

        Args:
            connection: The socket pair.
            hatch: Another one, by which connections come that are to be made in the cluster.
        """
        self._hatch = hatch
        self._relays: RayRelays | None = None
        self._reader = Reader(PipeEnd(connection.fileno()))
        self._writer = Writer(PipeEnd(connection.fileno()))
        self._writes = threading.Lock()
        self._wants: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
        self._actors: dict[int, Any] = {}
        self._orders: dict[int, tuple[Any, ...]] = {}  # of actors that have no place yet
        self._ray: Any = None
        self._head = ""  # where it can be asked whether it is there
        self._gone = threading.Event()  # the pool
        self._packages: Any = None
        self._needs: dict[str, str] = {}
        threading.Thread(target=self._read, name="aplex-envoy", daemon=True).start()

    def run(self) -> None:
        """Do what the pool wants, until it is gone."""
        first = self._wants.get()
        if first is None:
            return
        settings = pickle.loads(first[1])
        pause = PAUSE
        while (failure := self._try_to_join(settings)) is not None:
            if not settings["patient"]:
                self._tell(FAILED, failure)
                return
            self._tell(MISSED, failure)
            if self._gone.wait(pause):
                return
            pause = min(2 * pause, LONGEST)
        self._tell(JOINED)
        HeadWatch(self._head, self._gone, partial(self._tell, MISSED), partial(self._tell, JOINED))
        self._relays = RayRelays(self._ray, self._hatch)
        while (wanted := self._wants.get()) is not None:
            kind, number, *rest = wanted
            if kind == LAUNCH:
                self._launch(number, tuple(rest))
            elif kind == SERVE:
                self._have_served(number, *rest)
            else:
                self._kill(number)
        self._leave()

    def _try_to_join(self, settings: dict[str, Any]) -> str | None:
        """Connect to Ray; return why that cannot be."""
        timer = threading.Timer(JOIN, self._give_up)
        timer.daemon = True
        timer.start()
        try:
            _close(knock(settings["init"]["address"]))
            self._join(settings)
        except BaseException as error:  # noqa: BLE001 - Ray's, of many kinds
            return _told(error)
        finally:
            timer.cancel()
        return None

    def _read(self) -> None:
        try:
            while True:
                frames = self._reader.read()
                while frames:
                    self._wants.put(frames.popleft())
        except (EOFError, OSError):
            pass
        self._gone.set()
        self._wants.put(None)
        try:
            _close(knock(self._head))
        except OSError:
            os._exit(1)  # there is nobody to leave
        timer = threading.Timer(LAST, os._exit, (1,))  # Ray may wait for what never comes
        timer.daemon = True
        timer.start()

    def _give_up(self) -> None:
        self._tell(FAILED, f"no connection within {JOIN:.0f} s")
        os._exit(1)

    def _tell(self, *message: Any) -> None:
        try:
            with self._writes:
                self._writer.write(message)
        except OSError:
            pass  # the pool is gone: that is read

    # -- Ray ------------------------------------------------------------------

    def _join(self, settings: dict[str, Any]) -> None:
        from aplex._ray import actor

        ray = self._ray = import_module("ray")  # its types are not ours to check
        ray.init(**settings["init"])
        import_module("ray.cloudpickle").register_pickle_by_value(actor)
        self._class = ray.remote(actor.WorkerActor).options(
            max_restarts=0, max_task_retries=0, **settings["options"]
        )
        self._needs = {"aplex": __version__, "cloudpickle": metadata.version("cloudpickle")}
        address: str = settings["init"]["address"]
        proxied = address.startswith("ray://")
        self._head = address if proxied else ray.get_runtime_context().gcs_address

    def _leave(self) -> None:
        self._ray.shutdown()

    def _launch(self, number: int, order: tuple[Any, ...]) -> None:
        self._orders[number] = order
        try:
            actor = self._actors[number] = self._class.remote()
            self._ask(number, actor)
        except Exception as error:  # noqa: BLE001 - Ray's, of many kinds
            self._end(number, f"could not be submitted to Ray: {_told(error)}")

    def _have_served(self, number: int, has_packages: bool) -> None:  # noqa: FBT001
        """Make the call that lasts as long as the worker."""
        actor, order = self._actors.get(number), self._orders.pop(number, None)
        if actor is None or order is None:  # it has ended
            return
        try:
            packages = None if has_packages else self._own_packages()
            place = order[:-1]
            self._watch(actor.serve.remote(packages, place), partial(self._served, number))
        except Exception as error:  # noqa: BLE001 - Ray's, of many kinds
            self._end(number, f"could not be submitted to Ray: {_told(error)}")

    def _own_packages(self) -> Any:
        """Return a reference to a zip of ours, which Ray brings to each node once."""
        if self._packages is None:
            from aplex._backends.remote.shipping import own_packages

            self._packages = self._ray.put(own_packages().data)
        return self._packages

    def _watch(self, reference: Any, done: Any) -> None:
        reference.future().add_done_callback(done)

    def _placed(self, number: int, future: Any) -> None:
        """Take in where an actor is. On a thread of Ray's."""
        if future.exception() is not None:
            self._served(number, future)
            return
        node, has_packages, listens = future.result()
        self._tell(PLACED, number, node)
        if listens is not None:
            if self._relays is not None:
                self._relays.note(number, listens)
            self._tell(LISTENS, number, *listens)
        self._wants.put((SERVE, number, has_packages))

    def _served(self, number: int, future: Any) -> None:
        """Take in how a call has ended that lasts as long as its actor. On a thread of Ray's."""
        error = future.exception()
        actor = self._actors.get(number)
        if isinstance(error, self._ray.exceptions.ActorUnavailableError) and actor is not None:
            # That is no end. What is called now waits for the same.
            timer = threading.Timer(AGAIN, self._ask_again, (number, actor))
            timer.daemon = True
            timer.start()
            return
        self._end(number, "has returned" if error is None else f"has ended: {_told(error)}")

    def _ask_again(self, number: int, actor: Any) -> None:
        if number in self._orders:
            self._ask(number, actor)
        else:
            self._watch(actor.place.remote(self._needs), partial(self._served, number))

    def _ask(self, number: int, actor: Any) -> None:
        """Have an actor tell where it is."""
        place = actor.place.remote(self._needs, self._orders[number][-1])
        self._watch(place, partial(self._placed, number))

    def _end(self, number: int, reason: str) -> None:
        self._orders.pop(number, None)
        if self._relays is not None:
            self._relays.forget(number)
        if self._actors.pop(number, None) is not None:
            self._tell(ENDED, number, reason)

    def _kill(self, number: int) -> None:
        actor = self._actors.get(number)
        if actor is not None:
            self._ray.kill(actor, no_restart=True)


def _close(connection: socket.socket | None) -> None:
    if connection is not None:
        connection.close()


def _told(error: BaseException) -> str:
    """Return an error of Ray's in one line."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException):
        error = cause
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = " ".join(lines)
    if len(said) > _LONGEST:
        said = f"{said[: _LONGEST // 2]} … {said[-_LONGEST // 2 :]}"
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def main(descriptor: int, hatch: int) -> None:
    """Serve the pool at the other end of socket pairs. The program's main function."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is meant for the program
    connection = socket.socket(fileno=descriptor)
    Envoy(connection, socket.socket(fileno=hatch)).run()
