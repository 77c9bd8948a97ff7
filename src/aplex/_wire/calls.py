"""What travels between processes, and in which form.

Every call and every outcome is pickled alone, at the moment it is made: later
changes by the caller are not seen, one object that cannot travel harms only
its own work, and works share nothing by accident. What needs no pickle (small
immutable atoms) is left as it is, for the frame to carry.

Plain ``pickle`` is tried first, ``cloudpickle`` carries the rest: lambdas,
closures, and whatever lives in a ``__main__`` that a worker cannot import.
"""

from __future__ import annotations

import itertools
import pickle
import types
from collections.abc import Callable, Iterable, MutableSequence, Sequence
from functools import partial

from aplex._common.errors import SerializationError, SharedHandleError
from aplex._common.locks import RLock, late_imports
from aplex._common.messages import ATOMS
from aplex._wire.page import COUNTER_COUNT, RUNS

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    from typing import Any, Final, Protocol, TypeAlias

    from aplex._wire.by_value import Definition, Function
    from aplex._wire.segments import Place
    from aplex._wire.shared_memory import SharedPayload

    class Definable(Protocol):
        """Shared objects, which are told about as functions are."""

        def define(self, number: int, packed: Any, /) -> None:
            """Take in an object that works to come may want; None: that none will want any more."""
            ...


_BIG: Final = 32 * 1024  # bytes from which a payload travels as a buffer of its own
SHARED: Final = 64 * 1024  # bytes from which it travels in shared memory, where there is such
LESS: Final = (
    "Send less at a time (parts; the items of a stream; the path of a file), or allow more memory"
)
"""The cure for what is too big."""
BY_NAME: Final = (
    "Define the function, and what it uses, in a module that workers can import; in a script, it "
    "is enough to put the code that uses the executor under `if __name__ == '__main__':`"
)
"""The cure for functions with something that cannot travel."""
BY_REFERENCE: Final = (types.FunctionType, types.BuiltinFunctionType, type)

Payload: TypeAlias = "bytes | pickle.PickleBuffer | SharedPayload"
# A call is a tuple of atoms (its positional arguments), or a pickle.
Call: TypeAlias = "tuple[Any, ...] | Payload"
Put: TypeAlias = "Callable[[Sequence[bytes | memoryview]], SharedPayload | None]"
"""Puts payloads into shared memory, if it can."""
Open: TypeAlias = "Callable[[Place], list[memoryview]]"
"""Returns views of what was put there."""
Work: TypeAlias = "Callable[..., Any]"


def dumps(value: Any, *, by_value: bool = False, buffer_callback: Buffers | None = None) -> bytes:
    """Pickle a value, by ``cloudpickle`` where plain pickle cannot or must not."""
    if not by_value:
        try:
            return pickle.dumps(value, 5, buffer_callback=buffer_callback)
        except Exception:  # noqa: BLE001, S110 - any __reduce__ may raise anything
            pass
    with late_imports.importing:
        import cloudpickle

    if buffer_callback is not None:
        buffer_callback.views.clear()
    by_cloudpickle: Callable[..., bytes] = cloudpickle.dumps
    return by_cloudpickle(value, 5, buffer_callback=buffer_callback)


class Several:
    """The base of a result that is made of the results of several calls."""

    __slots__ = ()

    def checked(self, check: Callable[[Any], object]) -> Several:
        """Return another, in which each call whose result is refused has failed; or the same.

        Args:
            check: Called with each result. Refuses it by a `SerializationError`.
        """
        raise NotImplementedError


class _BigBytes:
    """Bytes that are copied into shared memory as they are, and not into a pickle before."""

    def __init__(self, value: bytes) -> None:
        self._value = value

    def __reduce__(self) -> tuple[Any, ...]:
        return bytes, (pickle.PickleBuffer(self._value),)


def _wrapped(value: Any) -> Any:
    return _BigBytes(value) if type(value) is bytes and len(value) >= SHARED else value


class Buffers:
    """Takes the big buffers of a pickle out of it (PEP 574)."""

    def __init__(self) -> None:
        self.views: list[memoryview] = []

    def __call__(self, buffer: pickle.PickleBuffer) -> bool:
        """Return whether the buffer stays in the pickle."""
        view = buffer.raw()
        if view.nbytes < _BIG:
            return True
        self.views.append(view)
        return False


def pack(pickler: Callable[..., bytes], put: Put | None, value: Any) -> Payload:
    """Pickle a value, into shared memory if it is big and there is such.

    Args:
        pickler: Pickles a value; takes a ``buffer_callback``.
        put: Puts payloads into shared memory. None: there is none.
        value: What is to travel.
    """
    if put is not None:
        buffers = Buffers()
        data = pickler(value, buffer_callback=buffers)
        if len(data) + sum(view.nbytes for view in buffers.views) >= SHARED:
            shared = put([data, *buffers.views])
            if shared is not None:
                return shared
        if not buffers.views:
            return data if len(data) < _BIG else pickle.PickleBuffer(data)
    data = pickler(value)
    return data if len(data) < _BIG else pickle.PickleBuffer(data)


