"""Numbers functions that travel by value, so that each worker gets them once.

Pickling such a function costs 30 to 100 µs, and unpickling it as much again. One whose pickle would
be the same as before gets a number instead, as functions that pickle as a name do. It is the same
if all that it captures is the same object, and cannot change: its code, its defaults, what is in
its closure, and the global variables that it reads; and so on for functions among those. Where
something can change, or the function itself changes its variables, it travels anew each time:
what works see is what was there at ``submit``, and one call sees nothing of another.

It is numbered when it comes the second time: many functions come once. A definition lives as long
as it is the newest, or works need it; workers are told to forget the others, in time.
"""

from __future__ import annotations

import itertools
import re
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeAlias

from aplex._common.locks import RLock, late_imports

_CONSTANTS: Final = (
    *(int, float, complex, str, bytes, bool, range, re.Pattern),
    *(type(None), type(...), type(NotImplemented)),
)
_UNSEEN: Final = {"globals", "exec", "eval", "locals", "vars"}
"""Functions that reach variables nobody sees in the code."""
_MISSING: Final = object()
_CODES: Final = 256
"""How many codes are known at most; and, below, in how many shapes each."""
_SHAPES: Final = 8
_TRIES: Final = 16
"""A function that was never the same so often is looked at only sometimes."""
_SOMETIMES: Final = 32
FIRST: Final = 1 << 32
"""The numbers from here on are of functions by value."""
_SLACK: Final = 32
"""How many functions a worker may have that nobody needs."""


class Definition:
    """A function that travels by value, pickled once. Works refer to it until they are settled.

    Attributes:
        shares: What keeps the shared objects alive that are in the pickle.
    """

    __slots__ = ("_alive", "number", "pickled", "shares")

    def __init__(
        self, number: int, pickled: bytes, alive: set[int], shares: tuple[Any, ...] = ()
    ) -> None:
        self.number = number
        self.pickled = pickled
        self.shares = shares
        self._alive = alive
        alive.add(number)

    def __del__(self) -> None:
        self._alive.discard(self.number)


class WithContext:
    """A function that is to run with what was pickled beside it, see `_worker.context`."""

    __slots__ = ("data", "function")

    def __init__(self, function: int | Definition, data: bytes) -> None:
        self.function = function
        self.data = data

    @property
    def number(self) -> tuple[int, bytes]:
        """What a frame says of it."""
        function = self.function
        return (function if isinstance(function, int) else function.number), self.data


Function: TypeAlias = int | Definition | WithContext
"""What stands for a function: its number, or that and more."""


class ByValue:
    """The functions of one pool that travel by value."""

    def __init__(self, pickle_: Callable[[Any], bytes]) -> None:
        """Know none yet.

        Args:
            pickle_: Pickles a function by value.
        """
        self.alive: set[int] = set()  # the numbers of all definitions there are
        self._numbers = itertools.count(FIRST)
        self._pickle = pickle_
        self._codes: dict[int, _Code] = {}  # by the id of what each of them holds
        self._lock = RLock()

    def find(self, work: types.FunctionType) -> Definition | None:
        """Return the definition of a function that was numbered, and is as it was then."""
        code = self._codes.get(id(work.__code__))
        if code is not None:
            for shape in code.shapes:
                if shape.definition is not None and shape.fits(work):
                    return shape.definition
        return None

    def meet(self, work: types.FunctionType) -> Definition | None:
        """Take note of a function that has no number; give it one if it was here before.

        Raises:
            Exception: It cannot be pickled.
        """
        with self._lock:
            code = self._codes.get(id(work.__code__))
            if code is None:
                while len(self._codes) >= _CODES:
                    del self._codes[next(iter(self._codes))]
                code = self._codes[id(work.__code__)] = _Code(work.__code__)
            if not code.is_worth_a_look():
                return None
            for shape in code.shapes:
                if shape.fits(work):
                    if shape.definition is None:
                        pickled = self._pickle(work)
                        if not shape.fits(work):  # another thread has changed something
                            return None
                        shape.definition = Definition(next(self._numbers), pickled, self.alive)
                    code.misses = 0
                    return shape.definition
            code.keep(_shape_of(work))
            return None

    def define(self, pickled: bytes, shares: tuple[Any, ...]) -> Definition:
        """Give a number to a function that somebody else has pickled, and keeps."""
        return Definition(next(self._numbers), pickled, self.alive, shares)

    def renew_after_fork(self) -> None:
        """In a forked child: a thread that held the lock may not be in this process."""
        self._lock = RLock()

    def forgotten(self, known: set[int], named: int) -> list[int]:
        """Return the numbers that a worker knows and nobody needs, if they are many.

        Args:
            known: All numbers that it knows.
            named: How many functions there are that travel by name.
        """
        if len(known) <= named + 2 * len(self.alive) + _SLACK:
            return []
        return [number for number in known if number >= FIRST and number not in self.alive]


def numbers_of(functions: Iterable[Function]) -> list[Any]:
    """Return what a frame says of functions."""
    return [each if isinstance(each, int) else each.number for each in functions]


class _Code:
    """A code object, and the shapes in which its functions have come."""

    def __init__(self, code: types.CodeType) -> None:
        self._code = code  # or its id would be another's
        self.shapes: tuple[_Shape, ...] = ()
        self.misses = 0
        self._is_fit = _reads(code) is not None

    def is_worth_a_look(self) -> bool:
        self.misses += 1
        return self._is_fit and (self.misses <= _TRIES or self.misses % _SOMETIMES == 0)

    def keep(self, shape: _Shape | None) -> None:
        if shape is not None:
            self.shapes = (*self.shapes[1 - _SHAPES :], shape)


