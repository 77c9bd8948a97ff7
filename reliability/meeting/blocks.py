"""Bytes that can be changed, and travel out of band as those of an array do."""

from __future__ import annotations

import pickle
from typing import Any


class Block:
    """Stands for a NumPy array: its buffer travels by itself, and the receiver may write to it."""

    def __init__(self, data: Any) -> None:
        self._view = memoryview(data)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Give the buffer away."""
        return Block, (pickle.PickleBuffer(self._view),)

    def __bytes__(self) -> bytes:
        """Return a copy."""
        return bytes(self._view)

    def spoil(self) -> None:
        """Change all of it, in place."""
        self._view[:] = b"!" * len(self._view)
