"""The two sides of an arena: who fills it, and who reads it."""

from __future__ import annotations

import os
from typing import Any

from aplex._wire.borrowed import BorrowedMemory
from aplex._wire.shared_memory import SharedMemory, make_shared_memory

HUGE = 1_000_000


class Sides:
    """An arena, and who reads it."""

    def __init__(self) -> None:
        self.plans: list[float] = []  # seconds, after which to cool
        made = make_shared_memory(self.plans.append)
        assert made is not None
        self.arena: SharedMemory = made
        self.lent = BorrowedMemory(made.end.duplicate())

    def put(self, *payloads: bytes) -> Any:
        parcel = self.arena.put(payloads)
        assert parcel is not None
        return parcel

    def send(self, parcel: Any) -> list[memoryview]:
        self.arena.lend(parcel.place)
        return self.lent.open(parcel.place)

    def free(self) -> list[bool]:
        """Which of the blocks are free."""
        return [self.arena._is_free(block) for block in self.arena._blocks.values()]

    def memory(self) -> int:
        """Bytes of memory that the file holds."""
        return os.fstat(self.arena.end.fileno()).st_blocks * 512
