"""LeftBehind: what stands in the place of an object that could not travel from a worker.

It looks as the object did, is of a class of the same name, and has what could be read of it
without running Python code: the values that its type keeps in C, and, if it is a sequence, its
items. Whatever else is asked of it says what has happened.
"""

from __future__ import annotations

import types
from collections.abc import Iterator

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    from typing import Any, Final

_FIELDS: Final = (types.GetSetDescriptorType, types.MemberDescriptorType)
_PLAIN: Final = (int, float, complex, bool, str, bytes, type(None))
_LONGEST: Final = 2_000  # characters, or bytes, of what is taken along
_MOST: Final = 64  # items


class LeftBehind:
    """Stands in for an object that could not travel."""

    _shown: tuple[str, str]
    _items: list[Any] | None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(
            f"{name!r} is not known here: this {type(self).__qualname__} was left behind in the "
            "worker, as it cannot be pickled"
        )

    def __repr__(self) -> str:
        return self._shown[0]

    def __str__(self) -> str:
        return self._shown[1]

    def __bool__(self) -> bool:
        return self._items is None or bool(self._items)

    def __len__(self) -> int:
        return len(self._list())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._list())

    def __getitem__(self, index: Any) -> Any:
        return self._list()[index]

    def _list(self) -> list[Any]:
        if self._items is None:
            raise TypeError(f"the {type(self).__qualname__} was left behind in the worker")
        return self._items

    def __reduce__(self) -> tuple[Any, ...]:
        kind = type(self)
        fields = {key: value for key, value in vars(self).items() if key not in _OWN}
        return left_behind, (kind.__module__, kind.__qualname__, self._shown, fields, self._items)


_OWN: Final = ("_shown", "_items")


def left_behind(
    module: str, name: str, shown: tuple[str, str], fields: dict[str, Any], items: list[Any] | None
) -> LeftBehind:
    """Make what stands in for an object of a class of that name."""
    body = {"__module__": module, "__qualname__": name}
    made: LeftBehind = type(name.rpartition(".")[2], (LeftBehind,), body)()
    vars(made).update(fields, _shown=shown, _items=items)
    return made


def likeness(obj: Any) -> tuple[Any, ...]:
    """Return what pickles instead of an object: as from its ``__reduce__``; never fails."""
    kind = type(obj)
    shown = _told(repr, obj), _told(str, obj)
    parts = kind.__module__, kind.__qualname__, shown, _fields(obj), _items(obj)
    return left_behind, parts


def _told(tell: Any, obj: Any) -> str:
    try:
        return str(tell(obj))[:_LONGEST]
    except BaseException:  # noqa: BLE001 - user code
        return f"<{type(obj).__qualname__}, which cannot be shown>"


def _fields(obj: Any) -> dict[str, Any]:
    """Return the plain values that its type keeps in C."""
    found = {}
    for kind in reversed(type(obj).__mro__):
        for name, field in vars(kind).items():
            if isinstance(field, _FIELDS) and not name.startswith("__"):
                try:
                    value = field.__get__(obj, kind)
                except BaseException:  # noqa: BLE001, S112 - code of others
                    continue
                if type(value) in _PLAIN and len(repr(value)) < _LONGEST:
                    found[name] = value
    return found


def _items(obj: Any) -> list[Any] | None:
    kind: Any = type(obj)
    if not hasattr(kind, "__getitem__") or not hasattr(kind, "__len__"):
        return None
    try:
        return [obj[index] for index in range(min(len(obj), _MOST))]
    except BaseException:  # noqa: BLE001 - no sequence, or code of others
        return None
