"""A Dask cluster, as a pool sees it: whose client it is, and from where it can be reached.

What users hand over is a ``Client`` (of any loop), a cluster object, an address, or the path of a
scheduler file; for all but the first, a client of the pool's own is made, on the launcher's thread,
when the first worker is to start.

The loop of a client may be the very loop that waits for the pool. So nothing here is called with a
lock of the pool, and only the launcher's thread waits for answers, a while at most.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

ANSWER: Final = 10.0
"""Seconds in which the cluster must have answered."""


class DaskCluster:
    """The way to a scheduler."""

    def __init__(self, client: Any) -> None:
        """Connect to nothing yet.

        Args:
            client: What the user has given.

        Raises:
            ImportError: Dask is not there.
            TypeError: It is something else.
            ValueError: It is not connected, nor about to be.
            OSError: The scheduler file cannot be read.
        """
        self._distributed: Any = load()
        self._is_ours = not isinstance(client, self._distributed.Client)
        self._given = client
        self._client: Any = None if self._is_ours else client
        self.address = self._address(client)

    def _address(self, given: Any) -> str:
        """Return the address of the scheduler."""
        if not self._is_ours:
            scheduler = getattr(given, "scheduler", None)
            address: Any = getattr(scheduler, "address", None) or given._start_arg  # noqa: SLF001
            if not isinstance(address, str):
                address = getattr(address, "scheduler_address", None)
            if not address and given.scheduler_file:
                address = _read(given.scheduler_file)
            if not address:
                raise ValueError(f"{given!r} is not connected to a scheduler")
            return str(address)
        address = getattr(given, "scheduler_address", None)
        if address is not None:
            return str(address)
        if isinstance(given, str) and (
            "://" in given or (":" in given and not os.path.exists(given))  # noqa: PTH110
        ):
            return given if "://" in given else f"tcp://{given}"
        if isinstance(given, (str, os.PathLike)):
            return _read(given)
        raise TypeError(
            "client must be a distributed.Client, a cluster, an address, or the path of a "
            f"scheduler file, not {given!r}"
        )

    def our_host(self) -> str:
        """Return the address of this machine's interface that leads to the scheduler.

        Raises:
            OSError: There is none.
        """
        parts = urlsplit(self.address)
        if parts.scheme == "inproc" or not parts.hostname:
            return "127.0.0.1"
        host, port = parts.hostname, parts.port or 8786
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(where)  # of UDP: says nothing to nobody
            return str(probe.getsockname()[0])

    # -- on the launcher's thread ---------------------------------------------------

    def client(self) -> Any:
        """Return a client that is connected, or about to be again.

        Raises:
            ConnectionError: There is none.
        """
        if self._is_ours and (self._client is None or self._client.status == "closed"):
            security = getattr(self._given, "security", None)
            try:
                self._client = self._distributed.Client(
                    self.address, security=security, set_as_default=False, name="aplex"
                )
            except OSError as error:
                raise ConnectionError(
                    f"the Dask scheduler at {self.address} cannot be reached: {error}"
                ) from error
        if self._client.status in ("closed", "closing"):
            raise ConnectionError(f"the Dask client of the scheduler at {self.address} is closed")
        if self._client.status == "newly-created":
            raise ConnectionError("the Dask client has not been awaited yet")
        return self._client

    @property
    def has_client(self) -> bool:
        """Whether there is a client that has not been closed."""
        return self._client is not None and self._client.status not in ("closed", "closing")

    def answer(self, ask: Callable[[], Any]) -> Any:
        """Return what the cluster answers to a method of the client.

        Raises:
            TimeoutError: It does not answer; its loop is blocked, or the network is.
        """
        reply = ask()
        if not inspect.isawaitable(reply):
            return reply

        async def wait() -> Any:
            return await reply

        loop: asyncio.AbstractEventLoop = self._client.loop.asyncio_loop
        return asyncio.run_coroutine_threadsafe(wait(), loop).result(ANSWER)

    def close(self) -> None:
        """Close the client, if it is ours."""
        if self._is_ours and self._client is not None:
            self._client.close()


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


def _read(file: str | os.PathLike[str]) -> str:
    return str(json.loads(Path(file).read_text(encoding="utf-8"))["address"])
