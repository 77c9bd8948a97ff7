"""The actor of a worker: its process *is* the worker, on its main thread.

Its second call never returns while the worker lives. So signals and libraries that insist on the
main thread work, `ray.get` and the like go on working inside works, and the pending call is the
notice of its death.

The text of this module travels, and runs where there may be no aplex, or another one: it imports
nothing of ours before it has looked.
"""

from __future__ import annotations

import importlib
import os
import socket
import sys
from typing import Any

ANSWER = 3.0
"""Seconds in which a pool that can be dialled has answered."""


class WorkerActor:
    """One worker."""

    _door: socket.socket | None = None

    def place(
        self, needs: dict[str, str], meeting: tuple[Any, ...] | None = None
    ) -> tuple[str, bool, tuple[Any, ...] | None]:
        """Tell where it is: the first call, which says that it has its place.

        Args:
            needs: The versions of aplex and cloudpickle.
            meeting: How the pool and the worker meet, if the worker does not simply dial: the way,
                other ways by the id of the node, host and port where the pool listens, and whether
                it speaks TLS.

        Returns:
            The node; whether these are there; and where the worker is to listen, if it is: the id
            of the node, the way, host and port.
        """
        listens = None if meeting is None else self._meet(*meeting)
        return socket.gethostname(), _has(needs), listens

    def _meet(
        self,
        way: str,
        ways: dict[str, str],
        host: str,
        port: int,
        tls: bool,  # noqa: FBT001
    ) -> tuple[Any, ...] | None:
        ray: Any = importlib.import_module("ray")
        node = ray.get_runtime_context().get_node_id()
        way = ways.get(node, way)
        if way == "auto":
            way = "worker" if _answers(host, port, tls=tls) else "caller"
        if way == "worker":
            return None
        here = "127.0.0.1" if way == "relay" else ray.util.get_node_ip_address()
        family = socket.AF_INET6 if ":" in here else socket.AF_INET
        door = self._door = socket.create_server((here, 0), family=family)
        return node, way, *door.getsockname()[:2]

    def serve(self, packages: bytes | None, place: tuple[Any, ...]) -> None:
        """Be the worker; the call ends by the end of the actor.

        Args:
            packages: A zip of aplex and cloudpickle, where they are not there.
            place: The fields of a `Place`, but for the last one, which says whether the pool speaks
                TLS.

        Raises:
            ValueError: It does, and Ray does not here.
            RefusedError: The pool does not want it.
            OSError: The pool cannot be reached.
        """
        if packages is not None:
            _use(packages)
        dialing: Any = importlib.import_module("aplex._agent.dialing")
        host: Any = importlib.import_module("aplex._agent.host")
        whole = dialing.Place(*place[:-1], _tls() if place[-1] else None)
        if self._door is not None:
            whole = whole._replace(listener=self._door.detach())
        goodbye = host.be_worker(whole)
        goodbye()
        # In order: with exit handlers, and without a message of an unexpected end.
        actor: Any = importlib.import_module("ray.actor")  # its types are not ours to check
        actor.exit_actor()


def _answers(host: str, port: int, *, tls: bool) -> bool:
    """Whether a pool listens there; with TLS it says nothing before we do."""
    try:
        with socket.create_connection((host, port), ANSWER) as connection:
            return tls or connection.recv(5, socket.MSG_WAITALL) == b"aplex"
    except OSError:
        return False


def _has(needs: dict[str, str]) -> bool:
    """Whether this process can import what a worker needs, in the right versions."""
    try:
        found = {name: importlib.import_module(name).__version__ for name in needs}
    except Exception:  # noqa: BLE001 - whatever is installed there
        return False
    return found == needs


def _tls() -> tuple[str, str, str]:
    """Return by what Ray speaks TLS on this node."""
    credentials: Any = importlib.import_module("aplex._wire.credentials")
    found = credentials.of_ray(os.environ)
    if found is None:
        raise ValueError("the pool speaks TLS, but RAY_USE_TLS is not set for this worker")
    return tuple(found)


def _use(packages: bytes) -> None:
    """Have our own packages found first; they are in memory as long as this process lives."""
    if sys.platform == "linux":
        fd = os.memfd_create("aplex", os.MFD_CLOEXEC)
        path = f"/proc/{os.getpid()}/fd/{fd}"  # for the agent, too
    else:
        import tempfile

        fd, path = tempfile.mkstemp(suffix=".zip")
    with open(fd, "wb", closefd=sys.platform != "linux") as file:
        file.write(packages)
    sys.path.insert(0, path)
    for name in list(sys.modules):
        if name.partition(".")[0] in ("aplex", "cloudpickle"):
            del sys.modules[name]
    importlib.invalidate_caches()