class _Shape:
    """All that a function captures, as it was at one time."""

    def __init__(self, work: types.FunctionType) -> None:
        self.definition: Definition | None = None
        self._globals = work.__globals__
        self._defaults = work.__defaults__
        self._kwdefaults = work.__kwdefaults__
        self._values = [cell.cell_contents for cell in work.__closure__ or ()]
        self._attributes = dict(vars(work))
        # What is to be there still, of the function and of those that it uses.
        self._functions: list[tuple[types.FunctionType, Any, Any, Any]] = []
        self._cells: list[tuple[types.CellType, Any]] = []
        self._names: list[tuple[dict[Any, Any], Any, Any]] = []
        self._sizes: list[tuple[dict[Any, Any], int]] = []
        self._modules = 0  # how many were imported, if that matters
        self._seen: set[int] = {id(work)}
        self._take(work)

    def fits(self, work: types.FunctionType) -> bool:
        """Whether a function with the same code captures the same."""
        if (
            work.__defaults__ is not self._defaults
            or work.__globals__ is not self._globals
            or work.__kwdefaults__ is not self._kwdefaults
            or not _holds(work.__closure__ or (), self._values)
        ):
            return False
        attributes = vars(work)
        if (attributes or self._attributes) and not _same(attributes, self._attributes):
            return False
        for names, name, value in self._names:
            if names.get(name, _MISSING) is not value:
                return False
        if self._sizes and any(len(names) != size for names, size in self._sizes):
            return False
        if self._functions and not all(_is_as(*each) for each in self._functions):
            return False
        if self._cells and not _holds(*zip(*self._cells, strict=True)):
            return False
        return not self._modules or self._modules == len(sys.modules)

    def _take(self, work: types.FunctionType) -> None:
        reads = _reads(work.__code__)
        if reads is None:
            raise _Changing
        self._take_dict(work.__kwdefaults__ or {})
        for value in work.__defaults__ or ():
            self._take_value(value)
        for cell in work.__closure__ or ():
            self._take_value(cell.cell_contents)
        for value in vars(work).values():
            self._take_value(value)
        for name in reads:
            value = work.__globals__.get(name, _MISSING)
            self._names.append((work.__globals__, name, value))
            if value is not _MISSING:
                self._take_value(value)

    def _take_dict(self, names: dict[Any, Any]) -> None:
        self._sizes.append((names, len(names)))
        for name, value in names.items():
            self._names.append((names, name, value))
            self._take_value(value)

    def _take_value(self, value: Any) -> None:
        kind = type(value)
        if kind in _CONSTANTS:
            return
        if kind in (tuple, frozenset):
            for each in value:
                self._take_value(each)
        elif kind is types.ModuleType:
            self._take_module(value)
        elif kind is types.FunctionType and not _is_named(value):
            self._take_function(value)
        elif not _is_named(value):
            raise _Changing

    def _take_module(self, module: types.ModuleType) -> None:
        if sys.modules.get(module.__name__) is not module or module.__name__ == "__main__":
            raise _Changing
        if hasattr(module, "__path__"):  # with it travel those of its modules that are imported
            self._modules = len(sys.modules)

    def _take_function(self, function: types.FunctionType) -> None:
        if id(function) in self._seen:
            return
        self._seen.add(id(function))
        state = function.__code__, function.__defaults__, function.__kwdefaults__
        self._functions.append((function, *state))
        self._cells += [(cell, cell.cell_contents) for cell in function.__closure__ or ()]
        self._sizes.append((vars(function), len(vars(function))))
        self._names += [(vars(function), *item) for item in vars(function).items()]
        self._take(function)


class _Changing(Exception):  # noqa: N818 - not for users
    """Something that is captured may change."""


def _shape_of(work: types.FunctionType) -> _Shape | None:
    cloudpickle = sys.modules.get("cloudpickle")
    if cloudpickle is not None and cloudpickle.list_registry_pickle_by_value():
        return None  # what seems to travel by name may not
    try:
        return _Shape(work)
    except (_Changing, ValueError, RecursionError):  # a cell may be empty
        return None


def _holds(cells: Iterable[types.CellType], values: Iterable[Any]) -> bool:
    try:
        for cell, value in zip(cells, values, strict=True):
            if cell.cell_contents is not value:
                return False
    except ValueError:  # it is empty
        return False
    return True


def _same(names: dict[str, Any], others: dict[str, Any]) -> bool:
    if len(names) != len(others):
        return False
    return all(others.get(name, _MISSING) is value for name, value in names.items())


def _is_as(function: types.FunctionType, code: Any, defaults: Any, kwdefaults: Any) -> bool:
    return (
        function.__code__ is code
        and function.__defaults__ is defaults
        and function.__kwdefaults__ is kwdefaults
    )


def _is_named(value: Any) -> bool:
    """Whether a function or class travels as a name."""
    if not isinstance(value, (types.FunctionType, types.BuiltinFunctionType, type)):
        return False
    module, name = value.__module__, value.__qualname__
    if module == "__main__" or not isinstance(module, str):
        return False
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is value


def _reads(code: types.CodeType) -> frozenset[str] | None:
    """Return the names of the global variables that a code reads.

    None if it may change any, or those of the function around it.
    """
    names: set[str] = set()
    outer = set(code.co_freevars)
    for opname, argument in _instructions(code):
        if "GLOBAL" in opname or opname == "LOAD_NAME":
            if not opname.startswith("LOAD"):
                return None
            names.add(argument)
        elif opname in ("STORE_DEREF", "DELETE_DEREF") and argument in outer:
            return None
    return None if names & _UNSEEN else frozenset(names)


def _instructions(code: types.CodeType) -> Iterator[tuple[str, Any]]:
    with late_imports.importing:
        import dis
    for instruction in dis.get_instructions(code):
        yield instruction.opname, instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _instructions(constant)
