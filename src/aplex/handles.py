"""The handle of an object that a pool has taken to share with its workers.

A handle is no more than a name that counts: the object lives as long as its handle, or a work that
was given it, holds a `Share`. What a share is, each back end says.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar

from aplex._common.errors import SharedHandleError
from aplex._common.sharing import CLOSED, FOREIGN, Share

if TYPE_CHECKING:
    # For type checkers a handle is whatever the work wants: `submit(work, handle)` is right.
    _Anything = Any
else:

    class _Anything:
        __slots__ = ()


__all__ = ["SharedHandle"]

T = TypeVar("T")

MADE: Final[list[bool]] = []
"""Empty as long as no handle was made in this process: then nobody needs to look for one."""


class SharedHandle(_Anything, Generic[T]):  # type: ignore[misc]  # on purpose, see there
    """Stands for an object that the workers of an executor share; made by ``pool.share(obj)``.

    A work that is given the handle, as an argument or inside a list, a dictionary, or whatever else
    travels, gets the object. The object is freed in all processes when the last handle is gone and
    the works that use it have ended: after `close`, at the end of a ``with`` block, or when the
    handle is garbage. A handle stays in its process.
    """

    __slots__ = ("__weakref__", "_share", "bound", "bound_by")

    def __init__(self, share: Share) -> None:
        """Use ``pool.share(obj)`` instead."""
        self._share: Share | None = share
        # For the executor: functions that are called with this handle first, and who made them.
        self.bound: dict[Any, Any] = {}
        self.bound_by: object = None
        if not MADE:
            MADE.append(True)

    def close(self) -> None:
        """Have the object freed, everywhere, when the works that use it have ended.

        May be called from any thread, in a signal handler and in a finalizer, and more than once.
        Does not wait. Nothing more can be submitted with the handle.
        """
        self._share = None
        self.bound = {}

    @property
    def closed(self) -> bool:
        """Whether the handle was closed."""
        return self._share is None

    def share_for(self, owner: object) -> Share:
        """Return what keeps the object shared with the workers of that owner.

        Raises:
            SharedHandleError: The handle was closed; or it is of another executor.
        """
        share = self._share
        if share is None:
            raise SharedHandleError(CLOSED)
        if share.owner is not owner:
            raise SharedHandleError(FOREIGN)
        return share

    def __enter__(self) -> Self:
        """Return the handle."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Close the handle."""
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the object, in a call of a work.

        Raises:
            SharedHandleError: The handle was closed; or this is no call of its executor.
        """
        share = self._share
        if share is None:
            raise SharedHandleError(CLOSED)
        return share.reduce()

    def __repr__(self) -> str:
        """Show what is shared."""
        share = self._share
        return f"<SharedHandle {'closed' if share is None else f'of {share.name}'}>"