class Unopened:
    """Stands for what lies in shared memory that could not be mapped here."""

    def __init__(self, size: int, reason: BaseException) -> None:
        self.nbytes = size
        self.reason = reason


def unpack(data: Any) -> Any:
    """Return what was packed: from a pickle, or from the views of shared memory."""
    if isinstance(data, Unopened):
        raise MemoryError(str(data.reason)) from data.reason  # noqa: TRY004
    if isinstance(data, list):
        views: list[memoryview] = data
        return pickle.loads(views[0], buffers=views[1:])
    return pickle.loads(data)


def is_atom(value: Any) -> bool:
    """Whether a value is small, immutable, and needs no pickle of its own."""
    kind = type(value)
    return kind in ATOMS or ((kind is str or kind is bytes) and len(value) < _BIG)


class CallEncoder:
    """Pickles works and their arguments in the submitting thread."""

    def __init__(
        self,
        put: Put | None = None,
        *,
        main_by_value: bool = False,
        decide: Callable[[], bool] | None = None,
    ) -> None:
        """Have pickled nothing yet.

        Args:
            put: Puts payloads into shared memory. None: there is none.
            main_by_value: Whether no worker can import this ``__main__``.
            decide: Is asked that before the first call is pickled.
        """
        self._put = put
        self._main_by_value = main_by_value
        self._decide = decide
        # Functions that pickle as a name: their numbers, from 1; and each name, pickled once.
        self._numbers: dict[Work, int] = {}
        self._by_name: dict[bytes, int] = {}
        self._pickled: dict[int, bytes] = {}
        self._new_numbers = itertools.count(1)
        self._lock = RLock()  # for making numbers
        from aplex._wire.by_value import ByValue  # of no use in workers

        self._values = ByValue(partial(dumps, by_value=True))

    def encode(
        self, work: Work, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[int | Definition, Call]:
        """Return the number of the function and the call.

        The number is 0 where the callable may have state of its own (a partial, a
        bound method, a closure): it then travels, anew each time, in the call. Of a function
        that travels by value and was here before, it is its definition, which has a number.

        Raises:
            SerializationError: Something cannot be pickled; says what.
        """
        number: int | Definition | None
        number = self._numbers.get(work) if type(work) in BY_REFERENCE else None
        if number is None:
            number = self._numbered(work)
        if number and not kwargs:
            for value in args:
                if type(value) not in ATOMS and not is_atom(value):
                    break
            else:
                return number, args
        try:
            if not number and type(work) is types.FunctionType:
                number = self._values.meet(work) or 0
            if self._put is not None:
                args = tuple(map(_wrapped, args))
            if number:
                return number, pack(self.dumps, self._put, (args, kwargs))
            return 0, pack(self.dumps, self._put, (work, args, kwargs))
        except SharedHandleError:
            raise
        except Exception as error:
            raise self._explained(error, work, args, kwargs) from error

    def decide(self) -> None:
        """Find out, once, whether workers can import this ``__main__``."""
        if self._decide is not None:
            self._main_by_value, self._decide = self._decide(), None

    def define(self, pickled: bytes, shares: tuple[Any, ...]) -> Definition:
        """Return the definition of a function that uses shared objects."""
        return self._values.define(pickled, shares)

    def has_name(self, work: Work) -> bool:
        """Whether a work pickles as a name, by which its workers know it."""
        if type(work) not in BY_REFERENCE:
            return False
        number = self._numbers.get(work) or self._numbered(work)
        return type(number) is int and number > 0

    def renew_after_fork(self) -> None:
        """In a forked child: a thread that held a lock may not be in this process."""
        self._lock = RLock()
        self._values.renew_after_fork()

    def definitions(
        self, known: set[int], functions: Iterable[Function]
    ) -> dict[int, bytes | None]:
        """Return the pickled functions that are not known yet, and None for some to forget."""
        new: dict[int, bytes | None] = {}
        each: Any
        for each in set(functions):
            function: int | Definition = getattr(each, "function", each)  # of one with context
            if isinstance(function, int):
                if function and function not in known:
                    new[function] = self._pickled[function]
            elif function.number not in known:
                new[function.number] = function.pickled
        new.update(dict.fromkeys(self._values.forgotten(known, len(self._pickled))))
        return new

    def dumps(
        self,
        value: Any,
        *,
        buffer_callback: Buffers | None = None,
        by: Callable[..., bytes] = dumps,
    ) -> bytes:
        """Pickle one object as it is now."""
        data = by(value, buffer_callback=buffer_callback)
        # A worker cannot look names up in this __main__: send what they name.
        # (A mere string that says so costs nothing but the slower pickle.)
        if self._main_by_value and b"__main__" in data:
            if buffer_callback is not None:
                buffer_callback.views.clear()
            return by(value, by_value=True, buffer_callback=buffer_callback)
        return data

    def _numbered(self, work: Work) -> int | Definition:
        """Return the number of a function or class that has one, 0 for others."""
        self.decide()
        if type(work) is types.FunctionType:
            definition = self._values.find(work)
            if definition is not None:
                return definition
        pickled = self._referenced(work)
        if pickled is None:
            return 0
        with self._lock:
            number = self._by_name.get(pickled)
            if number is None:
                # A signal handler may come here in the middle, for another function (then it
                # gets another number) or for this one (then its number stands).
                number = next(self._new_numbers)
                self._pickled[number] = pickled
                number = self._by_name.setdefault(pickled, number)
        if type(work) in BY_REFERENCE:  # others may not be hashable: classes of metaclasses
            self._numbers[work] = number
        return number

    def _referenced(self, work: Work) -> bytes | None:
        """Return the pickled name of a function or class, None if it does not pickle so."""
        if not isinstance(work, BY_REFERENCE):
            return None
        owner = getattr(work, "__self__", None)  # ``[].append`` is a builtin function, too
        if not isinstance(owner, (types.ModuleType, type, type(None))):
            return None
        try:
            pickled = pickle.dumps(work, 5)
        except Exception:  # noqa: BLE001 - a lambda, a closure, a local class …
            return None
        if self._main_by_value and b"__main__" in pickled:
            return None
        return pickled

    def _explained(
        self, error: Exception, work: Work, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> SerializationError:
        from aplex._common.names import describe  # a worker encodes no calls
        from aplex._wire.culprits import culprit_of

        if isinstance(error, MemoryError):
            return SerializationError(
                f"there is not enough memory to pickle the call of {describe(work)}: "
                f"{_say(error)}. {LESS}"
            )
        named = [("the work", work)]
        named += [(f"argument {i}", arg) for i, arg in enumerate(args)]
        named += [(f"argument {name!r}", arg) for name, arg in kwargs.items()]
        for name, value in named:
            try:
                self.dumps(value)
            except Exception as reason:  # noqa: BLE001 - this one is the culprit
                culprit = culprit_of(value, self.dumps)
                if culprit:
                    return SerializationError(
                        f"{name} of {describe(work)} cannot be pickled, because of {culprit}: "
                        f"{_say(reason)}. {BY_NAME}"
                    )
                return SerializationError(
                    f"{name} of {describe(work)} cannot be pickled: {_say(reason)}. Pass what is "
                    "needed to make it in the worker instead (a path, not an open file), "
                    "or use ThreadAsyncPoolExecutor, which pickles nothing"
                )
        return SerializationError(f"the call of {describe(work)} cannot be pickled: {_say(error)}")


class CallDecoder:
    """Unpickles what a `CallEncoder` has pickled; belongs to one lane of a worker."""

    def __init__(
        self, open_: Open | None = None, shared: Callable[[], Definable] | None = None
    ) -> None:
        """Know no functions yet.

        Args:
            open_: Returns views of what was put into shared memory.
            shared: Returns the shared objects of this worker.
        """
        self._open = open_
        self._shared = shared
        # The functions by their numbers: pickled until they are first called.
        self._pickled: dict[int, bytes] = {}
        self._functions: dict[int, Work] = {}
        # What runs is noted here, see `_wire.page`.
        self.counters: MutableSequence[int] | memoryview = [0] * COUNTER_COUNT
        self.name: Callable[[int, Work, tuple[Any, ...]], int] = _number_of

    def define(self, definitions: dict[int, bytes | None]) -> None:
        """Take in functions that calls to come will name by number; forget those that are None.

        Numbers below 0 are those of shared objects.
        """
        for number, pickled in definitions.items():
            if number < 0:
                assert self._shared is not None
                self._shared().define(-number, pickled)
            elif pickled is None:
                self._pickled.pop(number, None)
                self._functions.pop(number, None)
            else:
                self._pickled[number] = pickled

    def run(self, function: Any, call: Any) -> Any:
        """Call a work with its arguments.

        Raises:
            SerializationError: This process cannot unpickle them; says the cure.
            BaseException: What the work raises.
        """
        work = self._functions.get(function)
        if work is not None and type(call) is tuple:
            self.counters[RUNS] = function
            return work(*call)
        number: int = _number_in(function)
        within = isinstance(function, tuple)  # a context is beside it
        self.counters[RUNS] = number
        work, args, kwargs = self.decode(function, call)
        named: Any = work
        self.counters[RUNS] = self.name(number, named.args[1] if within else named, args)
        return work(*args, **kwargs)

    def decode(
        self, function: int | tuple[int, bytes], call: Any
    ) -> tuple[Work, tuple[Any, ...], dict[str, Any]]:
        """Return the work, its positional and its keyword arguments.

        Raises:
            SerializationError: This process cannot unpickle them; says the cure.
        """
        pickled: Any = call
        if isinstance(function, tuple):
            return self._decode_within(*function, call)
        try:
            if isinstance(call, list) and self._open is not None:
                place: Place = call
                pickled = self._opened(place)
            if not function:
                work, args, kwargs = unpack(pickled)
                return work, args, kwargs
            work = self._functions.get(function) or self._loaded(function)
            if type(pickled) is tuple:
                return work, pickled, {}
            args, kwargs = unpack(pickled)
        except SerializationError:  # of a shared object
            raise
        except MemoryError as error:
            raise SerializationError(
                f"the worker has not enough memory for the arguments{_size(pickled)}: "
                f"{_say(error)}. {LESS}"
            ) from error
        except Exception as error:
            raise SerializationError(
                f"the worker cannot unpickle the call: {_say(error)}. Functions and classes must "
                "be importable in a worker: define them at the top of a module, and not under "
                f"`if __name__ == '__main__'`{_hint(error)}"
            ) from error
        return work, args, kwargs

    def _decode_within(
        self, function: int, data: bytes, call: Any
    ) -> tuple[Work, tuple[Any, ...], dict[str, Any]]:
        """Do the same for a work that runs with what was pickled beside it."""
        work, args, kwargs = self.decode(function, call)
        try:
            run, around = pickle.loads(data)
        except Exception as error:
            raise SerializationError(
                f"the worker cannot unpickle the context of the call: {_say(error)}"
            ) from error
        return partial(run, around, work), args, kwargs

    def _opened(self, place: Place) -> Any:
        assert self._open is not None
        try:
            return self._open(place)
        except (MemoryError, OSError) as error:
            return Unopened(sum(place[4:]), error)

    def _loaded(self, number: int) -> Work:
        work: Work = pickle.loads(self._pickled[number])
        self._functions[number] = work
        return work


def _hint(error: Exception) -> str:
    if not isinstance(error, ModuleNotFoundError):
        return ""
    return ". Where workers are on other machines, it has to be there, or be named by `ship=`"


def _number_in(function: int | tuple[int, bytes]) -> int:
    """Return the number of a function, beside which a context may travel."""
    return function[0] if isinstance(function, tuple) else function


def _number_of(number: int, _work: Work, _args: tuple[Any, ...]) -> int:
    return number


def encode_value(value: Any, put: Put | None = None) -> Payload:
    """Pickle a result.

    Raises:
        SerializationError: The value cannot be pickled.
    """
    try:
        return pack(dumps, put, value if put is None else _wrapped(value))
    except MemoryError as error:
        raise SerializationError(
            f"the worker has not enough memory to pickle the result, of type "
            f"{type(value).__qualname__}: {_say(error)}. {LESS}"
        ) from error
    except BaseException as error:
        if isinstance(value, Several) and (rest := value.checked(encode_value)) is not value:
            return encode_value(rest, put)
        raise SerializationError(
            f"the result, of type {type(value).__qualname__}, cannot be pickled: {_say(error)}. "
            "Return plain data made from it, or use ThreadAsyncPoolExecutor"
        ) from error


def decode_value(data: Any) -> Any:
    """Unpickle a result.

    Raises:
        SerializationError: This process cannot unpickle it.
    """
    try:
        return unpack(data)
    except MemoryError as error:
        raise SerializationError(
            f"the work succeeded, but there is not enough memory here for its result"
            f"{_size(data)}: {_say(error)}. {LESS}"
        ) from error
    except BaseException as error:
        raise SerializationError(
            f"the work succeeded, but its result cannot be unpickled here: {_say(error)}. Check "
            "the __reduce__ or __setstate__ of its class"
        ) from error


def _size(data: Any) -> str:
    """Return how much was to be unpickled, in brackets; nothing if it was no pickle."""
    if type(data) is tuple:
        return ""
    parts: list[Any] = data if isinstance(data, list) else [data]
    sizes = [part.nbytes if type(part) is Unopened else memoryview(part).nbytes for part in parts]
    return f" (pickled, {sum(sizes) / 2**20:,.0f} MiB)"


def _say(error: BaseException) -> str:
    return f"{type(error).__name__}: {_message(error)}"


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # noqa: BLE001 - user code
        return "(its message cannot be shown)"
