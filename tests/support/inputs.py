"""Inputs of ``map`` that know how much of them was taken."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any


class Meter:
    """An input that counts what is taken from it and not handed over.

    Args:
        count: How many items it has; None: it is endless.
    """

    def __init__(self, count: int | None = None) -> None:
        self._numbers = itertools.count() if count is None else range(count)
        self.taken = 0
        self.handed = 0
        self.most = 0
        self.closed = False

    def plain(self) -> Iterator[int]:
        """Return it as a generator."""
        try:
            for number in self._numbers:
                self._take()
                yield number
        finally:
            self.closed = True

    async def asynchronous(self, *, slow: bool = False) -> AsyncIterator[int]:
        """Return it as an asynchronous generator."""
        try:
            for number in self._numbers:
                if slow:
                    await asyncio.sleep(0)
                self._take()
                yield number
        finally:
            await asyncio.sleep(0)  # a cleanup that waits
            self.closed = True

    def made(self, kind: str) -> Any:
        """Return it as a generator of that kind."""
        if kind == "plain":
            return self.plain()
        return self.asynchronous(slow=kind == "slow")

    def _take(self) -> None:
        self.taken += 1
        self.most = max(self.most, self.taken - self.handed)

    def hand(self) -> None:
        """Count an item that was handed over."""
        self.handed += 1
