"""Waits for a named pipe on an event loop, also on one that says it cannot, as it is emulated."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def watched(fd: int, readable: Callable[[], object]) -> Iterator[None]:
    """Have the running loop call back while the descriptor can be read."""
    loop: Any = asyncio.get_running_loop()
    try:
        loop.add_reader(fd, readable)
        remove = loop.remove_reader
    except NotImplementedError:  # the emulated loop of Windows, which is one of this system
        loop._add_reader(fd, readable)
        remove = loop._remove_reader
    try:
        yield
    finally:
        remove(fd)
