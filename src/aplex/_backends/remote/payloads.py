"""The Payloads: how big arguments, big results and shared objects get to and from remote workers.

A worker of the pool's own machine maps the memory in which they are, as one that the pool has
forked would (`_wire.lent_files`). Any other has a connection for them, a `Bulk`: the arguments are
sent from that same memory. What is shared is sent to one worker of each machine (`Common`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from aplex._backends.contract import Setup
from aplex._backends.linked.backend import LinkedBackend
from aplex._backends.linked.link import Link
from aplex._backends.remote.common import Common
from aplex._backends.remote.launch import Launch
from aplex._backends.remote.link import RemoteLink
from aplex._backends.remote.nodes import Node
from aplex._common.messages import COROUTINE
from aplex._pool.state import Work
from aplex._wire import parcels
from aplex._wire.lent_files import Told, told
from aplex._wire.parcels import BIG, Parcel, is_bytes
from aplex._wire.shared_memory import SharedPayload, make_shared_memory_file

if TYPE_CHECKING:
    from aplex._common.sharing import Share


class Payloads(LinkedBackend[RemoteLink]):
    """The part of the `RemoteBackend` that has to do with them."""

    def __init__(
        self, setup: Setup, *, main_by_value: Callable[[], bool], forward_logs: bool | None
    ) -> None:
        """Have no worker yet; see `LinkedBackend`."""
        super().__init__(setup, main_by_value=main_by_value, forward_logs=forward_logs)
        self._far = 0  # how many workers have ever come that map no memory of ours
        self._commons: WeakValueDictionary[tuple[Node[Launch], int, int], Common] = (
            WeakValueDictionary()
        )

    # -- as a worker comes ----------------------------------------------------------

    def memory_for(self, launch: Launch) -> list[Told]:
        """Return the memory that a worker of this machine may map; nothing, if there is none."""
        arena = self._shared()
        if arena is not None:
            launch.results = make_shared_memory_file()
        if arena is None or launch.results is None:
            return []
        return [told(arena.end.fileno()), told(launch.results.fileno())]

    def common_at(self, node: Node[Launch], file: Told) -> Common:
        """Return what is known of a file of shared objects on a machine."""
        return self._commons.setdefault((node, *file[2:]), Common())

    def _watch_bulk(self, launch: Launch, link: RemoteLink) -> None:
        """Have what comes on the connection of a new link taken in. Under the lock."""
        if link.bulk is None:
            return
        self._far += 1
        link.common = launch.common
        if link.common is not None:
            link.common.links.add(link)
        link.bulk.watch(partial(self._came, launch, link), partial(self._ended_bulk, launch))

    @abstractmethod
    def _ended_bulk(self, launch: Launch) -> None:
        """Take in that nothing more can come there. On the listener's thread."""

    # -- arguments and results -------------------------------------------------------

    def _put(self, payloads: Sequence[bytes | memoryview]) -> SharedPayload | None:
        if self._far and sum(map(len, payloads)) < BIG:
            return None  # it travels in the frame
        payload = super()._put(payloads)
        if payload is not None:
            payload.frozen = [place for place, part in enumerate(payloads) if is_bytes(part)]
        return payload

    def _lend(self, link: RemoteLink, work: Work) -> Any:
        if link.bulk is not None and type(work.call) is SharedPayload:
            return link.send_call(work)
        return super()._lend(link, work)

    def _came(self, launch: Launch, link: RemoteLink, parcel: Parcel) -> None:
        """Take in what has come. On the listener's thread."""
        if launch.is_over:
            return
        if parcel.kind == parcels.HERE:
            if link.common is not None:
                self.events.locked(partial(link.common.came, parcel.number))
        else:
            self.events.receive(launch.worker, COROUTINE, partial(link.came, parcel))

    def _take_back(self, link: Link) -> None:
        super()._take_back(link)
        if not isinstance(link, RemoteLink):
            return
        if link.common is not None:
            link.common.lost(link)
        if link.bulk is not None:  # its descriptor may be closed on another thread
            link.bulk.close()

    def _shared_for(self, link: RemoteLink, definitions: dict[int, Any]) -> dict[int, Any]:
        if link.bulk is None:
            return definitions
        assert self._shares is not None
        told: dict[int, Any] = {}
        for number, (name, where) in definitions.items():
            payload = self._shares.payload(-number)
            place = where
            if payload is not None:
                common = link.common
                place = common and common.place_for(link, -number, payload)
                place = place or self._shares.by_channel(payload)
            told[number] = name, place
        return told

    def _forget_shared(self, number: int) -> None:
        """Have the memory of a shared object given back elsewhere. Under the lock."""
        for common in list(self._commons.values()):
            common.freed(number)

    def share(self, obj: Any) -> Share:
        made = super().share(obj)
        assert self._shares is not None
        self._shares.on_free = self._forget_shared
        return made
