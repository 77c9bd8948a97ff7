"""The Connection to a scheduler: a client of the pool's own, and another one if that loses it.

Dask's client reconnects by itself for a while. But it has dropped all its tasks then, and the new
scheduler does not know which events it wants to hear; and after that while it is closed for good.
So a client that has lost its scheduler is given up, and a new one is made when something listens
again where the scheduler was, or where it is by now.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from aplex._backends.listener import Listener
from aplex._backends.remote.absence import Absence
from aplex._backends.remote.dask.cluster import DaskCluster
from aplex._backends.remote.launcher import LauncherEvents


class Connection:
    """Has a client, unless the scheduler is away.

    Attributes:
        client: None: it is away, or was never looked for.
    """

    def __init__(
        self, cluster: DaskCluster, connected: Callable[[Any], None], back: Callable[[], None]
    ) -> None:
        """Connect to nothing yet.

        Args:
            cluster: Where the scheduler is.
            connected: Is told each new client; before anybody else has it, on any thread.
            back: Is called when there is a client again. On a thread that may wait.
        """
        self._cluster = cluster
        self._connected = connected
        self._back = back
        self._absence = Absence()
        self._lock = threading.Lock()
        self._closed = False
        self._old: Any = None  # a client that is to be closed
        self.client: Any = None

    def bind(self, events: LauncherEvents, listener: Listener) -> None:
        """Tell where to report that the scheduler is away, or back, and what has timers."""
        self._events = events
        self._listener = listener

    def ensure(self) -> Any:
        """Return a client; None while the scheduler is away. On the launcher's thread.

        Raises:
            ConnectionError: There was none ever.
        """
        client = self.client
        if client is not None and client.status != "running":
            self.lose(client)
        elif client is None and self._absence.reason is None:
            client = self._cluster.connect()
            self._connected(client)
            self.client = client
        return self.client

    def lose(self, client: Any) -> None:
        """Note that a client has lost its scheduler. Any thread; only the first time matters."""
        with self._lock:
            if self.client is not client or self._closed:
                return
            reason = f"the Dask scheduler at {self._cluster.address} is gone"
            self._absence.begin(reason)
            self.client, self._old = None, client
        self._events.away(reason)
        self._look_later()

    def close(self) -> None:
        """Close the client; look for no other one."""
        with self._lock:
            self._closed = True
            client, self.client = self.client, None
        if client is not None:
            client.close()
        self._close_old()

    def _close_old(self) -> None:
        """Close the client that has lost its scheduler, without words about that."""
        with self._lock:
            old, self._old = self._old, None
        if old is not None:
            log = logging.getLogger("distributed.client")
            log.addFilter(_is_worth_telling)
            with contextlib.suppress(Exception):  # of Dask, which has lost its scheduler
                old.close(timeout=1)
            log.removeFilter(_is_worth_telling)

    def _look_later(self) -> None:
        when = time.monotonic() + self._absence.pause()
        self._listener.call_soon(partial(self._listener.call_at, when, self._look))

    def _look(self) -> None:
        """See whether the scheduler is back. On the listener's thread, which does not wait."""
        if not self._closed:
            threading.Thread(
                target=self._reconnect, name="aplex-dask-reconnect", daemon=True
            ).start()

    def _reconnect(self) -> None:
        self._close_old()
        try:
            client = self._cluster.connect_again()
            self._connected(client)
        except Exception as error:  # noqa: BLE001 - of Dask, on a scheduler that just starts
            self._absence.begin(str(error))
            if not self._closed:
                self._events.away(str(error))
                self._look_later()
            return
        with self._lock:
            if not self._closed:
                self._absence.end()
                self.client = client
        if self.client is None:
            client.close()
            return
        self._events.back()
        self._back()


def _is_worth_telling(record: logging.LogRecord) -> bool:
    """Whether it is more than that an attempt to reconnect was called off."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))
