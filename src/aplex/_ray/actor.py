"""The actor of a worker: its process *is* the worker, on its main thread.

Its one call never returns while the worker lives. So signals and libraries that insist on the main
thread work, `ray.get` and the like go on working inside works, and the pending call is the notice
of its death.
"""

from __future__ import annotations

import os
import socket
from importlib import import_module
from typing import Any


class WorkerActor:
    """One worker."""

    def place(self) -> str:
        """Return where it is: the first call, which tells that it has its place."""
        ray: Any = import_module("ray")  # its types are not ours to check
        return f"{socket.gethostname()} ({ray.util.get_node_ip_address()}, process {os.getpid()})"

    def serve(self, host: str, port: int, number: int, token: bytes, secret: bytes) -> None:
        """Be the worker; the call ends by the end of the actor.

        Args:
            host: Where the pool listens.
            port: There.
            number: Of the worker.
            token: Of its launch.
            secret: Of the pool.

        Raises:
            RefusedError: The pool does not want it.
            OSError: The pool cannot be reached.
        """
        from aplex._agent.dialing import Place
        from aplex._agent.host import be_worker

        goodbye = be_worker(Place(host, port, number, token, secret))
        goodbye()
        # In order: with exit handlers, and without a message of an unexpected end.
        actor: Any = import_module("ray.actor")
        actor.exit_actor()
