"""How an exception is copied to another process: the pickle that gives the most similar one.

Many exceptions do not pickle as they are: their constructors take something else than their
``args``, or they hold locks, streams, proxies. Others do, and their copies lack what users read.
So each copy is made on trial, where the original is, and compared with it. The ways, in order:

1. pickle, as the class wants it;
2. the same, and what differs is put right: ``args``, attributes, slots;
3. without the constructor: ``__new__``, and then all that the original has;
4. a stand-in: an instance of a subclass, which has the ``str()`` of the original.

In 2 to 4 an object that does not pickle harms only itself, however deep it lies: a lock is made
new, a proxy of a mapping is made from a copy, others are replaced (`_wire.left_behind`).

Nothing here may fail, whatever the code of users does: the worst outcome is no copy.
"""

from __future__ import annotations

import contextlib
import copyreg
import functools
import io
import pickle
import re
import sys
import threading
import types
from collections.abc import Callable, Mapping
from functools import partial

from aplex._common.errors import RemoteError
from aplex._common.locks import late_imports
from aplex._common.messages import ATOMS
from aplex._wire.calls import dumps
from aplex._wire.left_behind import likeness

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    from typing import Any, Final, TypeAlias

TBLIB: Final = "tblib.pickling_support"
_MOST: Final = 5_000  # objects in a copy; one that holds on to the whole program is none
_DEEPEST: Final = 4  # exceptions that are attributes of exceptions
_LOCKS: Final = {type(threading.Lock()): "Lock", type(threading.RLock()): "RLock"}
_BY_NAME: Final = (type, types.FunctionType, types.ModuleType)
_FIELDS: Final = (types.GetSetDescriptorType, types.MemberDescriptorType)
_SAYS: Final = "_says"  # attribute of a stand-in: its ``str()``
_ADDRESS: Final = r"0x[0-9a-fA-F]+"

Path: TypeAlias = tuple[BaseException, ...]
"""Exceptions that are being copied: each is an attribute of the one before."""
Parts: TypeAlias = "tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]"
"""Of an exception: its ``args``, what it has in slots, or in C, and its attributes."""


class Copy:
    """A pickled exception that was seen to load as one like the original.

    Attributes:
        data: The pickle.
        lost: What differs.
    """

    __slots__ = ("data", "lost")

    def __init__(self, data: bytes, lost: list[str]) -> None:
        self.data = data
        self.lost = lost


def copy_of(error: BaseException, path: Path = ()) -> Copy | None:
    """Return the best copy of an exception alone, without its causes; None if there is none."""
    path = (*path, error)
    best = None
    ways: tuple[Way, ...] = (_rebuilding,)
    if not hasattr(type(error), "__del__"):  # called where a constructor does not fit
        best = _tried(partial(_plainly, error), error)
        if best is not None and not best.lost:
            return best
        ways = _patching, _rebuilding
    for way in ways:
        found = _tried(partial(_dumped, way, error, path), error)
        if found is not None and (best is None or len(found.lost) < len(best.lost)):
            best = found
    if best is None:
        best = _tried(partial(_dumped, _standing_in, error, path), error, similar=False)
    return best


def _plainly(error: BaseException) -> bytes:
    """Pickle an exception as its class wants it."""
    if TBLIB not in sys.modules:
        return dumps(error)
    file = io.BytesIO()
    pickler = pickle.Pickler(file, 5)
    pickler.dispatch_table = _Reducers()  # type: ignore[assignment] # it is asked by key only
    pickler.dump(error)
    return file.getvalue()


def _is_tblibs(error: Any) -> bool:
    kind: type = type(error)
    reducer = copyreg.dispatch_table.get(kind)
    return getattr(reducer, "__module__", None) == TBLIB


class _Reducers:
    """What `copyreg` knows, without what tblib registers for all exceptions there are.

    That is with whoever has imported ``distributed``. It sends causes and tracebacks along, which
    we send ourselves, and loses what an exception of C has besides its ``args``.
    """

    def __getitem__(self, kind: type) -> Any:
        reducer = copyreg.dispatch_table[kind]
        if getattr(reducer, "__module__", None) == TBLIB:
            raise KeyError(kind)
        return reducer


def message_of(error: BaseException) -> str:
    """Return its ``str()``, if that can be had."""
    try:
        return str(error)
    except BaseException:  # noqa: BLE001 - user code
        return "(its message cannot be shown)"


# -- the comparison -------------------------------------------------------------------------


def _tried(way: Callable[[], bytes], error: BaseException, *, similar: bool = True) -> Copy | None:
    """Return a copy made in one way, if it is of the same type, and says the same."""
    try:
        data = way()
        again = pickle.loads(data)
        if type(again) is not type(error) if similar else not isinstance(again, type(error)):
            return None
        if not _says_the_same(message_of(again), message_of(error)):
            return None
        return Copy(data, _differences(again, error))
    except BaseException:  # noqa: BLE001 - user code: constructors, __reduce__
        return None


def _says_the_same(one: str, other: str) -> bool:
    return one == other or re.sub(_ADDRESS, "", one) == re.sub(_ADDRESS, "", other)


