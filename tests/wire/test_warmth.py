"""Logic: how much memory an arena keeps warm, and when it gives memory back."""

from __future__ import annotations

import gc
import os
import time

import pytest

from aplex._wire import shared_memory
from tests.wire.sides import HUGE, Sides


def let_time_pass(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do what was planned, later."""
    later = time.monotonic() + sum(sides.plans)
    sides.plans.clear()
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: later)
        sides.arena.trim()


def test_no_more_than_so_much_is_kept_warm(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "WARM", 3_000_000)
    parcels = [sides.put(bytes(1_000_000)) for _ in range(10)]
    used = sides.memory()
    assert used >= 10_000_000
    let_time_pass(sides, monkeypatch)
    assert sides.memory() == used, "it is in use"
    parcels.clear()
    assert sides.plans == [shared_memory.KEEP]
    let_time_pass(sides, monkeypatch)
    assert sides.memory() <= 4_000_000
    assert sides.plans == []
    assert bytes(sides.send(sides.put(b"y" * 1_000_000))[0]) == b"y" * 1_000_000


def test_little_is_kept_warm_for_good(sides: Sides) -> None:
    for _ in range(3):
        sides.send(sides.put(bytes(1_000_000)))
    assert sides.plans == [], "nobody looks"


def test_what_is_held_for_long_is_given_back_by_its_holder(
    sides: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_memory, "WARM", 3_000_000)
    views = [sides.send(sides.put(b"x" * 1_000_000)) for _ in range(10)]
    let_time_pass(sides, monkeypatch)
    let_time_pass(sides, monkeypatch)
    assert sides.plans == []
    assert all(bytes(view) == b"x" * 1_000_000 for (view,) in views)
    views.clear()
    assert sides.memory() <= 4_000_000
    again = [sides.send(sides.put(b"y" * 1_000_000)) for _ in range(10)]
    assert all(bytes(view) == b"y" * 1_000_000 for (view,) in again)


@pytest.fixture
def huge(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> Sides:
    """Sides to which a million bytes are huge."""
    monkeypatch.setattr(shared_memory, "SEGMENT", 1_000_000)
    monkeypatch.setattr(shared_memory, "HUGE", 1_000_000)
    return sides


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
    assert huge.plans == [shared_memory.KEEP]
    huge.plans.clear()
    huge.arena.trim()
    assert huge.plans == [shared_memory.KEEP], "it was used just now"
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
    assert huge.plans == [shared_memory.KEEP], "the holder may have looked just before"
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
    assert huge.plans == [shared_memory.KEEP], "the receiver left it to the sender"
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
