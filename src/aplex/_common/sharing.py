"""What keeps an object shared, whatever the workers are; and what is wrong with a handle of it."""

from __future__ import annotations

from typing import Any, Protocol

CLOSED = (
    "this handle was closed, so its object is shared no more: share the object anew "
    "(`handle = pool.share(obj)`), and close a handle only when all that uses it was submitted"
)
FOREIGN = (
    "this handle belongs to another executor, or to the process that has forked this one: each "
    "executor shares objects with its own workers only. Share the object here too "
    "(`handle = pool.share(obj)`, of the executor that the work is submitted to)"
)
NOT_AN_ARGUMENT = (
    "a handle of a shared object can only be handed to works of the executor that has made it, "
    "as an argument or inside of one. Share the object with another executor too "
    "(`handle = other.share(obj)`), and elsewhere use the object itself"
)


class Share(Protocol):
    """What keeps an object shared. Handles hold it, and works that were given one."""

    @property
    def owner(self) -> Any:
        """Whose workers have the object: who encodes calls for them."""
        ...

    @property
    def name(self) -> str:
        """What messages call the object."""
        ...

    def reduce(self) -> tuple[Any, ...]:
        """Return what pickles in the place of a handle.

        Raises:
            SharedHandleError: It is not being pickled for a work of its executor.
        """
        ...