def _differences(again: BaseException, error: BaseException) -> list[str]:
    found = []
    if not issubclass(type(error), BaseExceptionGroup) and (
        len(again.args) != len(error.args) or not all(map(_alike, again.args, error.args))
    ):
        found.append("args")
    compared = [(_attributes(error), _attributes(again))]
    if type(error).__module__ != "builtins":
        compared.append((_fields(error, builtin=False), _fields(again, builtin=False)))
    for mine, its in compared:
        found += [
            name for name, value in mine.items() if name not in its or not _alike(its[name], value)
        ]
    return found


def _alike(again: Any, value: Any) -> bool:
    """Whether a copy seems to be the same. Only simple values can be compared."""
    if type(again) is not type(value):
        return False
    if type(value) in ATOMS or type(value) in (str, bytes):
        return bool(again == value or value != value)  # noqa: PLR0124 - not a number
    return True


# -- what an exception has ------------------------------------------------------------------


def _parts(error: BaseException) -> tuple[type[BaseException], Parts]:
    """Return the builtin base of an exception, which knows its ``args``, and all it has."""
    base: Any = _builtin_base(type(error))
    args: tuple[Any, ...] = base.__reduce__(error)[1]  # with the file names of an OSError
    return base, (args, _fields(error, builtin=True), _attributes(error))


def _builtin_base(kind: type[BaseException]) -> type[BaseException]:
    return next(base for base in kind.__mro__ if base.__module__ == "builtins")


def _attributes(error: BaseException) -> dict[str, Any]:
    return {key: value for key, value in error.__dict__.items() if key != "__notes__"}


def _fields(error: BaseException, *, builtin: bool) -> dict[str, Any]:
    """Return what is in slots, or in C."""
    found: dict[str, Any] = {}
    for kind in reversed(type(error).__mro__):
        if kind in (object, BaseException) or (kind.__module__ == "builtins" and not builtin):
            continue
        for name, field in vars(kind).items():
            # (The object of an AttributeError may be anything, and pickle leaves it out, too.)
            if isinstance(field, _FIELDS) and not name.startswith("__") and name != "obj":
                with contextlib.suppress(Exception):  # never set, or code of others
                    found[name] = field.__get__(error, kind)
    return found


# -- the ways -------------------------------------------------------------------------------

Recipe: TypeAlias = "tuple[Callable[..., Any], tuple[Any, ...]]"
"""A function, and its arguments: what is loaded is what it returns."""
Way: TypeAlias = "Callable[[BaseException, type[BaseException], Parts], Recipe]"


def _patching(error: BaseException, _base: type[BaseException], parts: Parts) -> Recipe:
    return _patched, (error, error.args if parts[0] else (), *parts[1:])


def _rebuilding(error: BaseException, base: type[BaseException], parts: Parts) -> Recipe:
    return _rebuilt, (type(error), base, *parts)


def _standing_in(error: BaseException, _base: type[BaseException], parts: Parts) -> Recipe:
    return stand_in, (type(error), message_of(error), *parts)


def _patched(
    error: BaseException, args: tuple[Any, ...], fields: dict[str, Any], state: dict[str, Any]
) -> BaseException:
    error.args = args
    return _furnished(error, fields, state)


def _rebuilt(
    kind: type[BaseException],
    base: type[BaseException],
    args: tuple[Any, ...],
    fields: dict[str, Any],
    state: dict[str, Any],
) -> BaseException:
    try:
        error = kind.__new__(kind, *args)
    except Exception:  # noqa: BLE001 - that of another base is found first, or it wants more
        error = base.__new__(kind, *args)
    base.__init__(error, *args)  # fills what lives in C: errno, code, value …
    return _furnished(error, fields, state)


def stand_in(
    kind: type[BaseException],
    message: str,
    args: tuple[Any, ...] = (),
    fields: Mapping[str, Any] = types.MappingProxyType({}),
    state: Mapping[str, Any] = types.MappingProxyType({}),
) -> BaseException:
    """Make an exception of a subclass, a `RemoteError` too, with that ``str()``.

    Neither the constructor of the class is called, nor its ``__str__``.
    """
    base: Any = _builtin_base(kind)
    key: Any = kind
    error: BaseException = base.__new__(_stand_in_class(key), *args)
    base.__init__(error, *args)
    name = f"{kind.__module__}.{kind.__qualname__}"
    known = {"type_name": name, "message": message, "traceback": "", _SAYS: message}
    return _furnished(error, fields, {**known, **state})


@functools.lru_cache(maxsize=256)
def _stand_in_class(kind: Any) -> Any:
    def says(self: BaseException) -> str:
        return str(self.__dict__[_SAYS])

    def reduce(self: BaseException) -> tuple[Any, ...]:
        parts = self.args, _fields(self, builtin=True), self.__dict__
        return stand_in, (kind, says(self), *parts)

    body = {"__str__": says, "__reduce__": reduce, "__module__": kind.__module__}
    return type(kind.__name__, (kind, RemoteError), body)


