"""The Shares: the objects that one pool shares with its worker processes, the parent's side.

An object is pickled once, when it is shared. What is big is put into the shared memory in which the
arguments of calls are, and which all workers have already: so nothing has to be handed to those
that run, and nothing is copied to those that join. Smaller ones, and all where there is no shared
memory, travel by the channel, once per lane.

How one goes:

1. The last `ProcessShare` is garbage: the handle was closed, or is garbage too, and all works that
   were given it are settled. A finalizer, perhaps, in any thread: it only asks for the next step.
2. The lanes that know the object are told to forget it.
3. A worker that has no view of it any more says so (`FREED`); or it has died.
4. When all of them have, the memory is given back.

All but `share` and `encode` is called in steps of the manager.
"""

from __future__ import annotations

import itertools
import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from aplex._backends.contract import Events
from aplex._backends.linked.link import Link
from aplex._backends.linked.sharing import ProcessShare, Sharing
from aplex._backends.listener import Listener
from aplex._common.errors import SerializationError, SharedHandleError
from aplex._common.messages import ATOMS, LANES
from aplex._common.sharing import FOREIGN, NOT_AN_ARGUMENT
from aplex._pool.state import PoolWorker
from aplex._wire.by_value import Definition
from aplex._wire.calls import BY_REFERENCE, LESS, SHARED, CallEncoder, Put, is_atom
from aplex._wire.shared_memory import SharedPayload
from aplex._wire.shared_objects import Inserting, shared_object
from aplex._wire.shared_pickles import pickled
from aplex.handles import SharedHandle

T = TypeVar("T")
BUFFER: Final = 32 * 1024
"""Bytes from which a part that travels by the channel is not copied into the frame."""


class Channels(Protocol):
    """What is needed of the back end."""

    events: Events
    listener: Listener

    def tell(self, link: Link, definitions: dict[int, Any], lane: int) -> None:
        """Send definitions to a worker."""
        ...

    def arm(self) -> None:
        """Have reports read."""
        ...


class _Entry:
    """One object."""

    __slots__ = ("bound", "name", "payload", "told")

    def __init__(self, name: str, payload: SharedPayload | tuple[Any, ...]) -> None:
        self.name = name
        self.payload = payload
        self.bound: list[int] = []  # numbers of functions that were bound to it
        self.told: set[Link] = set()  # workers that were told to forget it, and may have views

    def definition(self) -> tuple[str, Any]:
        payload = self.payload
        return self.name, payload.place if isinstance(payload, SharedPayload) else payload


