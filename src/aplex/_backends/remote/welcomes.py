"""The Welcomes: how the agents of workers are told how to begin.

Who comes to a machine first is told alone, see `nodes`; and modules that it cannot find where it
was told, are sent after that.
"""

from __future__ import annotations

import contextlib
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Protocol

from aplex._backends.remote.nodes import Node, Nodes
from aplex._wire import handshake
from aplex._wire.frames import frame_of
from aplex._wire.orders import Welcome

if TYPE_CHECKING:
    from aplex._backends.contract import Setup
    from aplex._backends.listener import Listener
    from aplex._backends.remote.common import Common
    from aplex._backends.remote.launch import Launch
    from aplex._wire.lent_files import Told


class Store(Protocol):
    """Who has memory for payloads."""

    def memory_for(self, launch: Launch) -> list[Told]:
        """Return the memory that a worker of this machine may map; nothing, if there is none."""
        ...

    def common_at(self, node: Node[Launch], file: Told) -> Common:
        """Return what is known of a file of shared objects on a machine."""
        ...


class Welcomes:
    """Tells agents how to begin. On the listener's thread.

    Attributes:
        nodes: Where workers are.
        recording: As of `Backend.record`. Any thread.
    """

    def __init__(self, setup: Setup, parts: list[bytes], store: Store) -> None:
        """Have told nobody.

        Args:
            setup: What the workers are set up with.
            parts: That of it which is pickled.
            store: Who has memory for payloads.
        """
        self.nodes: Nodes[Launch] = Nodes()
        self.recording = 0
        self._setup = setup
        self._parts = parts
        self._store = store

    def bind(self, listener: Listener) -> None:
        """Say whose thread it is. Called once."""
        self._listener = listener

    def meet(self, launch: Launch) -> None:
        """Tell an agent how to begin, once it can find what others of its machine have."""
        assert launch.arrival is not None
        boot = launch.arrival.boot
        node = launch.node = launch.node or self.nodes.at(boot)
        digest = None if launch.modules is None else launch.modules.digest
        if node.comes(launch, digest, far=not self.nodes.is_ours(boot)):
            self._welcome(launch, node)

    def _welcome(self, launch: Launch, node: Node[Launch]) -> None:
        """Tell an agent how to begin."""
        assert launch.arrival is not None
        shipped = launch.modules
        modules_at = [] if shipped is None else node.some(node.modules.get(shipped.digest, {}))
        near = self.nodes.is_ours(launch.arrival.boot)
        welcome = Welcome(
            pool=self._setup.name,
            index=launch.worker.index,
            logs=handshake.LOGS in launch.wanted,
            slow_callback=self._setup.slow_callback,
            recording=self.recording,
            setup=self._parts,
            modules=None if shipped is None or modules_at else shipped.data,
            modules_at=modules_at,
            path=_search_path(),
            memory=self._store.memory_for(launch) if near else [],
            common=node.some(node.common),
        )
        launch.writer.rest += frame_of(welcome)
        self._write(launch)

    def set_up(
        self,
        launch: Launch,
        mapped: bool,  # noqa: FBT001 - as it comes
        common: Told | None,
        modules: Told | None,
        lacking: bool,  # noqa: FBT001
    ) -> None:
        """Take in what an agent has, see `SET_UP`."""
        launch.set_up(mapped=mapped)
        node = launch.node
        assert node is not None
        if lacking:
            assert launch.modules is not None
            launch.writer.rest += frame_of(launch.modules.data)
            self._write(launch)
        if common is not None:
            node.common[launch] = common
            launch.common = self._store.common_at(node, common)
        if modules is not None and launch.modules is not None:
            node.modules.setdefault(launch.modules.digest, {})[launch] = modules
        for other in node.answered(launch):
            self.meet(other)

    def _write(self, launch: Launch) -> None:
        end = launch.writer.end
        try:
            if not launch.is_over and not launch.writer.flush():
                self._listener.watch_writing(end, partial(self._write, launch))
                return
        except OSError:
            pass  # it has gone: that is read
        self._listener.unwatch_writing(end)

    def leave(self, launch: Launch) -> None:
        """Note that an agent has ended, or was given up."""
        if launch.node is not None:
            for other in self.nodes.leave(launch.node, launch):
                self.meet(other)


def _search_path() -> list[str]:
    """Return where this program finds modules."""
    found: list[str] = []
    for entry in sys.path:
        with contextlib.suppress(OSError):  # the working directory is gone
            path = os.path.abspath(entry)  # noqa: PTH100
            if os.path.isdir(path):  # noqa: PTH112
                found.append(path)
    return found
