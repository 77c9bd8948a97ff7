"""Wraps the functions that points name. Free when unused: nothing of aplex is touched then."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

from aplex._common.messages import PLAIN
from aplex._wire.frames import _HEADER, Writer
from reliability.points import AFTER, BEFORE, HEADER, Point

Due = Callable[[tuple[Any, ...]], bool]
"""Whether the fault is to strike in a call with these arguments."""


def locate(target: str) -> tuple[Any, str]:
    """Return the module or class that a function belongs to, and its name there.

    Raises:
        AttributeError: There is no such function.
    """
    module, _, path = target.partition(":")
    owner: Any = importlib.import_module(module)
    *classes, name = path.split(".")
    for part in classes:
        owner = getattr(owner, part)
    getattr(owner, name)
    return owner, name


def install(point: Point, due: Due, strike: Callable[[], None]) -> Callable[[], None]:
    """Have ``strike`` called at the point, in calls for which ``due`` says so.

    Returns:
        What takes the hook away again.
    """
    owner, name = locate(point.target)
    own = name in vars(owner)
    original: Any = getattr(owner, name)

    def remove() -> None:
        if own:
            setattr(owner, name, original)
        else:  # it was inherited
            delattr(owner, name)

    setattr(owner, name, _hooked(original, point, due, strike))
    return remove


def _hooked(original: Any, point: Point, due: Due, strike: Callable[[], None]) -> Any:
    @functools.wraps(original)
    def hooked(*args: Any, **kwargs: Any) -> Any:
        meant = point.counts(*args)
        if meant and point.when != AFTER and due(args):
            if point.when == BEFORE:
                strike()
            else:
                _cut(_writer_of(args), point.when, strike)
        result = original(*args, **kwargs)
        if meant and point.when == AFTER and due(args):
            strike()
        return result

    return hooked


def _writer_of(args: tuple[Any, ...]) -> Writer:
    """Return what writes the frame: the first argument, what that has, or a worker's lane."""
    if isinstance(args[0], Writer):
        return args[0]
    own = getattr(args[0], "_writer", None)
    if isinstance(own, Writer):
        return own
    backend, worker, *more = args
    lane = getattr(more[-1], "lane", more[-1]) if more else PLAIN
    link = worker if hasattr(worker, "writers") else backend._links[worker]
    writer: Writer = link.writers[lane]
    return writer


def _cut(writer: Writer, when: str, strike: Callable[[], None]) -> None:
    """Have the next write of a frame write a part only, and strike then."""
    honest = writer._write

    def write(parts: Any) -> int:
        data = b"".join(parts)
        count = honest([memoryview(data[: _HEADER.size if when == HEADER else len(data) // 2])])
        writer._write = honest  # not earlier: the pipe may have been full
        strike()
        return count  # as a full pipe does: the rest will follow

    writer._write = write
