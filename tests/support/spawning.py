"""Sends things to a child that is being started, without starting one."""

from __future__ import annotations

import os
import pickle
from multiprocessing import reduction
from multiprocessing.context import set_spawning_popen
from typing import Any


class Spawning:
    """What ``multiprocessing`` has while it starts a child; this child is ourselves."""

    class DupFd:
        """A descriptor on its way."""

        def __init__(self, fd: int) -> None:
            self.fd = fd

        def detach(self) -> int:
            return os.dup(self.fd)

    def duplicate_for_child(self, fd: int) -> int:
        return fd


def travelled(thing: Any) -> Any:
    """Return what the child would get."""
    set_spawning_popen(Spawning())
    try:
        data = reduction.ForkingPickler.dumps(thing)
    finally:
        set_spawning_popen(None)
    return pickle.loads(data)
