"""The parent's side of a worker process: a frame may come there more than once."""

from __future__ import annotations

from aplex._arena import Arena, make_arena
from aplex._link import Link


def test_what_was_opened_already_is_left_as_it_is() -> None:
    """A frame that was read and not taken in yet is looked at again with the next one."""
    shared = make_arena()
    assert shared is not None
    link = Link(shared)
    end = link.child_ends.arena_out
    assert end is not None
    arena = Arena(end)
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
