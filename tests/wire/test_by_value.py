"""Functions that travel by value: which get a number, and when they travel anew."""

from __future__ import annotations

import functools
import gc
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest

from aplex._wire.by_value import FIRST, Definition, numbers_of
from aplex._wire.calls import CallDecoder, CallEncoder

PRELUDE = "import math, os, re, functools\nimport collections.abc\n"


class Notebook:
    """A ``__main__`` whose cells are run, an encoder, and a worker's decoder."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.main: Any = types.ModuleType("__main__")
        monkeypatch.setitem(sys.modules, "__main__", self.main)
        self.encoder = CallEncoder(main_by_value=True)
        self.decoder = CallDecoder()
        self.known: set[int] = set()
        self.cell(PRELUDE)

    def cell(self, text: str) -> None:
        exec(compile(text, "<cell>", "exec"), vars(self.main))

    def submit(self, text: str = "f", *args: Any) -> Any:
        """Encode a call; return what runs it in the worker."""
        function, call = self.encoder.encode(eval(text, vars(self.main)), args, {})
        return lambda: self.run(function, call)

    def run(self, function: Any, call: Any) -> Any:
        new = self.encoder.definitions(self.known, [function])
        self.decoder.define(new)
        self.known.update(new)
        self.known.difference_update([number for number, data in new.items() if data is None])
        main, sys.modules["__main__"] = self.main, types.ModuleType("__main__")
        try:
            return self.decoder.run(numbers_of([function])[0], call)
        finally:
            sys.modules["__main__"] = main

    def call(self, text: str = "f", *args: Any) -> Any:
        return self.submit(text, *args)()

    def number(self, text: str = "f") -> int:
        """Submit a function three times; return the number it has then."""
        for _ in range(3):
            function, _ = self.encoder.encode(eval(text, vars(self.main)), (), {})
        return numbers_of([function])[0]


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Notebook:
    return Notebook(monkeypatch)


NUMBERED = {
    "nothing": "def f(): return 1",
    "constants": "a, b, c = 1, 'b', (1.5, b'c', frozenset([None]))\ndef f(): return a, b, c",
    "defaults": "def f(x=1, *, y=(2, 3)): return x + y[0]",
    "a module": "def f(): return math.pi",
    "a package": "def f(): return os.path.join('a', 'b')",
    "builtins": "def f(): return len([]), print",
    "an imported function": "join = os.path.join\ndef f(): return join('a', 'b')",
    "an imported class": "C = collections.abc.Sized\ndef f(): return C",
    "a pattern": "p = re.compile('a')\ndef f(): return p.match('a')",
    "another function": "a = 1\ndef g(x=a): return a\ndef f(): return g()",
    "functions that call each other": "def g(x=0): return x and f\ndef f(): return g()",
    "a closure": "def outer(n, g):\n    return lambda: g(n)\nf = outer(1, lambda n: n)",
    "a decorator": """
def deco(f):
    @functools.wraps(f)
    def inner(): return f()
    return inner
@deco
def f(): return 1""",
    "an attribute": "def f(): return f.a\nf.a = 1",
    "variables of its own": """
def f():
    x = 1
    def g():
        nonlocal x
        x += 1
    g()
    return x""",
    "a coroutine": "async def f(): return [x async for x in y()]",
    "a class inside": "a = 1\ndef f():\n    class A:\n        b = a\n    return A.b",
    "what is missing": "def f(): return missing",
}
ANEW = {
    "a list": "a = []\ndef f(): return a",
    "a list in a tuple": "a = ([],)\ndef f(): return a",
    "a mutable default": "def f(x=[]): return x",
    "a mutable keyword default": "def f(*, x={}): return x",
    "a class of main": "class A: pass\ndef f(): return A",
    "an object": "a = type('A', (), {})()\ndef f(): return a",
    "a list in a closure": "def outer(n): return lambda: n\nf = outer([])",
    "an empty cell": """
def outer():
    def g(): return x
    if 0: x = 1
    return g
