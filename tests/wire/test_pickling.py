"""Logic: how calls and results travel. No process: both sides are here.

Exceptions have a module of their own, ``test_pickling_exceptions``.
"""

from __future__ import annotations

import collections
import enum
import functools
import gc
import math
import operator
import pickle
import subprocess
import sys
import threading
import types
import weakref
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from aplex._backends.process.main_module import importable_main, is_importable, path_of_main
from aplex._common.names import describe
from aplex._wire import calls
from aplex._wire.by_value import numbers_of
from aplex._wire.calls import (
    CallDecoder,
    CallEncoder,
    decode_value,
    encode_value,
    is_atom,
)
from aplex.exceptions import SerializationError

BIG = 32 * 1024  # bytes


class Point:
    def __init__(self, x: int) -> None:
        self.x = x

    def plus(self, y: int) -> int:
        return self.x + y

    def __call__(self, y: int) -> int:
        return self.x * y

    @classmethod
    def at(cls, x: int) -> Point:
        return cls(x)

    @staticmethod
    def twice(x: int) -> int:
        return 2 * x


def add(x: Any, y: Any = 0, *, z: Any = 0) -> Any:
    return x + y + z


async def coroutine(x: int) -> int:
    return x


@pytest.fixture
def encoder() -> CallEncoder:
    return CallEncoder()


def frame(sent: Any) -> Any:
    """What a frame does to a call: plain pickle, buffers out of band."""
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(sent, 5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=[bytes(buffer) for buffer in buffers])


def sends(encoder: CallEncoder, work: Any, args: Any, kwargs: Any) -> Any:
    """What a lane that knows no function yet is sent."""
    function, call = encoder.encode(work, args, kwargs)
    return encoder.definitions(set(), [function]), numbers_of([function])[0], call


def decoded(definitions: dict[int, bytes], function: int, call: Any) -> Any:
    """What a worker makes of that."""
    decoder = CallDecoder()
    decoder.define(definitions)
    return decoder.decode(function, call)


def arrives(encoder: CallEncoder, work: Any, *args: Any, **kwargs: Any) -> Any:
    """What a worker makes of a call."""
    return decoded(*frame(sends(encoder, work, args, kwargs)))


def result(encoder: CallEncoder, work: Any, *args: Any, **kwargs: Any) -> Any:
    function, arguments, keywords = arrives(encoder, work, *args, **kwargs)
    return function(*arguments, **keywords)


# -- works ----------------------------------------------------------------------------------


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("work", "args", "expected"),
    [
        (add, (1, 2), 3),
        (math.sqrt, (16,), 4),
        (len, ("four",), 4),
        (int, ("7",), 7),
        (Point.twice, (4,), 8),
        (Point(2).plus, (3,), 5),
        (Point(2), (3,), 6),
        (functools.partial(add, 1, z=2), (3,), 6),
        (functools.partial(functools.partial(add, 1), 2), (), 3),
        (operator.itemgetter(1), ([5, 6],), 6),
        ([3, 1, 3].count, (3,), 2),
        ("a b".split, (), ["a", "b"]),
        (dict.fromkeys, ("a",), {"a": None}),
        (lambda x: x + 1, (1,), 2),
        (str.upper, ("x",), "X"),
    ],
)
def test_a_work_arrives_as_it_was(
    encoder: CallEncoder, work: Any, args: tuple[Any, ...], expected: Any
) -> None:
    assert result(encoder, work, *args) == expected
    assert result(encoder, work, *args) == expected  # the second time caches are warm


def test_classes_and_class_methods_are_works(encoder: CallEncoder) -> None:
    assert result(encoder, Point, 3).x == 3
    assert result(encoder, Point.at, 4).x == 4


def test_a_coroutine_function_arrives_as_itself(encoder: CallEncoder) -> None:
    function, args, kwargs = arrives(encoder, coroutine, 1)
    assert (function, args, kwargs) == (coroutine, (1,), {})


def test_closures_travel_by_value(encoder: CallEncoder) -> None:
    factor = 3

    def times(x: int) -> int:
        return x * factor

    async def atimes(x: int) -> int:
        return times(x)

    assert result(encoder, times, 5) == 15
    made = result(encoder, atimes, 5)
    with pytest.raises(StopIteration, match="15"):
        made.send(None)


