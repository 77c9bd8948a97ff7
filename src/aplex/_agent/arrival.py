"""The Arrival: what an agent has when it has dialled its pool, and how it gets there."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import NamedTuple

from aplex._agent.belongings import Belongings, take_up
from aplex._agent.dialing import Place, dial, reach
from aplex._agent.reception import Reception
from aplex._wire import handshake, orders
from aplex._wire.frames import PipeEnd, Reader, Writer
from aplex._wire.orders import Arrival, Welcome


class Arrived(NamedTuple):
    """What an agent has when it has dialled its pool."""

    control: PipeEnd
    coroutines: PipeEnd
    plain: PipeEnd
    logs: PipeEnd | None
    welcome: Welcome
    belongings: Belongings
    bulk: PipeEnd | None  # where big payloads travel, if not by memory


def arrive(place: Place) -> Arrived:
    """Dial a pool, and be told how the worker is to begin.

    Args:
        place: Which worker of which pool.

    Raises:
        RefusedError: The pool does not want this worker.
        OSError: It cannot be reached.
    """
    if place.listener >= 0:
        with Reception(place) as reception:
            return _arrive(place, reception.reach)
    return _arrive(place, reach)


def _arrive(place: Place, reach: Callable[[Place], socket.socket]) -> Arrived:
    control = dial(place, handshake.CONTROL, reach)
    arrival = Arrival(
        socket.gethostname(), os.getpid(), orders.boot_of_this_machine(), time.monotonic_ns()
    )
    Writer(control).write((orders.SETTLED, orders.plain(arrival)))
    reader = Reader(control)
    while not reader.frames:
        reader.read()
    welcome: Welcome = reader.frames.popleft()
    belongings = take_up(control, reader, welcome)
    coroutines = dial(place, handshake.COROUTINES, reach)
    plain = dial(place, handshake.PLAIN, reach)
    logs = dial(place, handshake.LOGS, reach) if welcome["logs"] else None
    bulk = None if belongings.memory else dial(place, handshake.BULK, reach)
    return Arrived(control, coroutines, plain, logs, welcome, belongings, bulk)
