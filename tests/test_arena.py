"""Logic: big payloads in shared memory. Both sides are here, in one process and one thread."""

from __future__ import annotations

import gc
import os
import pickle
import time
from collections.abc import Iterator
from typing import Any

import pytest

from aplex import _arena
from aplex._arena import Arena, Lent, make_arena
from aplex._pickling import SHARED, pack, unpack

HUGE = 1_000_000


class Sides:
    """An arena, and who reads it."""

    def __init__(self) -> None:
        self.plans: list[float] = []  # seconds, after which to cool
        made = make_arena(self.plans.append)
        assert made is not None
        self.arena: Arena = made
        self.lent = Lent(made.end.duplicate())

    def put(self, *payloads: bytes) -> Any:
        parcel = self.arena.put(payloads)
        assert parcel is not None
        return parcel

    def send(self, parcel: Any) -> list[memoryview]:
        self.arena.lend(parcel.place)
        return self.lent.open(parcel.place)

    def free(self) -> list[bool]:
        """Which of the blocks are free."""
        return [self.arena._is_free(block) for block in self.arena._blocks]

    def memory(self) -> int:
        """Bytes of memory that the file holds."""
        return os.fstat(self.arena.end.fileno()).st_blocks * 512


@pytest.fixture
def sides() -> Iterator[Sides]:
    made = Sides()
    yield made
    made.arena.close()
    made.lent.end.close()


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
    monkeypatch.setattr(_arena, "BLOCKS", 2)
    parcels = [sides.put(b"x") for _ in range(2)]
    assert sides.arena.put([b"x"]) is None
    parcels.clear()
    assert sides.arena.put([b"x"]) is not None


def test_no_more_than_so_much_is_kept_warm(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    parcels = [sides.put(bytes(1_000_000)) for _ in range(10)]
    used = sides.memory()
    assert used >= 10_000_000
    sides.arena.trim()
    assert sides.memory() == used, "it is in use"
    parcels.clear()
    sides.arena.trim()
    assert sides.memory() == used, "it is not too much"
    monkeypatch.setattr(_arena, "WARM", 3_000_000)
    sides.arena.trim()
    assert sides.memory() <= 4_000_000
    assert bytes(sides.send(sides.put(b"y" * 1_000_000))[0]) == b"y" * 1_000_000


@pytest.fixture
def huge(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> Sides:
    """Sides to which a million bytes are huge."""
    monkeypatch.setattr(_arena, "SEGMENT", 1_000_000)
    monkeypatch.setattr(_arena, "HUGE", 1_000_000)
    return sides


def let_time_pass(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do what was planned, later."""
    later = time.monotonic() + sum(sides.plans)
    sides.plans.clear()
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: later)
        sides.arena.cool()


@pytest.mark.parametrize("sent", [True, False])
def test_a_huge_block_is_warm_for_a_while(
    huge: Sides, monkeypatch: pytest.MonkeyPatch, sent: bool
) -> None:
    before = huge.memory()
    for fill in b"xyz":
        parcel = huge.put(bytes([fill]) * HUGE)
        views = huge.send(parcel) if sent else []
        assert all(bytes(view) == bytes([fill]) * HUGE for view in views)
        del parcel, views
    assert len(huge.arena._blocks) == 1
    assert huge.memory() >= before + HUGE
    assert huge.plans == [_arena.KEEP]
    huge.arena.trim()
    assert huge.memory() >= before + HUGE, "they are not counted"
    huge.plans.clear()
    huge.arena.cool()
    assert huge.plans == [_arena.KEEP], "it was used just now"
    let_time_pass(huge, monkeypatch)
    assert huge.memory() <= before + 65536
    assert huge.plans == [], "nobody looks any more"
    (view,) = huge.send(huge.put(b"again" * (HUGE // 5)))
    assert bytes(view) == b"again" * (HUGE // 5)


def test_a_huge_block_that_is_held_for_long_is_given_back_by_its_last_holder(
    huge: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = huge.memory()
    parcel = huge.put(bytes(HUGE))
    views = huge.send(parcel)
    del parcel
    let_time_pass(huge, monkeypatch)
    assert huge.plans == [_arena.KEEP], "the holder may have looked just before"
    let_time_pass(huge, monkeypatch)
    assert huge.plans == []
    assert huge.memory() >= before + HUGE
    del views
    assert huge.memory() <= before + 65536
    assert huge.free() == [True]


def test_a_huge_block_that_may_be_sent_again_keeps_what_it_holds(
    huge: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its receiver may let go of it, and die before it has said what came of it."""
    before = huge.memory()
    parcel = huge.put(b"x" * HUGE)
    views = huge.send(parcel)
    let_time_pass(huge, monkeypatch)
    let_time_pass(huge, monkeypatch)
    del views
    assert bytes(huge.send(parcel)[0]) == b"x" * HUGE
    del parcel
    assert huge.plans == [_arena.KEEP], "the receiver left it to the sender"
    let_time_pass(huge, monkeypatch)
    assert huge.memory() <= before + 65536


def test_the_memory_of_a_lost_receiver_is_given_back(
    huge: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = huge.memory()
    parcel = huge.put(bytes(HUGE))
    number = parcel.place[0]
    huge.arena.lend(parcel.place)
    del parcel
    let_time_pass(huge, monkeypatch)
    let_time_pass(huge, monkeypatch)
    huge.arena.take_back(number)
    let_time_pass(huge, monkeypatch)
    assert huge.memory() <= before + 65536


def test_huge_blocks_of_other_sizes_make_room(huge: Sides) -> None:
    before = huge.memory()
    for size in range(HUGE, 4 * HUGE, HUGE // 2):
        huge.put(bytes(size))
    assert huge.memory() <= before + 5 * HUGE


def test_when_the_memory_is_exhausted_there_is_no_parcel(
    sides: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, pwrite, room = sides.memory(), os.pwrite, 0

    def write(fd: int, data: memoryview, at: int) -> int:
        if len(data) > room:
            raise OSError(28, "No space left on device")
        return pwrite(fd, data, at)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", write)
        assert sides.arena.put([b"x"]) is None
        room = HUGE
        assert sides.arena.put([bytes(HUGE), bytes(2 * HUGE)]) is None
    assert sides.memory() <= before + 65536, "what was written is given back"
    assert sides.free() == [True, True]
    assert bytes(sides.send(sides.put(b"x"))[0]) == b"x"


def test_a_closed_arena_maps_nothing(sides: Sides) -> None:
    """Its descriptor may be another file by now."""
    parcel = sides.put(b"x")
    sides.arena.close()
    with pytest.raises(OSError, match="closed"):
        parcel._block.segment.map()


def test_a_forked_child_frees_nothing(sides: Sides) -> None:
    parcel = sides.put(b"x")
    views = sides.send(parcel)
    child = os.fork()
    if child == 0:  # pragma: no cover - measured in this process only
        del parcel, views
        gc.collect()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert sides.free() == [False]
    del views
    assert sides.free() == [False]
    del parcel
    assert sides.free() == [True]


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
    assert sides.arena._blocks == []


def test_without_shared_memory_a_big_pickle_is_a_buffer_of_the_frame() -> None:
    value = Array(bytearray(b"a" * SHARED))
    for put in None, lambda _payloads: None:
        packed = pack(dumps, put, value)
        assert isinstance(packed, pickle.PickleBuffer)
        assert bytes(unpack(packed).data) == b"a" * SHARED