def test_a_class_whose_metaclass_cannot_be_hashed_is_a_work(encoder: CallEncoder) -> None:
    assert type(result(encoder, Unhashable)) is Unhashable


class Unequal(type):
    def __eq__(cls, other: object) -> bool:
        return cls is other

    __hash__ = None  # type: ignore[assignment]


class Unhashable(metaclass=Unequal):
    pass


def test_the_name_of_a_function_is_pickled_once(encoder: CallEncoder) -> None:
    first, _ = encoder.encode(add, (1,), {})
    second, _ = encoder.encode(add, (2,), {})
    other, _ = encoder.encode(len, ("",), {})
    assert first == second != other
    assert set(encoder.definitions({0}, [first, 0, first])) == {first}
    assert encoder.definitions({0, first}, [first, 0, second]) == {}
    assert set(encoder.definitions({0, first}, [first, other])) == {other}


# -- arguments ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 0, -(10**50), 1.5, 2j, "", "text", "\ud800", b"", b"bytes"),
        *([1, [2]], (1, (2,)), {"a": {1}}, frozenset({1}), range(3), Ellipsis, NotImplemented),
        *(b"x" * BIG, "y" * BIG, bytearray(b"z" * 3), list(range(BIG))),
        *(enum.Enum("Colour", "RED", module=__name__), Point, len, math),
        collections.OrderedDict(a=1),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_an_argument_arrives_as_it_was(encoder: CallEncoder, value: Any) -> None:
    function, args, kwargs = arrives(encoder, add, value, z=value)
    assert function is add
    assert isinstance(args[0], type(value))
    if not isinstance(value, type(enum.Enum)):
        assert args == (value,)
        assert kwargs == {"z": value}


def test_a_subclass_of_an_atom_is_no_atom(encoder: CallEncoder) -> None:
    class Meters(int):
        pass

    _, args, _ = arrives(encoder, add, Meters(3))
    assert type(args[0]).__name__ == "Meters"


def test_small_atoms_are_left_to_the_frame(encoder: CallEncoder) -> None:
    _, call = encoder.encode(add, (1, "two", b"three", None), {})
    assert call == (1, "two", b"three", None)


@pytest.mark.parametrize("value", [b"x" * BIG, "x" * BIG, [b"x" * BIG]])
def test_big_payloads_travel_as_buffers(encoder: CallEncoder, value: Any) -> None:
    _, call = encoder.encode(add, (value,), {})
    assert isinstance(call, pickle.PickleBuffer)
    _, call = encoder.encode(Point(1).plus, (value,), {})
    assert isinstance(call, pickle.PickleBuffer)


def test_what_the_caller_changes_afterwards_is_not_seen(encoder: CallEncoder) -> None:
    items, keywords, point = [1], {"z": [2]}, Point(1)
    sent = sends(encoder, add, (items,), keywords)
    bound = sends(encoder, point.plus, (1,), {})
    items.append(99)
    keywords["z"].append(99)
    point.x = 99
    _, args, kwargs = decoded(*frame(sent))
    assert (args, kwargs) == (([1],), {"z": [2]})
    work, args, _ = decoded(*frame(bound))
    assert work(*args) == 2


def test_a_bound_builtin_method_is_captured_at_each_submit(encoder: CallEncoder) -> None:
    """Its type is that of ``len``, but it has state."""
    items = [3]
    assert result(encoder, items.count, 3) == 1
    items.append(3)
    assert result(encoder, items.count, 3) == 2


def test_an_encoder_keeps_no_objects_alive(encoder: CallEncoder) -> None:
    class Items(list[int]):
        """Can be referred to weakly."""

    def submit() -> weakref.ref[Items]:
        items = Items([1])
        encoder.encode(items.count, (1,), {})
        encoder.encode(functools.partial(len, items), (), {})
        encoder.encode(lambda: items, (), {})
        return weakref.ref(items)

    gone = submit()
    gc.collect()
    assert gone() is None


def test_works_share_no_arguments(encoder: CallEncoder) -> None:
    shared = [1]
    first = arrives(encoder, add, shared)
    second = arrives(encoder, add, shared)
    assert first[1][0] is not second[1][0]


