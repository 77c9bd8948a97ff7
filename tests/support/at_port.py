"""Processes of workers that belong to a pool, wherever they are on this machine, by its port."""

from __future__ import annotations

import socket
import time
from pathlib import Path

SETTLING = 15.0
"""Seconds in which they must have ended whose pool has."""


def free_port() -> int:
    """Return a port that was free just now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def workers_at(port: int) -> list[int]:
    """Return the processes, agents included, that were told to dial that port."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:  # it has ended just now
                continue
            where = words[words.index(b"--connect") + 1] if b"--connect" in words else b""
            if where.endswith(f":{port}".encode()):
                found.append(int(entry.name))
    return found


def wait_until_gone(port: int) -> None:
    """Wait until there are none; fail if that takes long."""
    end = time.monotonic() + SETTLING
    while left := workers_at(port):
        assert time.monotonic() < end, f"left alive: {left}"
        time.sleep(0.02)  # of the end of somebody else's children nobody tells
