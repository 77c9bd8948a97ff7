"""The parent's side of a worker process: a frame may come there more than once."""

from __future__ import annotations

import errno
from collections.abc import Callable
from multiprocessing import get_context
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from aplex._backends.contract import Setup
from aplex._backends.process.backend import ProcessBackend
from aplex._backends.process.link import ProcessLink
from aplex._common.messages import PLAIN
from aplex._wire.calls import decode_value
from aplex._wire.segments import Segment, flags_of
from aplex._wire.shared_memory import SharedMemory, make_shared_memory
from aplex.exceptions import SerializationError


def test_what_was_opened_already_is_left_as_it_is() -> None:
    """A frame that was read and not taken in yet is looked at again with the next one."""
    shared = make_shared_memory(print)
    assert shared is not None
    link = ProcessLink(shared)
    end = link.child_ends.arena_out
    assert end is not None
    arena = SharedMemory(end, print)
    parcel = arena.put([b"x" * 100_000])
    assert parcel is not None
    arena.lend(parcel.place)
    views = link._opened(parcel.place)
    assert bytes(views[0]) == b"x" * 100_000
    assert link._opened(views) is views
    del views
    link.close()
    shared.close()
    link.child_ends.close()


def test_a_result_for_which_there_is_no_memory_harms_only_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its block is free again, and its future says how big it was, and what can be done."""
    shared = make_shared_memory(print)
    assert shared is not None
    link = ProcessLink(shared)
    end = link.child_ends.arena_out
    assert end is not None
    arena = SharedMemory(end, print)
    parcel = arena.put([bytes(2 * 2**20)])
    assert parcel is not None
    arena.lend(parcel.place)
    assert link.results is not None
    link._opened(parcel.place)  # now the flags are known
    arena.lend(parcel.place)
    lent = flags_of(end.fileno())[1]
    with monkeypatch.context() as patch:
        patch.setattr(Segment, "map", no_memory)
        data = link._opened(parcel.place)
    assert lent[parcel.place[0]] == 0
    with pytest.raises(SerializationError, match=r"not enough memory.*2 MiB.*Send less") as caught:
        decode_value(data)
    assert "__reduce__" not in str(caught.value)
    del parcel, lent
    link.close()
    shared.close()
    link.child_ends.close()


def no_memory(_segment: Segment) -> NoReturn:
    raise OSError(errno.ENOMEM, "Cannot allocate memory")


class Watches:
    """A listener that only notes what is watched for writing."""

    def __init__(self) -> None:
        self.watched: set[Any] = set()

    def watch_writing(self, end: Any, _writable: Callable[[], None]) -> None:
        self.watched.add(end)

    def unwatch_writing(self, end: Any) -> None:
        self.watched.discard(end)


@pytest.mark.parametrize("buried", [False, True])
def test_what_does_not_fit_is_watched_unless_the_worker_is_lost(buried: bool) -> None:
    """The race: a pipe is found to be full while the listener takes in the worker's end.

    What is watched after that stays in the listener's selector when the loop of the futures
    has closed the link. The next descriptor of that number could then not be watched.
    """
    backend = ProcessBackend(get_context("spawn"), (), Setup("test", None, None, ()))
    listener: Any = Watches()
    events: Any = SimpleNamespace(locked=lambda call: call())
    backend.bind(events, listener)
    link = ProcessLink(None)
    writer = link.writers[PLAIN]
    writer.rest.append(bytes(10_000_000))
    link.buried = buried
    backend._flush(link, PLAIN)
    assert listener.watched == (set() if buried else {writer.end})
    link.close()
    link.child_ends.close()