f = outer()""",
    "a list of another function": "a = []\ndef g(): return a\ndef f(): return g()",
    "a mutable attribute": "def f(): return f.a\nf.a = []",
    "one that counts": "n = 0\ndef f():\n    global n\n    n += 1\n    return n",
    "one that deletes": "n = 0\ndef f():\n    global n\n    del n",
    "one that counts inside": "n = 0\ndef g():\n    global n\n    n += 1\ndef f(): return g()",
    "one that counts in its closure": "def outer():\n    n = 0\n    def g():\n        nonlocal n\n"
    "        n += 1\n        return n\n    return g\nf = outer()",
    "one that sees all": "def f(): return globals()['math']",
    "a module without a name": "import types\nm = types.ModuleType('nowhere')\ndef f(): return m",
    "a partial": "f = functools.partial(lambda: 1)",
}


@pytest.mark.parametrize("text", NUMBERED.values(), ids=NUMBERED)
def test_what_cannot_change_is_numbered(notebook: Notebook, text: str) -> None:
    notebook.cell(text)
    number = notebook.number()
    assert number >= FIRST
    assert notebook.number() == number


@pytest.mark.parametrize("text", ANEW.values(), ids=ANEW)
def test_what_may_change_travels_anew(notebook: Notebook, text: str) -> None:
    notebook.cell(text)
    assert notebook.number() == 0


def test_results_are_the_same_each_time(notebook: Notebook) -> None:
    notebook.cell("a = 2\ndef g(x): return a * x\ndef f(x, y=1): return g(x) + y")
    assert [notebook.call("f", x) for x in range(5)] == [1, 3, 5, 7, 9]
    assert notebook.call("lambda: g(5)") == 10


SETTER = """
def outer():
    n = 1
    def set(x):
        nonlocal n
        n = x
    return set, lambda: n
