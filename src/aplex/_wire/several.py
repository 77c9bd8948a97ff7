"""A result that is made of the results of several calls: one that cannot travel is one failure."""

from __future__ import annotations

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Several:
    """The base of such results."""

    __slots__ = ()

    def checked(self, check: Callable[[Any], object]) -> Several:
        """Return another, in which each call whose result is refused has failed; or the same.

        Args:
            check: Called with each result. Refuses it by a `SerializationError`.
        """
        raise NotImplementedError