def test_closures_share_nothing_in_the_worker(encoder: CallEncoder) -> None:
    seen: list[int] = []

    def remember(x: int) -> int:
        seen.append(x)
        return len(seen)

    assert [result(encoder, remember, 1), result(encoder, remember, 2)] == [1, 1]
    assert seen == []


# -- what cannot be pickled -----------------------------------------------------------------


class Stubborn:
    """Cannot be pickled, by whomever."""

    def __reduce__(self) -> Any:
        raise TypeError("I stay here")

    def method(self) -> None: ...

    def __call__(self) -> None: ...


def refusal(encoder: CallEncoder, work: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(SerializationError) as caught:
        encoder.encode(work, args, kwargs)
    assert caught.value.__cause__ is not None
    return str(caught.value)


def test_an_argument_that_cannot_be_pickled_is_named_with_the_cure(encoder: CallEncoder) -> None:
    message = refusal(encoder, add, 1, Stubborn())
    assert "argument 1 of" in message
    assert "add cannot be pickled: TypeError: I stay here" in message
    assert "ThreadAsyncPoolExecutor" in message


def test_a_keyword_argument_that_cannot_be_pickled_is_named(encoder: CallEncoder) -> None:
    assert "argument 'z' of" in refusal(encoder, add, 1, z=[Stubborn()])


@pytest.mark.parametrize(
    "work", [Stubborn(), Stubborn().method, functools.partial(add, Stubborn())]
)
def test_a_work_that_cannot_be_pickled_is_named(encoder: CallEncoder, work: Any) -> None:
    assert refusal(encoder, work).startswith("the work of ")


def test_a_closure_over_something_that_cannot_be_pickled_is_named(encoder: CallEncoder) -> None:
    lock = threading.Lock()
    message = refusal(encoder, lambda: lock)
    assert message.startswith("the work of ")
    assert "lock" in message


def test_real_things_that_cannot_be_pickled_are_refused(encoder: CallEncoder) -> None:
    with Path(__file__).open("rb") as file:
        assert "argument 0" in refusal(encoder, add, file)
    assert "argument 0" in refusal(encoder, add, threading.Lock())
    assert "argument 0" in refusal(encoder, add, (i for i in ()))


def test_a_nesting_too_deep_is_refused(encoder: CallEncoder) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert "argument 0" in refusal(encoder, add, deep)
    while deep:  # free it without recursion
        deep = deep[0]


class Moody:
    """Can be pickled every other time."""

    calls = 0

    def __reduce__(self) -> Any:
        Moody.calls += 1
        if Moody.calls <= 2:  # once for each of the two picklers
            raise TypeError("not now")
        return Moody, ()


def test_without_a_culprit_the_call_is_named(encoder: CallEncoder) -> None:
    message = refusal(encoder, add, Moody())
    assert message.startswith("the call of ")
    assert "not now" in message


def test_one_that_was_refused_harms_nobody_else(encoder: CallEncoder) -> None:
    refusal(encoder, add, Stubborn())
    assert result(encoder, add, 1, 2) == 3


class BadSetstate:
    def __setstate__(self, state: Any) -> None:
        raise RuntimeError("not here")

    def __getstate__(self) -> Any:
        return 1


def test_a_call_that_cannot_be_unpickled_says_the_cure(encoder: CallEncoder) -> None:
    with pytest.raises(SerializationError, match=r"RuntimeError: not here.*importable"):
        arrives(encoder, add, BadSetstate())
    with pytest.raises(SerializationError, match="importable"):
        decoded({1: b"cno.such.module\nfunction\n."}, 1, ())
    with pytest.raises(SerializationError, match="importable"):
        arrives(encoder, BadSetstate().__class__, BadSetstate())


# -- __main__ -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "importable"),
    [
        ({"__spec__": ModuleSpec("a.b", None), "__file__": None}, True),  # python -m a.b
        ({"__spec__": ModuleSpec("a.__main__", None), "__file__": __file__}, False),  # -m a
        ({"__spec__": ModuleSpec("__main__", None), "__file__": __file__}, False),  # a zip file
        ({"__spec__": None, "__file__": __file__}, True),  # python script.py
        ({"__spec__": None, "__file__": "<stdin>"}, False),
        ({"__spec__": None}, False),  # python -c, a REPL
    ],
)
def test_whether_a_worker_can_import_main(
    monkeypatch: pytest.MonkeyPatch, attributes: dict[str, Any], importable: bool
) -> None:
    main = types.ModuleType("__main__")
    vars(main).update(attributes)
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert is_importable(path_of_main()) is importable