"""
CHANGES = {
    "the function": ("def f(): return 1", "def f(): return 2"),
    "the same text again": ("a = 1\ndef f(): return a", "a = 2\ndef f(): return a"),
    "a global variable": ("a = 1\ndef f(): return a", "a = 2"),
    "one that was missing": ("def f(): return len('a')", "def len(x): return 2"),
    "another function": ("def g(): return 1\ndef f(): return g()", "def g(): return 2"),
    "what that reads": ("a = 1\ndef g(): return a\ndef f(): return g()", "a = 2"),
    "its code": ("def f(): return 1", "f.__code__ = (lambda: 2).__code__"),
    "the code of another": (
        "def g(): return 1\ndef f(): return g()",
        "g.__code__ = (lambda: 2).__code__",
    ),
    "its defaults": ("def f(x=1): return x", "f.__defaults__ = (2,)"),
    "its keyword defaults": ("def f(*, x=1): return x", "f.__kwdefaults__['x'] = 2"),
    "those of another": ("def g(x=1): return x\ndef f(): return g()", "g.__defaults__ = (2,)"),
    "its attribute": ("def f(): return f.a\nf.a = 1", "f.a = 2"),
    "the attribute of another": ("def g(): 0\ng.a = 1\ndef f(): return g.a", "g.a = 2"),
    "its closure": (
        SETTER + "set, f = outer()",
        "set(2)",
    ),
    "the closure of another": (
        SETTER + "set, g = outer()\ndef f(): return g()",
        "set(2)",
    ),
}


@pytest.mark.parametrize(("before", "change"), CHANGES.values(), ids=CHANGES)
def test_a_change_is_seen_at_the_next_submit_and_not_before(
    notebook: Notebook, before: str, change: str
) -> None:
    notebook.cell(before)
    for _ in range(3):
        assert notebook.call() == 1
    waiting = notebook.submit()
    notebook.cell(change)
    for _ in range(4):
        assert notebook.call() == 2
    assert waiting() == 1, "it was captured at submit"


def test_a_new_attribute_is_seen(notebook: Notebook) -> None:
    notebook.cell("def f(): return getattr(f, 'a', 1), getattr(g, 'a', 1)\ndef g(): 0")
    assert notebook.number() >= FIRST
    assert notebook.call() == (1, 1)
    notebook.cell("f.a = g.a = 2")
    assert notebook.call() == (2, 2)


def test_a_module_that_is_imported_later_travels_with_its_package(notebook: Notebook) -> None:
    notebook.cell("import xml\ndef f(): return xml.sax.handler.__name__")
    sys.modules.pop("xml.sax.handler", None)
    first = notebook.number()
    notebook.cell("import xml.sax.handler")
    assert notebook.number() not in (0, first)


def test_functions_of_one_code_have_numbers_of_their_own(notebook: Notebook) -> None:
    notebook.cell("def times(n): return lambda x: n * x\nf, g = times(2), times(3)")
    for x in range(4):
        assert (notebook.call("f", x), notebook.call("g", x)) == (2 * x, 3 * x)
    assert notebook.number("f") != notebook.number("g")


def test_a_lambda_in_a_loop_has_one_number(notebook: Notebook) -> None:
    notebook.cell("def make(n=5): return lambda: n")
    assert notebook.number("make()") == notebook.number("make()") >= FIRST


def test_one_that_always_differs_stays_without_a_number(notebook: Notebook) -> None:
    notebook.cell("def make(n): return lambda: n")
    for n in range(1000, 1200):
        assert notebook.call(f"make({n})") == n
    assert notebook.known <= {0}


def test_what_is_registered_to_travel_by_value_is_not_numbered(notebook: Notebook) -> None:
    import cloudpickle

    cloudpickle.register_pickle_by_value(functools)
    try:
        notebook.cell("def f(): return 1")
        assert notebook.number() == 0
    finally:
        cloudpickle.unregister_pickle_by_value(functools)
    assert notebook.number() >= FIRST


def test_a_notebook_that_redefines_for_ever_stays_small(notebook: Notebook) -> None:
    for n in range(2000):
        notebook.cell(f"def f(): return {n}")
        for _ in range(3):
            assert notebook.call() == n
    gc.collect()
    values = notebook.encoder._values
    assert len(values._codes) <= 256
    assert len(values.alive) <= 256
    assert len(notebook.known) <= 3 * 256 + 32
    assert len(notebook.decoder._functions) <= len(notebook.known)
    assert len(notebook.decoder._pickled) <= len(notebook.known)


def test_a_definition_lives_as_long_as_works_need_it(notebook: Notebook) -> None:
    notebook.cell("a = 0\ndef f(): return a")
    notebook.number()
    waiting = []
    for n in range(50):
        notebook.cell(f"a = {n}")
        notebook.number()
        waiting.append(notebook.submit())
    assert [call() for call in waiting] == list(range(50))


def test_a_signal_handler_may_submit_the_same(
    notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It breaks into the pickling of a definition."""
    notebook.cell("def f(): return 1")
    values = notebook.encoder._values
    pickle_: Callable[[Any], bytes] = values._pickle
    broken_into = []

    def pickle_slowly(work: Any) -> bytes:
        if not broken_into:
            broken_into.append(True)
            assert notebook.call() == 1
        return pickle_(work)

    monkeypatch.setattr(values, "_pickle", pickle_slowly)
    for _ in range(4):
        assert notebook.call() == 1
    assert broken_into


def test_one_that_changes_while_it_is_pickled_travels_anew(
    notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook.cell("a = 0\ndef f(): return a")
    values = notebook.encoder._values
    pickle_: Callable[[Any], bytes] = values._pickle

    def pickle_slowly(work: Any) -> bytes:
        notebook.main.a += 1
        return pickle_(work)

    monkeypatch.setattr(values, "_pickle", pickle_slowly)
    assert notebook.number() == 0


def test_what_cannot_be_pickled_is_told_each_time(notebook: Notebook) -> None:
    from aplex.exceptions import SerializationError

    notebook.cell("import threading\nlock = threading.Lock()\ndef f(): return lock")
    for _ in range(3):
        with pytest.raises(SerializationError, match="'lock', which f uses"):
            notebook.submit()


def test_numbers_are_those_of_definitions() -> None:
    alive: set[int] = set()
    definition = Definition(7, b"", alive)
    assert numbers_of([1, definition, 0]) == [1, 7, 0]
    assert alive == {7}
    del definition
    assert alive == set()
