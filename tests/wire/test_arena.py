"""Logic: big payloads in shared memory. Both sides are here, in one process and one thread."""

from __future__ import annotations

import gc
import itertools
import os
import pickle
import signal
from typing import Any

import pytest

from aplex._wire import shared_memory
from aplex._wire.calls import SHARED, pack, unpack
from aplex._wire.shared_memory import make_shared_memory
from tests.wire.sides import Sides


@pytest.mark.smoke
def test_payloads_arrive_as_they_were(sides: Sides) -> None:
    payloads = [b"", b"x", os.urandom(100_000), b"end"]
    assert [bytes(view) for view in sides.send(sides.put(*payloads))] == payloads
    gc.collect()
    payloads.reverse()  # the block is warm now: it is written in another way
    assert [bytes(view) for view in sides.send(sides.put(*payloads))] == payloads
    assert len(sides.arena._blocks) == 1


def test_views_can_be_written(sides: Sides) -> None:
    """As what comes out of a pickle can."""
    (view,) = sides.send(sides.put(b"abc"))
    view[1] = 0
    assert bytes(view) == b"a\0c"


def test_a_block_is_free_when_nobody_can_send_or_read_it(sides: Sides) -> None:
    parcel = sides.put(b"x")
    views = sides.send(parcel)
    assert sides.free() == [False]
    del views
    assert sides.free() == [False], "it may be sent again, if its receiver dies"
    views = sides.send(parcel)
    del parcel
    assert sides.free() == [False], "it is read"
    del views
    assert sides.free() == [True]


def test_a_view_of_a_view_keeps_the_block(sides: Sides) -> None:
    """Whatever holds the memory in the end: a slice, a cast, an array of a library."""
    (view,) = sides.send(sides.put(bytes(100)))
    part: Any = memoryview(view[10:20]).toreadonly()
    del view
    gc.collect()
    assert sides.free() == [False]
    del part
    assert sides.free() == [True]


def test_a_parcel_that_is_dropped_unsent_frees_its_block(sides: Sides) -> None:
    parcel = sides.put(b"x")
    del parcel
    assert sides.free() == [True]


def test_a_lost_receiver_frees_what_it_had(sides: Sides) -> None:
    parcel = sides.put(b"x")
    sides.arena.lend(parcel.place)
    number = parcel.place[0]
    del parcel
    assert sides.free() == [False]
    sides.arena.take_back(number)
    assert sides.free() == [True]


def test_blocks_are_used_again_by_size(sides: Sides) -> None:
    for size in (1, 70_000, 1_000_000, 70_000, 999_000, 2):
        sides.put(bytes(size))
    assert len(sides.arena._blocks) == 3


def test_blocks_of_several_parcels_do_not_overlap(sides: Sides) -> None:
    parcels = [sides.put(bytes([number]) * 5000) for number in range(50)]
    views = [sides.send(parcel)[0] for parcel in parcels]
    assert [bytes(view) for view in views] == [bytes([n]) * 5000 for n in range(50)]


def test_an_arena_has_a_bounded_number_of_blocks(
    sides: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_memory, "BLOCKS", 2)
    parcels = [sides.put(b"x") for _ in range(2)]
    assert sides.arena.put([b"x"]) is None
    parcels.clear()
    assert sides.arena.put([b"x"]) is not None


def test_blocks_that_are_not_needed_make_room_for_those_of_other_sizes(
    sides: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_memory, "BLOCKS", 64)
    monkeypatch.setattr(shared_memory, "SEGMENT", 2**19)
    for fill in range(3):
        for size in (70_000, 100_000, 130_000):
            parcels = [sides.put(bytes([fill]) * size) for _ in range(50)]
            views = [sides.send(parcel)[0] for parcel in parcels]
            assert all(bytes(view) == bytes([fill]) * size for view in views)
            del views, parcels


def test_blocks_in_use_are_never_used_anew(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "BLOCKS", 8)
    monkeypatch.setattr(shared_memory, "SEGMENT", 2**19)
    parcels = [sides.put(b"kept" * 20_000) for _ in range(4)]
    views = [sides.send(sides.put(b"lent" * 20_000))[0] for _ in range(4)]
    assert sides.arena.put([bytes(100_000)]) is None
    assert sides.arena.put([bytes(80_000)]) is None
    assert all(bytes(view) == b"lent" * 20_000 for view in views)
    assert all(bytes(sides.send(parcel)[0]) == b"kept" * 20_000 for parcel in parcels)


def test_segments_that_are_free_are_used_anew(
    sides: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_memory, "SEGMENT", 2**20)
    for size in range(100_000, 900_000, 10_000):
        for _ in range(5):
            assert bytes(sides.send(sides.put(b"x" * size))[0]) == b"x" * size
    assert len(sides.arena._segments) <= shared_memory.SEGMENTS


