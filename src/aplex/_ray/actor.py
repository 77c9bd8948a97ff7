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


class WorkerActor:
    """One worker."""

    def place(self, needs: dict[str, str]) -> tuple[str, bool]:
        """Tell where it is: the first call, which says that it has its place.

        Args:
            needs: The versions of aplex and cloudpickle.

        Returns:
            The node; and whether these are there.
        """
        return socket.gethostname(), _has(needs)

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
        goodbye = host.be_worker(dialing.Place(*place[:-1], _tls() if place[-1] else None))
        goodbye()
        # In order: with exit handlers, and without a message of an unexpected end.
        actor: Any = importlib.import_module("ray.actor")  # its types are not ours to check
        actor.exit_actor()


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