def test_the_file_of_main_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter deletes its name when the script has ended, and threads may go on."""
    main = types.ModuleType("__main__")
    monkeypatch.setattr(main, "__file__", __file__, raising=False)
    monkeypatch.setitem(sys.modules, "__main__", main)
    path = path_of_main()
    monkeypatch.delattr(main, "__file__")
    assert is_importable(path)


def test_the_file_of_main_is_told_while_a_process_starts_whatever_becomes_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """See decision 31: the module's own dictionary is not touched, and may change meanwhile."""
    main = types.ModuleType("__main__")
    vars(main)["__file__"] = "program.py"
    monkeypatch.setitem(sys.modules, "__main__", main)
    with importable_main("program.py"):
        del vars(main)["__file__"]  # as the interpreter does at the end of the script
        assert main.__file__ == "program.py"
    assert not hasattr(main, "__file__")
    vars(main)["__file__"] = "<stdin>"
    with importable_main(None):
        assert not hasattr(main, "__file__")
    assert main.__file__ == "<stdin>"
    assert type(main) is types.ModuleType


def test_without_a_main_there_is_none_to_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "__main__")
    assert not is_importable(path_of_main())


@pytest.fixture
def encoder_by_value(monkeypatch: pytest.MonkeyPatch) -> CallEncoder:
    """An encoder whose ``__main__`` no worker can import; this module plays its part."""
    main = types.ModuleType("__main__")
    exec("def double(x): return 2 * x\nclass Item: pass", vars(main))
    monkeypatch.setitem(sys.modules, "__main__", main)
    return CallEncoder(main_by_value=True)


def test_a_function_of_such_a_main_travels_whole(
    encoder_by_value: CallEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    main: Any = sys.modules["__main__"]
    calls = [sends(encoder_by_value, main.double, (21,), {}) for _ in range(2)]
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))  # the worker's
    for call in calls:
        work, args, kwargs = decoded(*frame(call))
        assert work(*args, **kwargs) == 42


