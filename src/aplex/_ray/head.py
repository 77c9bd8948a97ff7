"""The head of a cluster of Ray, seen from outside: whether something listens there."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Final

from aplex._wire.tcp import tune

ANSWER: Final = 5.0
"""Seconds in which something must listen at an address."""
PAUSE: Final = 0.5
"""Seconds until a head that is away is looked for again; they double up to `LONGEST`."""
LONGEST: Final = 30.0
"""Seconds."""


def place_of(address: str) -> tuple[str, int] | None:
    """Return the host and the port of an address of Ray's; None: it is not known from that."""
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", "")
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    return (host.strip("[]"), int(port)) if colon and port.isdecimal() else None


def knock(address: str) -> socket.socket | None:
    """Connect to an address, if it is known where: Ray would try on and on.

    Raises:
        OSError: Nothing listens there.
    """
    place = place_of(address)
    try:
        return None if place is None else socket.create_connection(place, ANSWER)
    except OSError as error:
        raise OSError(f"nothing answers at {address}: {error}") from error


class HeadWatch:
    """Watches a head, by a connection on which nothing is said, in a thread of its own.

    Ray itself tells nothing of a head that is gone, until it ends the process a minute later. (A
    server of gRPC closes such a connection after two minutes: then there is the next one.)
    """

    def __init__(
        self, address: str, gone: threading.Event, missed: Callable[[str], object],
        back: Callable[[], object],
    ) -> None:  # fmt: skip
        """Begin.

        Args:
            address: Of the head.
            gone: Set when nobody wants to know any more.
            missed: Called with the reason whenever a look finds no head.
            back: Called when it is there again.
        """
        self._address = address
        self._gone = gone
        self._missed = missed
        self._back = back
        threading.Thread(target=self._run, name="aplex-head", daemon=True).start()

    def _run(self) -> None:
        pause = PAUSE
        away = False
        while not self._gone.is_set():
            began = time.monotonic()
            try:
                connection = knock(self._address)
                if connection is None:
                    return
                if away:
                    away = False
                    self._back()
                _wait_for_its_end(connection)
            except OSError as error:
                away = True
                self._missed(str(error))
            if time.monotonic() - began > LONGEST:
                pause = PAUSE
            else:
                self._gone.wait(pause)
                pause = min(2 * pause, LONGEST)


def _wait_for_its_end(connection: socket.socket) -> None:
    with connection:
        connection.settimeout(None)
        tune(connection, watched=True)
        try:
            while connection.recv(4096):
                pass
        except OSError:
            pass  # a reset, or the machine is gone
