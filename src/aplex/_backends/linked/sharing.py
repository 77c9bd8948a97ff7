"""What works of process workers hold of shared objects.

A `ProcessShare` keeps an object shared. The handle has one, and works that were given the handle:
in a `Sharing`, or in the definition of a function that was bound to the object. Either stands where
else a function's number stands; a lane never knows it, so whoever sends the work looks what the
lane has to be told, and nobody else has to. A work lets go of it when it is settled.
"""

from __future__ import annotations

from typing import Any, Protocol

from aplex._wire.by_value import Definition


class Owner(Protocol):
    """The shared objects of a pool."""

    def pickle(self, share: ProcessShare) -> tuple[Any, ...]:
        """Return what pickles in the place of a handle."""
        ...

    def dropped(self, number: int) -> None:
        """Note that nobody uses an object any more. Any thread, at any moment; takes no lock."""
        ...


class ProcessShare:
    """Keeps an object shared; see `aplex._common.sharing.Share`."""

    __slots__ = ("name", "number", "owner")

    def __init__(self, owner: Owner, number: int, name: str) -> None:
        self.owner = owner
        self.number = number
        self.name = name

    def reduce(self) -> tuple[Any, ...]:
        return self.owner.pickle(self)

    def __del__(self) -> None:
        """Ask for the object to be freed. In any thread, at any moment."""
        self.owner.dropped(self.number)


class Sharing:
    """A function, and the shared objects of one call."""

    __slots__ = ("function", "number", "shares")

    def __init__(self, function: int | Definition, shares: tuple[ProcessShare, ...]) -> None:
        self.function = function
        self.number = function if type(function) is int else function.number  # type: ignore[union-attr]
        self.shares = shares

    def all_in(self, known: set[int]) -> bool:
        """Whether a lane that knows these needs to be told nothing."""
        for share in self.shares:
            if -share.number not in known:
                return False
        return self.number in known