def _furnished(
    error: BaseException, fields: Mapping[str, Any], state: Mapping[str, Any]
) -> BaseException:
    error.__dict__.update(state)
    for name, value in fields.items():
        for kind in type(error).__mro__:
            if name in vars(kind):
                with contextlib.suppress(Exception):  # read-only, or never set; code of others
                    if vars(kind)[name].__get__(error, kind) is value:
                        break  # (None, where nothing is, would become something)
                with contextlib.suppress(Exception):
                    vars(kind)[name].__set__(error, value)
                break
    return error


# -- the pickler ----------------------------------------------------------------------------


def _dumped(way: Way, error: BaseException, path: Path) -> bytes:
    """Pickle an exception in one way; where that does not load, without what is to blame."""
    base, (args, fields, state) = _parts(error)
    try:
        data = _copied(way(error, base, (args, fields, state)), path)
        pickle.loads(data)
    except BaseException:  # noqa: BLE001 - user code; or it holds on to too much
        sound = partial(_sound, path)
        args = tuple(map(sound, args))
        fields, state = ({k: sound(v) for k, v in each.items()} for each in (fields, state))
        data = _copied(way(error, base, (args, fields, state)), path)
    return data


class _Cooked:
    """Pickles as a recipe says."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe

    def __reduce__(self) -> Recipe:
        return self._recipe


class _Lost:
    """Pickles as what stands in for an object."""

    def __init__(self, obj: Any) -> None:
        self._obj = obj

    def __reduce__(self) -> tuple[Any, ...]:
        return likeness(self._obj)


def _copied(recipe: Recipe, path: Path) -> bytes:
    file = io.BytesIO()
    _copier()(file, path).dump(_Cooked(recipe))
    return file.getvalue()


def _sound(path: Path, value: Any) -> Any:
    """Return a value, or what stands in for it, if it cannot be pickled and loaded."""
    try:
        pickle.loads(_copied((_same, (value,)), path))
    except BaseException:  # noqa: BLE001 - user code
        return _Lost(value)
    return value


def _same(value: Any) -> Any:
    return value


@functools.cache
def _copier() -> Any:
    """Return the pickler; ``cloudpickle`` is imported when the first one is needed."""
    with late_imports.importing:
        from cloudpickle import Pickler

    base: Any = Pickler

    class Copier(base):  # type: ignore[misc]
        """Replaces, deep inside, what does not pickle."""

        def __init__(self, file: io.BytesIO, path: Path) -> None:
            super().__init__(file, 5)
            self._path = path
            self._count = 0

        def reducer_override(self, obj: Any) -> Any:
            self._count += 1
            if self._count > _MOST:
                raise pickle.PicklingError("this holds on to too much")
            if isinstance(obj, _BY_NAME):
                # (A class in C that its module does not name cannot be made anew.)
                foreign = isinstance(obj, type) and _is_of_c(obj) and obj.__module__ != "builtins"
                return NotImplemented if foreign else super().reducer_override(obj)
            if isinstance(obj, BaseException):
                return _reduced_exception(obj, self._path)
            return _reduced(obj, self.dispatch_table)

    return Copier


def _reduced_exception(error: BaseException, path: Path) -> Any:
    """Return how an exception is pickled that belongs to the last one of a path."""
    if error is path[-1] or isinstance(error, BaseExceptionGroup):
        return error.__reduce_ex__(5) if _is_tblibs(error) else NotImplemented  # as it wants it
    known = any(error is each for each in path)
    found = None if known or len(path) > _DEEPEST else copy_of(error, path)
    return likeness(error) if found is None else (pickle.loads, (found.data,))


def _reduced(obj: Any, known: Mapping[Any, Any]) -> Any:
    """Return how an object is pickled, or what is pickled instead."""
    kind: Any = type(obj)
    if kind in _LOCKS:
        return _new_lock, (_LOCKS[kind],)
    if hasattr(kind, "__del__"):  # it owns something: the end of its copy must not close that
        return likeness(obj)
    with contextlib.suppress(BaseException):  # user code
        return known[kind](obj) if kind in known else obj.__reduce_ex__(5)
    with contextlib.suppress(BaseException):  # user code
        if _is_mapping(kind) and type(kind(obj.copy())) is kind:
            return kind, (obj.copy(),)
        name = repr(obj).removeprefix(f"{kind.__name__}.")
        if getattr(kind, name, None) == obj and _can_be_found(kind):  # an enumeration in C
            return getattr, (kind, name)
    return likeness(obj)


def _is_mapping(kind: type) -> bool:
    return issubclass(kind, Mapping)


def _can_be_found(kind: type) -> bool:
    return getattr(sys.modules.get(kind.__module__), kind.__name__, None) is kind


def _is_of_c(kind: type) -> bool:
    """Whether a class was not made by a ``class`` statement."""
    names = {"__dict__", "__weakref__", "__slots__"}
    return not any(names & vars(base).keys() for base in kind.__mro__)


def _new_lock(name: str) -> Any:
    return getattr(threading, name)()
