"""The Nodes: what the workers of one machine have together, and so gets there once.

Agents of one run of one machine (``boot``) may open each other's files (`_wire.lent_files`). The
first one of each is told alone how to begin, and the others when it has answered: so there is one
that has all, and they find it there. Should it end before, the next one is the first.

What is common to them:

* the modules of the program, by their digest;
* a file with the shared objects that have come there (`common.Common`).

Used on the listener's thread.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

from aplex._wire import orders
from aplex._wire.lent_files import Told

TOLD: Final = 4
"""Agents of which a new one is told where they have what is common."""

T = TypeVar("T")


class Nodes(Generic[T]):
    """Where there are workers, and this machine."""

    def __init__(self) -> None:
        """Have no workers."""
        self._ours = orders.boot_of_this_machine()
        self._nodes: dict[str, Node[T]] = {}

    def __len__(self) -> int:
        """Return on how many machines, of those that are known, there are workers."""
        return len(self._nodes)

    def is_ours(self, boot: str) -> bool:
        """Whether that is known to be this very machine."""
        return boot == self._ours != ""

    def at(self, boot: str) -> Node[T]:
        """Return the node that it is, for somebody who is about to come."""
        # Where nothing is known of a machine, each worker is on one of its own.
        return self._nodes.setdefault(boot, Node(boot)) if boot else Node(boot)

    def leave(self, node: Node[T], launch: T) -> list[T]:
        """Note that an agent has ended; return who is to come again."""
        node.leaves(launch)
        if not node.launches and self._nodes.get(node.boot) is node:
            del self._nodes[node.boot]
        return node.answered(launch)


class Node(Generic[T]):
    """One run of one machine. On the listener's thread.

    Attributes:
        boot: Which one; empty if that is not known.
        launches: Who has come, and is not over.
        first: Who is about to have all that is common, before others are told.
        waiting: Those who are told when it has.
        modules: Where modules are, by their digest, and who has them.
        common: Files with shared objects, and who has them.
    """

    def __init__(self, boot: str) -> None:
        self.boot = boot
        self.launches: set[T] = set()
        self.first: T | None = None
        self.waiting: list[T] = []
        self.modules: dict[str, dict[T, Told]] = {}
        self.common: dict[T, Told] = {}

    def comes(self, launch: T, digest: str | None, *, far: bool) -> bool:
        """Take in who has come; return whether it can be told how to begin now.

        Args:
            launch: Who.
            digest: Of the modules that are to be there.
            far: Whether the pool is on another machine.
        """
        self.launches.add(launch)
        lacks = (digest is not None and digest not in self.modules) or (far and not self.common)
        if lacks and self.first is not None:
            self.waiting.append(launch)
            return False
        if lacks:
            self.first = launch
        return True

    def answered(self, launch: T) -> list[T]:
        """Note that it has what is common, or has ended; return who is to come again."""
        if launch in self.waiting:
            self.waiting.remove(launch)
        if self.first is not launch:
            return []
        self.first = None
        again, self.waiting = self.waiting, []
        return again

    def leaves(self, launch: T) -> None:
        """Note that an agent has ended."""
        self.launches.discard(launch)
        self.common.pop(launch, None)
        for digest, places in list(self.modules.items()):
            places.pop(launch, None)
            if not places:
                del self.modules[digest]

    @staticmethod
    def some(places: dict[T, Told]) -> list[Told]:
        """Return some of the places where a file is."""
        return list(places.values())[-TOLD:]
