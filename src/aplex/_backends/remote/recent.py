"""Recent: what was noted last, so that a pool which lives for weeks does not note more and more."""

from __future__ import annotations

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(dict[K, V]):
    """What was noted last, by key. One thread notes; others may copy it."""

    def __init__(self, most: int) -> None:
        """Have nothing.

        Args:
            most: How many keys there may be; then that goes which was noted first.
        """
        super().__init__()
        self._most = most

    def note(self, key: K, value: V) -> None:
        """Note something, as the newest."""
        self.pop(key, None)
        self[key] = value
        if len(self) > self._most:
            del self[next(iter(self))]