class Shares:
    """The shared objects of one pool."""

    def __init__(
        self,
        backend: Channels,
        encoder: CallEncoder,
        put: Put,
        links: Mapping[PoolWorker, Link],
    ) -> None:
        """Have none yet.

        Args:
            backend: Whose workers get the objects.
            encoder: Pickles.
            put: Puts payloads into shared memory, if it can.
            links: To the workers there are; a living dictionary.
        """
        self._backend = backend
        self._encoder = encoder
        self._put = put
        self._links = links
        self._pid = os.getpid()
        self._numbers = itertools.count(1)
        self._entries: dict[int, _Entry] = {}
        self._going: dict[int, SharedPayload] = {}  # whose memory is about to be given back
        self._awaited = 0  # how many objects workers are to let go of
        self.on_free: Callable[[int], None] | None = None  # is told before one is freed
        self._here = threading.local()  # ``used``: of the call that this thread is encoding

    # -- sharing --------------------------------------------------------------

    def share(self, obj: Any) -> ProcessShare:
        """Pickle an object as it is now. Any thread.

        Raises:
            SerializationError: It cannot be pickled.
        """
        name = type(obj).__qualname__
        self._encoder.decide()
        try:
            parts = pickled(obj, self._encoder)
        except SharedHandleError:
            raise
        except MemoryError as error:
            raise SerializationError(
                f"there is not enough memory to pickle the {name} that is to be shared. {LESS}"
            ) from error
        except Exception as error:
            raise SerializationError(
                f"the {name} that is to be shared cannot be pickled: {type(error).__name__}: "
                f"{error}. Share plain data, or make it in each worker: see `lifespan`"
            ) from error
        share = ProcessShare(self, next(self._numbers), name)
        self._entries[share.number] = _Entry(name, self._payload(parts))
        return share

    def _payload(self, parts: list[bytes | memoryview]) -> SharedPayload | tuple[Any, ...]:
        # The mmap of C that workers call takes no bigger offsets on other machines.
        if sum(map(len, parts)) >= SHARED and sys.maxsize > 2**32:
            payload = self._put(parts)
            if payload is not None:
                return payload
        return tuple(_by_channel(bytes(part)) for part in parts)

    # -- works that use them --------------------------------------------------

    def encode(
        self, work: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Any]:
        """Encode a call, in which there may be handles.

        Raises:
            SerializationError: It cannot travel.
            SharedHandleError: A handle is closed, or of another executor.
        """
        if args and not kwargs:
            bound = self._bound(work, args)
            if bound is not None:
                return bound
        (function, call), used = self._using(lambda: self._encoder.encode(work, args, kwargs))
        if not used:
            return function, call
        return Sharing(function, tuple(dict.fromkeys(used))), call

    def _using(self, pickle_: Callable[[], T]) -> tuple[T, list[ProcessShare]]:
        """Pickle something; return it with what it uses."""
        here = self._here
        outer = getattr(here, "used", None)  # a signal handler submits, or a ``__reduce__``
        used: list[ProcessShare] = []
        here.used = used
        try:
            return pickle_(), used
        finally:
            here.used = outer

    def _bound(
        self, work: Callable[..., Any], args: tuple[Any, ...]
    ) -> tuple[Definition, tuple[Any, ...]] | None:
        """Encode a call of one handle and atoms; None if it is not such.

        The function and the object are bound to one another, and travel once: so such a call costs
        no more than one of atoms only.
        """
        first = args[0]
        place, found = (0, first) if type(first) is SharedHandle else _handle_in(args)
        if found is None:
            return None
        handle: SharedHandle[Any] = found
        rest = args[place + 1 :]
        for value in rest:
            if type(value) not in ATOMS and not is_atom(value):
                return None
        bound = handle.bound.get((work, place)) if type(work) in BY_REFERENCE else None
        if bound is None or handle.bound_by is not self:
            bound = self._bind(work, place, handle)
            if bound is None:
                return None
        return bound, args[:place] + rest if place else rest

    def _bind(
        self, work: Callable[..., Any], place: int, handle: SharedHandle[Any]
    ) -> Definition | None:
        """Bind a function that has a name to an object; None if it has no name."""
        share: Any = handle.share_for(self)
        if not self._encoder.has_name(work):
            return None
        call: Any = partial(work, handle) if place == 0 else Inserting(work, place, handle)
        data, _ = self._using(lambda: self._encoder.dumps(call))
        definition = self._encoder.define(data, (share,))
        entry = self._entries.get(share.number)
        if entry is not None:  # else the pool is gone, and will say so
            entry.bound.append(definition.number)
        handle.bound_by = self
        handle.bound[work, place] = definition
        return definition

    def pickle(self, share: ProcessShare) -> tuple[Any, ...]:
        """Note that what this thread pickles uses an object, and return what stands for that.

        Raises:
            SharedHandleError: It pickles no call of ours.
        """
        used = getattr(self._here, "used", None)
        if used is None:
            raise SharedHandleError(NOT_AN_ARGUMENT if self._pid == os.getpid() else FOREIGN)
        used.append(share)
        return shared_object, (share.number,)

    def definitions(self, known: set[int], functions: Iterable[Any]) -> dict[int, Any]:
        """Return the objects that works with these functions use, and a lane does not know."""
        new: dict[int, Any] = {}
        for function in functions:
            if not isinstance(function, int):
                for share in function.shares:
                    if -share.number not in known:
                        new[-share.number] = self._entries[share.number].definition()
        return new

    # -- how they go ----------------------------------------------------------

    def dropped(self, number: int) -> None:
        """Note that nobody uses an object any more. Any thread, at any moment; takes no lock."""
        if os.getpid() == self._pid:  # else a forked child: the parent's is not its business
            backend = self._backend
            forget = partial(self._forget, number)
            backend.listener.call_soon(partial(backend.events.locked, forget))

    def _forget(self, number: int) -> None:
        entry = self._entries.get(number)
        if entry is None or entry.told:
            return
        numbers = [*entry.bound, -number]
        entry.told = {link for link in list(self._links.values()) if self._tell(link, numbers)}
        if entry.told:
            self._awaited += 1
            # Not with the lock: a signal handler that wants it may break in who has the gate's.
            self._backend.events.after_step(self._backend.arm)
        else:
            self._free(number)

    def _tell(self, link: Link, numbers: list[int]) -> bool:
        """Tell a worker to forget an object, and what is bound to it; return whether it knew it."""
        told = False
        for lane in LANES:
            forget = link.known[lane].intersection(numbers)
            if forget:
                told = True
                link.known[lane].difference_update(forget)
                self._backend.tell(link, dict.fromkeys(forget), lane)
        return told

    def freed(self, link: Link, numbers: list[int]) -> None:
        """Note that a worker has nothing of these objects any more. Perhaps more than once."""
        for number in numbers:
            entry = self._entries.get(number)
            if entry is not None and link in entry.told:
                entry.told.discard(link)
                if not entry.told:
                    self._awaited -= 1
                    self._free(number)

    def lost(self, link: Link) -> None:
        """Note that a worker has died."""
        if self._awaited:
            self.freed(link, list(self._entries))

    def is_quiet(self, quiet: Callable[[], bool]) -> bool:
        """Whether no report is to come, not of ours either."""
        return not self._awaited and quiet()

    def payload(self, number: int) -> SharedPayload | None:
        """Return where an object is in shared memory; None if it travels by the channel."""
        payload = self._entries[number].payload
        return payload if isinstance(payload, SharedPayload) else None

    @staticmethod
    def by_channel(payload: SharedPayload) -> tuple[Any, ...]:
        """Return what is in shared memory as it travels by the channel."""
        return tuple(_by_channel(bytes(part)) for part in payload.views())

    def _free(self, number: int) -> None:
        if self.on_free is not None:
            self.on_free(number)
        payload = self._entries.pop(number).payload
        if isinstance(payload, SharedPayload):
            self._going[number] = payload
            # It may take a while: not with the lock.
            self._backend.listener.call_soon(partial(self._give_back, number))

    def _give_back(self, number: int) -> None:
        payload = self._going.pop(number, None)
        if payload is not None:
            payload.give_back()

    def close(self) -> None:
        """Free all: there are no workers any more."""
        self._awaited = 0
        for number in list(self._entries):
            self._free(number)
        for number in list(self._going):
            self._give_back(number)


def _handle_in(args: tuple[Any, ...]) -> tuple[int, Any]:
    """Return the place of the first handle, and it, if there are only atoms before it; or None."""
    for place, value in enumerate(args):
        if type(value) is SharedHandle:
            return place, value
        if type(value) not in ATOMS and not is_atom(value):
            break
    return 0, None


def _by_channel(part: bytes) -> bytes | pickle.PickleBuffer:
    return part if len(part) < BUFFER else pickle.PickleBuffer(part)