@pytest.mark.parametrize("state", ["waiting", "lent", "free"])
def test_finding_a_block_takes_as_long_whatever_the_others_are(
    sides: Sides, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    held: list[Any] = [sides.put(b"x") for _ in range(1000)]
    if state == "lent":
        held = [sides.send(parcel) for parcel in held]
    elif state == "free":
        held.clear()
    looks = []
    is_free = sides.arena._is_free
    monkeypatch.setattr(sides.arena, "_is_free", lambda block: looks.append(1) or is_free(block))
    more = [sides.put(b"y") for _ in range(100)]
    assert len(looks) <= 100 * (2 * shared_memory.LOOKS + 1)
    assert len(sides.arena._blocks) <= 1000 + len(more)


def test_what_is_free_below_many_that_are_held_is_found(sides: Sides) -> None:
    """A receiver holds many for long, and lets go of those between."""
    held = [sides.send(sides.put(b"x")) for _ in range(1000)]
    for _ in range(1000):
        last = sides.send(sides.put(b"y"))
        last = sides.send(sides.put(b"y"))
    del held[::2], last
    before = len(sides.arena._blocks)
    more = [sides.put(b"z") for _ in range(400)]
    assert len(sides.arena._blocks) <= before + 250
    assert len(more) == 400


def test_a_signal_handler_may_put_while_its_thread_is_putting(
    sides: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets no block: a frame will do. The outer call goes on."""
    inner = []
    new = sides.arena._new

    def broken_into(size: int) -> Any:
        inner.append(sides.arena.put([b"inner"]))
        sides.arena.trim()
        return new(size)

    monkeypatch.setattr(sides.arena, "_new", broken_into)
    assert bytes(sides.send(sides.put(b"outer"))[0]) == b"outer"
    assert inner == [None]


def test_signals_break_into_every_line(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    """Handlers put and let go, too; so do finalizers. Nothing is mixed up, or waits."""
    monkeypatch.setattr(shared_memory, "BLOCKS", 32)
    monkeypatch.setattr(shared_memory, "SEGMENT", 2**18)
    kept: list[tuple[Any, bytes]] = []
    sizes = itertools.cycle((10, 50_000, 70_000, 100_000))
    fills = itertools.cycle(range(256))

    def put(*_: object) -> None:
        data = bytes([next(fills)]) * next(sizes)
        parcel = sides.arena.put([data])
        if parcel is not None:
            kept.append((sides.send(parcel) if data[0] % 2 else parcel, data))
        if len(kept) > 12:
            views, wanted = kept.pop(0)
            if not isinstance(views, list):
                views = sides.send(views)
            assert bytes(views[0]) == wanted

    before = signal.signal(signal.SIGALRM, put)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        for _ in range(2000):
            put()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    kept.clear()
    assert all(sides.free())


def test_nobody_who_has_the_file_can_change_its_size(sides: Sides) -> None:
    """Who reads beyond the end of a mapped file is killed."""
    size = os.fstat(sides.arena.end.fileno()).st_size
    for wanted in (0, size // 2, 2 * size):
        with pytest.raises(PermissionError):
            os.ftruncate(sides.lent.end.fileno(), wanted)
    with pytest.raises(PermissionError):
        os.pwrite(sides.lent.end.fileno(), b"x", size)


def test_a_limit_for_files_is_no_hindrance(monkeypatch: pytest.MonkeyPatch) -> None:
    ftruncate, allowed = os.ftruncate, shared_memory.SIZES[-1]

    def truncate(fd: int, size: int) -> None:
        if size > allowed:
            raise OSError(27, "File too large")
        ftruncate(fd, size)

    monkeypatch.setattr(os, "ftruncate", truncate)
    small = Sides()
    assert bytes(small.send(small.put(b"x"))[0]) == b"x"
    assert small.arena._empty_segment(allowed) is None, "there is no room for that"
    allowed = 0
    assert make_shared_memory(print) is None
    small.arena.close()
    small.lent.end.close()


# -- who changes what -------------------------------------------------------------------------


def test_what_a_receiver_changes_is_not_there_when_the_block_is_sent_again(sides: Sides) -> None:
    parcel = sides.put(b"as it was")
    for _ in range(3):
        sides.arena.lend(parcel.place)
        (view,) = sides.lent.open(parcel.private())
        assert bytes(view) == b"as it was"
        view[:] = b"destroyed"
        del view
    assert bytes(sides.send(parcel)[0]) == b"as it was"


def test_what_a_receiver_has_changed_does_not_hide_what_the_block_holds_next(sides: Sides) -> None:
    for fill in b"abc":
        parcel = sides.put(bytes([fill]) * 100_000)
        sides.arena.lend(parcel.place)
        (view,) = sides.lent.open(parcel.private())
        assert bytes(view) == bytes([fill]) * 100_000
        view[:] = bytes(100_000)
        del view, parcel
    assert len(sides.arena._blocks) == 1


class Fork:
    """A forked child that answers what it sees in a view, until it is ended."""

    def __init__(self, view: memoryview) -> None:
        asked, self._ask = os.pipe()
        self._answer, answer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:  # pragma: no cover - measured in this process only
            os.close(self._ask)
            while what := os.read(asked, 1):
                if what == b"w":
                    view[:] = b"w" * len(view)
                os.write(answer, bytes(view[:4]))
            os._exit(0)
        os.close(asked)
        os.close(answer)

    def see(self, what: bytes = b"r") -> bytes:
        os.write(self._ask, what)
        return os.read(self._answer, 4)

    def end(self) -> None:
        os.close(self._ask)
        os.close(self._answer)
        assert os.waitpid(self.pid, 0)[1] == 0


@pytest.mark.parametrize("private", [False, True])
def test_what_a_forked_child_has_stays_as_it_is(sides: Sides, private: bool) -> None:
    """While it lives the block is not used again, though the parent has let go of it."""
    parcel = sides.put(b"as it was")
    sides.arena.lend(parcel.place)
    (view,) = sides.lent.open(parcel.private() if private else parcel.place)
    child = Fork(view)
    view[:4] = b"mine"
    assert child.see() == b"as i"
    assert child.see(b"w") == b"wwww"
    assert bytes(view[:4]) == b"mine", "what one process changes, the other does not see"
    del view, parcel
    sides.send(sides.put(b"the next"))
    assert child.see() == b"wwww"
    assert sides.free().count(False) == 1
    child.end()
    (view,) = sides.send(sides.put(b"after it"))  # we look when something arrives
    assert all(sides.free()[:1])
    assert bytes(view) == b"after it"
    del view
    assert bytes(sides.send(sides.put(b"and then"))[0]) == b"and then"
    assert all(sides.free())


def test_what_a_forked_child_did_not_change_stays_as_it_is(sides: Sides) -> None:
    (view,) = sides.send(sides.put(b"as it was"))
    child = Fork(view)
    del view
    for _ in range(3):
        sides.send(sides.put(b"otherwise"))
    assert child.see() == b"as i"
    child.end()


def test_after_a_forked_child_has_ended_its_block_is_free_at_once(sides: Sides) -> None:
    (view,) = sides.send(sides.put(b"as it was"))
    Fork(view).end()
    view[:4] = b"mine"
    assert bytes(view) == b"mine" + b"t was"
    del view
    assert sides.free() == [True]
    assert bytes(sides.send(sides.put(b"the next"))[0]) == b"the next"


def test_views_that_outlive_their_sender_are_not_shared_with_forked_children() -> None:
    sides = Sides()
    (view,) = sides.send(sides.put(b"as it was"))
    sides.arena.close()
    sides.lent.close()
    child = Fork(view)
    assert child.see(b"w") == b"wwww"
    assert bytes(view) == b"as it was"
    child.end()


# -- pickles ----------------------------------------------------------------------------------


class Array:
    """What carries its data out of band, as arrays do."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Array, (pickle.PickleBuffer(self.data),)


def dumps(value: Any, **options: Any) -> bytes:
    return pickle.dumps(value, 5, **options)


def test_big_buffers_of_a_pickle_are_put_apart(sides: Sides) -> None:
    value = [Array(bytearray(b"a" * SHARED)), "text", Array(bytearray(b"small"))]
    parcel: Any = pack(dumps, sides.arena.put, value)
    views = sides.send(parcel)
    assert [len(view) for view in views[1:]] == [SHARED]
    big, text, small = unpack(views)
    assert (bytes(big.data), text, bytes(small.data)) == (b"a" * SHARED, "text", b"small")
    del views, parcel
    assert sides.free() == [False]
    del big
    assert sides.free() == [True]


def test_what_is_small_does_not_go_there(sides: Sides) -> None:
    assert unpack(pack(dumps, sides.arena.put, [1, 2])) == [1, 2]
    assert not sides.arena._blocks


def test_without_shared_memory_a_big_pickle_is_a_buffer_of_the_frame() -> None:
    value = Array(bytearray(b"a" * SHARED))
    for put in None, lambda _payloads: None:
        packed = pack(dumps, put, value)
        assert isinstance(packed, pickle.PickleBuffer)
        assert bytes(unpack(packed).data) == b"a" * SHARED
