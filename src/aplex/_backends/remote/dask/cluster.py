"""A Dask cluster, as a pool sees it: where its scheduler is, and a client of the pool's own.

What users hand over is a ``Client`` (of any loop), a cluster object, an address, or the path of a
scheduler file. It only says where the scheduler is, and by which security. The pool makes a client
of its own, when the first worker is ordered: the loop of a user's client may be the very loop that
waits for the pool, or be blocked; and its handlers of events are the user's. Nothing here is called
with a lock of the pool.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import socket
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from aplex._backends.remote.security import credentials_of_dask
from aplex._wire.credentials import Credentials

ANSWER: Final = 5.0
"""Seconds in which something must listen at the address of a scheduler that was away."""


class DaskCluster:
    """The way to a scheduler.

    Attributes:
        address: Of the scheduler.
    """

    def __init__(self, given: Any) -> None:
        """Connect to nothing yet.

        Args:
            given: What the user has given.

        Raises:
            ImportError: Dask is not there.
            TypeError: It is something else.
            ValueError: It is not connected.
            OSError: The scheduler file cannot be read.
        """
        self._distributed: Any = load()
        self._given = given
        self.address = self._address(given)
        self._security = getattr(given, "security", None)

    def _address(self, given: Any) -> str:
        if isinstance(given, self._distributed.Client):
            address: Any = getattr(given.scheduler, "address", None)
        else:
            address = getattr(given, "scheduler_address", None)
        if isinstance(given, str) and ("://" in given or given.rpartition(":")[2].isdigit()):
            address = given if "://" in given else f"tcp://{given}"
        elif isinstance(given, (str, os.PathLike)):
            file: str | os.PathLike[str] = given
            address = json.loads(Path(file).read_text(encoding="utf-8"))["address"]
        elif address is None and not hasattr(given, "scheduler"):
            raise TypeError(
                "client must be a distributed.Client, a cluster, an address, or the path of a "
                f"scheduler file, not {given!r}"
            )
        if not address or address == "<Not Connected>":
            raise ValueError(
                f"{given!r} is not connected to a scheduler: where it is asynchronous, await it "
                "first"
            )
        return str(address)

    def our_host(self) -> str:
        """Return the address of this machine's interface that leads to the scheduler.

        Raises:
            OSError: There is none.
        """
        parts = urlsplit(self.address)
        if parts.scheme == "inproc" or not parts.hostname:
            return "127.0.0.1"
        where = parts.hostname, parts.port or 8786
        family, kind, protocol, _, place = socket.getaddrinfo(*where, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(place)  # of UDP: says nothing to nobody
            return str(probe.getsockname()[0])

    def credentials(self) -> Credentials | None:
        """Return those of clients, if the connections of the cluster are encrypted.

        Raises:
            ValueError: They are, and there are none.
        """
        if urlsplit(self.address).scheme != "tls":
            return None
        security = self._security or self._distributed.Security()  # of the configuration
        found = credentials_of_dask(security, "client")
        if found is None:
            raise ValueError(
                f"the scheduler at {self.address} speaks TLS, but the client's security has no "
                "certificate and CA"
            )
        return found

    # -- on threads that may wait ---------------------------------------------------

    def connect(self) -> Any:
        """Return a new client.

        Raises:
            ConnectionError: There is no scheduler.
        """
        try:
            return self._distributed.Client(
                self.address, security=self._security, set_as_default=False, name="aplex"
            )
        except OSError as error:
            raise self._no_scheduler(error) from error

    def connect_again(self) -> Any:
        """Do the same where there was a scheduler before: that may have another address now.

        Takes no long time, other than `connect`, if nothing answers there.

        Raises:
            ConnectionError: There is no scheduler.
        """
        try:
            if not isinstance(self._given, self._distributed.Client):
                self.address = self._address(self._given)
            parts = urlsplit(self.address)
            if parts.hostname and parts.port:
                socket.create_connection((parts.hostname, parts.port), ANSWER).close()
        except (OSError, ValueError, KeyError) as error:
            raise self._no_scheduler(error) from error
        return self.connect()

    def _no_scheduler(self, error: Exception) -> ConnectionError:
        return ConnectionError(f"the Dask scheduler at {self.address} cannot be reached: {error}")


def begin(client: Any, coroutine: Coroutine[Any, Any, None]) -> None:
    """Have something done on the loop of a client."""
    asyncio.run_coroutine_threadsafe(coroutine, client.loop.asyncio_loop)


def load() -> Any:
    """Return the module ``distributed``.

    Raises:
        ImportError: It is not there.
    """
    try:
        return importlib.import_module("distributed")
    except ImportError as error:
        raise ImportError(
            f"DaskAsyncPoolExecutor needs Dask: pip install 'aplex[dask]' ({error})"
        ) from error