def test_an_object_of_such_a_main_travels_with_its_class(
    encoder_by_value: CallEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    main: Any = sys.modules["__main__"]
    call = sends(encoder_by_value, type, (main.Item(),), {})
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
    work, args, _ = decoded(*frame(call))
    assert work(*args).__name__ == "Item"


def test_what_a_main_holds_that_no_worker_can_import_travels_by_value() -> None:
    """A worker has another ``__main__``: here, a second program reads what the first wrote."""
    code = """
import sys
from aplex._wire.calls import CallEncoder
class Item:
    def __init__(self, x): self.x = x
def double(item): return 2 * helper(item)
def helper(item): return item.x
encoder = CallEncoder(main_by_value=True)
import pickle
calls = [
    encoder.encode(double, (Item(21),), {}),
    encoder.encode(len, ("__main__",), {}),
    encoder.encode(max, ([1, 2], [3]), {"key": lambda x: x[0]}),
]
sent = [(encoder.definitions(set(), [function]), function, call) for function, call in calls]
sys.stdout.buffer.write(pickle.dumps(sent))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=30)
    assert run.stderr == b""
    results = []
    for call in pickle.loads(run.stdout):
        work, args, kwargs = decoded(*call)
        results.append(work(*args, **kwargs))
    assert results == [42, 8, [3]]


# -- results --------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, 1, "text", b"bytes", 1.5, True, 2j])
def test_a_small_atom_is_no_pickle(value: Any) -> None:
    assert is_atom(value)


@pytest.mark.parametrize(
    "value", [[1], Point, {"a": (1,)}, "x" * BIG, b"x" * BIG], ids=lambda v: repr(v)[:9]
)
def test_a_result_arrives_as_it_was(value: Any) -> None:
    assert not is_atom(value)
    data = encode_value(value)
    assert decode_value(frame(data)) == value


def test_a_big_result_travels_as_a_buffer() -> None:
    data = encode_value(b"x" * BIG)
    assert isinstance(data, pickle.PickleBuffer)


def test_a_lambda_is_a_result() -> None:
    data = encode_value(lambda: 7)
    assert decode_value(data)() == 7


def test_a_result_that_cannot_be_pickled_says_its_type_and_the_cure() -> None:
    with pytest.raises(
        SerializationError, match=r"type Stubborn.*I stay here.*plain data"
    ) as caught:
        encode_value(Stubborn())
    assert isinstance(caught.value.__cause__, TypeError)


class Exiting:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        raise self.error


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_a_result_whose_reduce_exits_is_its_own_error_only(error: BaseException) -> None:
    with pytest.raises(SerializationError):
        encode_value(Exiting(error))


def _exit() -> None:
    raise SystemExit(3)


class ExitingHere:
    def __reduce__(self) -> Any:
        return _exit, ()


@pytest.mark.parametrize("value", [BadSetstate(), ExitingHere()])
def test_a_result_that_cannot_be_unpickled_here_says_so(value: Any) -> None:
    data = encode_value(value)
    with pytest.raises(SerializationError, match="the work succeeded"):
        decode_value(data)


# -- what is too big ------------------------------------------------------------------------


def _no_memory() -> None:
    raise MemoryError


class TooBigHere:
    """Cannot be unpickled, for want of memory."""

    def __reduce__(self) -> Any:
        return _no_memory, ()


class TooBigToPickle:
    def __reduce__(self) -> Any:
        raise MemoryError


def test_a_want_of_memory_is_told_as_what_it_is() -> None:
    encoder, decoder = CallEncoder(), CallDecoder()
    number, call = encoder.encode(add, (TooBigHere(),), {})
    decoder.define(encoder.definitions(set(), [number]))
    result = encode_value([bytes(3 * 2**20), TooBigHere()])
    with pytest.raises(SerializationError) as unpickled:
        decode_value(result)
    with pytest.raises(SerializationError) as argument:
        decoder.decode(number, call)
    with pytest.raises(SerializationError) as pickled:
        encode_value(TooBigToPickle())
    with pytest.raises(SerializationError) as sent:
        CallEncoder().encode(add, (TooBigToPickle(),), {})
    assert "succeeded, but there is not enough memory here for its result (pickled, 3 MiB" in str(
        unpickled.value
    )
    assert "the worker has not enough memory for the arguments" in str(argument.value)
    assert "the worker has not enough memory to pickle the result, of type TooBig" in str(
        pickled.value
    )
    assert "not enough memory to pickle the call of" in str(sent.value)
    for caught in unpickled, argument, pickled, sent:
        assert "MemoryError" in str(caught.value)
        assert "Send less at a time" in str(caught.value)
        assert "importable" not in str(caught.value)


# -- names ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("work", "name"),
    [
        (add, f"{__name__}.add"),
        (functools.partial(functools.partial(add, 1), 2), f"{__name__}.add"),
        (Point(1).plus, f"{__name__}.Point.plus"),
        (Point(1), f"{__name__}.Point"),
        (len, "builtins.len"),
        ([].append, "list.append"),
    ],
)
def test_a_work_has_a_name_for_messages(work: Any, name: str) -> None:
    assert describe(work) == name


def test_a_message_that_cannot_be_shown_is_no_hindrance() -> None:
    class SilentError(Exception):
        def __str__(self) -> str:
            raise SystemExit

    assert calls._say(SilentError()).startswith("SilentError: (")


def test_a_handler_that_encodes_while_a_number_is_made_gets_another_one() -> None:
    """Two functions of the same number would be mixed up."""
    encoder = CallEncoder()
    numbers = encoder._new_numbers
    inner: list[int] = []

    def broken_into() -> Iterator[int]:
        for number in numbers:
            encoder._new_numbers = numbers  # type: ignore[assignment]
            inner.append(encoder.encode(len, ((),), {})[0])
            inner.append(encoder.encode(abs, (1,), {})[0])
            yield number

    encoder._new_numbers = broken_into()  # type: ignore[assignment]
    outer = encoder.encode(abs, (1,), {})[0]
    assert outer == inner[1]
    assert outer != inner[0]
    assert set(encoder.definitions({0}, [outer, *inner])) == {outer, inner[0]}
