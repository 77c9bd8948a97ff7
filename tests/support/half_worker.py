"""A worker that ends at some step of the way to its pool; later ones are whole.

Run as a command of a pool: ``python -m tests.support.half_worker STEP FILE …``. It is half only if
the file is not there, which it makes. It writes the step into it when it has come to that.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from aplex._agent import arrival, dialing
from aplex._agent.command_line import run
from aplex._agent.dialing import Place
from aplex._wire import handshake
from aplex._wire.frames import PipeEnd

STEPS = (
    "at once",
    "connected",
    "greeted",
    "half an answer",
    "answered",
    "control",
    "coroutines",
    "plain",
    "before the fork",
    "after the fork",
    "the worker at once",
    "half a frame of the worker",
)


def die() -> None:
    """Say so in the file, and end as what is killed does."""
    Path(sys.argv[2]).write_text(sys.argv[1], encoding="utf-8")
    os.kill(os.getpid(), signal.SIGKILL)


def half(step: str) -> None:
    """Have this process die when it comes to a step."""
    if step == "at once":
        die()
    real_dial, real_fork = dialing.dial, os.fork

    def dial(
        place: Place, channel: int, reach: Callable[[Place], socket.socket] = dialing.reach
    ) -> PipeEnd:
        if step in STEPS[1:5]:
            knock(place, step)
        end = real_dial(place, channel, reach)
        if step in ("control", "coroutines", "plain")[channel : channel + 1]:  # there are others
            die()
        return end

    def fork() -> int:
        if step == "before the fork":
            die()
        death, life = os.pipe()
        pid = real_fork()
        if pid:
            if step == "after the fork":
                die()
        elif step == "after the fork":  # its worker comes no further, or it might get a work
            os.close(life)
            os.read(death, 1)
            os._exit(1)
        elif step == "the worker at once":
            die()
        elif step == "half a frame of the worker":
            os.writev = write_half
        return pid

    arrival.dial = dial
    os.fork = fork


def write_half(fd: int, parts: Sequence[bytes | memoryview]) -> int:
    """Begin to write a frame."""
    data = b"".join(parts)
    os.write(fd, data[: len(data) // 2])
    die()
    return 0


def knock(place: Place, step: str) -> None:
    """Begin to say who this is."""
    with contextlib.closing(socket.create_connection((place.host, place.port))) as connection:
        if step != "connected":
            nonce = handshake.nonce_of(connection.recv(handshake.GREETING_SIZE, socket.MSG_WAITALL))
            said = handshake.answer(nonce, place.secret, 0, place.number, place.token)
            if step == "half an answer":
                connection.sendall(said[: len(said) // 2])
            elif step == "answered":
                connection.sendall(said)
                time.sleep(0.05)  # it may have been let in by now, or not
        die()


if __name__ == "__main__":
    mark = Path(sys.argv[2])
    if not mark.exists():
        mark.touch()
        half(sys.argv[1])
    sys.exit(run(sys.argv[3:]))
