"""Shared objects of thread workers: the objects themselves, which stand where their handles were.

Nothing is pickled on the way to a thread, so handles are looked for: among the arguments, and in
the lists, tuples, sets, dictionaries and partials among these. What has none stays the very object
that it was.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final, NamedTuple

from aplex._common.errors import SharedHandleError
from aplex._common.sharing import NOT_AN_ARGUMENT
from aplex.handles import SharedHandle

_CONTAINERS: Final = (list, tuple, set, frozenset, dict, partial)


class ThreadShare(NamedTuple):
    """Keeps an object shared; see `aplex.handles.Share`."""

    owner: Any
    obj: Any
    name: str

    def reduce(self) -> tuple[Any, ...]:
        raise SharedHandleError(NOT_AN_ARGUMENT)


def share(owner: object, obj: Any) -> ThreadShare:
    """Return what keeps an object shared with the workers of that owner."""
    return ThreadShare(owner, obj, type(obj).__qualname__)


def resolved(owner: object, value: Any, around: tuple[int, ...] = ()) -> Any:
    """Return a value with the objects in the places of their handles; itself, if there are none.

    Args:
        owner: Whose handles they must be.
        value: What to look through.
        around: The ids of what it is inside of: a list may be in itself.

    Raises:
        SharedHandleError: A handle is closed, or of another executor.
    """
    kind: Any = type(value)
    if kind is SharedHandle:
        return value.share_for(owner).obj
    if kind is partial:
        return _resolved_partial(owner, value, around)
    if not _may_hold(kind) or not value or id(value) in around:
        return value
    parts = value.values() if kind is dict else value
    if not any(part is SharedHandle or _may_hold(part) for part in set(map(type, parts))):
        return value
    around = (*around, id(value))
    found = [resolved(owner, part, around) for part in parts]
    if all(new is old for new, old in zip(found, parts, strict=True)):
        return value
    if kind is dict:
        return dict(zip(value, found, strict=True))
    return getattr(value, "_make", kind)(found)  # that of a named tuple


def _may_hold(kind: Any) -> bool:
    return kind in _CONTAINERS or (tuple in kind.__mro__ and hasattr(kind, "_make"))


def _resolved_partial(owner: object, value: partial[Any], around: tuple[int, ...]) -> partial[Any]:
    parts = [value.func, *value.args]
    found = [resolved(owner, part, around) for part in parts]
    names = resolved(owner, value.keywords, around)
    if names is value.keywords and all(a is b for a, b in zip(found, parts, strict=True)):
        return value
    made: partial[Any] = partial(found[0], *found[1:], **names)
    return made
