"""A worker in a process that a cluster has started, as on Ray; and how it dies on its way.

Run as a command of a pool, below a shell that stands for the part of the cluster on a node:
``python -m tests.support.hosted_worker STEP FILE …``. It dies at a step only if the file is not
there, which it makes.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from aplex._agent import host
from aplex._agent.dialing import Place

STEPS = (
    "at once",
    "its agent is started",
    "its agent knows the place",
    "it has the connections",
    "its agent at once",
    "its agent in the middle",
)


def die(*_: Any, **__: Any) -> Any:
    """End as what is killed does."""
    os.kill(os.getpid(), signal.SIGKILL)


def half(step: str) -> None:
    """Have this process, or its agent, die when it comes to a step."""
    if step == "at once":
        die()
    elif step == "its agent is started":
        host.Writer = die  # type: ignore[misc, assignment]
    elif step == "its agent knows the place":
        host.socket.recv_fds = die
    elif step == "it has the connections":
        host.begin = die
    elif step == "its agent at once":
        host._PROGRAM = (
            "import os, sys; sys.path[:] = {path!r}; os.kill(os.getpid(), 9); {arguments}"
        )
    elif step == "its agent in the middle":
        name = f"{__name__ if __name__ != '__main__' else 'tests.support.hosted_worker'}"
        host._PROGRAM = (
            "import sys; sys.path[:] = {path!r}; from aplex._agent import hosted; "
            f"import {name} as here; hosted.make_progress = here.die; hosted.attend"
            "{arguments}"
        )


def main() -> None:
    """Be a worker."""
    mark = Path(sys.argv[2])
    if not mark.exists():
        mark.touch()
        half(sys.argv[1])
    at, token = sys.argv[sys.argv.index("--connect") + 1], sys.argv[-1]
    there, _, port = at.rpartition(":")
    number, _, given = token.partition("-")
    secret = os.environ["APLEX_SECRET"].encode()
    host.be_worker(Place(there, int(port), int(number), bytes.fromhex(given), secret))()


if __name__ == "__main__":
    main()
