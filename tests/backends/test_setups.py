"""Logic: what workers begin with fits what becomes of the main module."""

from __future__ import annotations

import sys
import threading
import types
from pathlib import Path
from typing import Any

import pytest

from aplex._backends.process.main_module import MainModule
from aplex._backends.process.setups import Setups
from aplex._common.errors import SerializationError

UNGUARDED = "use()\n"
GUARDED = "if __name__ == '__main__':\n    use()\n"


class Program:
    """A main module in the place of ours, which calls a function at its last line."""

    def __init__(self, path: Path, text: str) -> None:
        path.write_text(text)
        self.module: Any = types.ModuleType("__main__")
        self.module.__file__ = str(path)
        self.module.setup = _named("setup", "def setup():\n    return 7\n", self.module)
        self._code = compile(text, str(path), "exec")

    def run(self, use: Any) -> None:
        self.module.use = use
        exec(self._code, vars(self.module))


def _named(name: str, text: str, module: types.ModuleType) -> Any:
    exec(text, vars(module))
    return vars(module)[name]


@pytest.fixture
def unguarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    program = Program(tmp_path / "unguarded.py", UNGUARDED)
    monkeypatch.setitem(sys.modules, "__main__", program.module)
    return program


@pytest.fixture
def guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    program = Program(tmp_path / "guarded.py", GUARDED)
    monkeypatch.setitem(sys.modules, "__main__", program.module)
    return program


def parts(function: Any, *arguments: Any) -> tuple[Any, Any, Any, Any]:
    return None, function, arguments, None


def decided(setups: Setups, main: MainModule) -> Any:
    """Return the initializer that workers get, with its arguments, and whether by value."""
    packed = setups.decide(main) or setups.first
    in_worker = types.ModuleType("__main__")
    real, sys.modules["__main__"] = sys.modules["__main__"], in_worker
    try:
        return packed.take()[1:3]
    finally:
        sys.modules["__main__"] = real


def test_where_the_main_module_can_be_imported_functions_travel_by_name(guarded: Program) -> None:
    def use() -> None:
        main = MainModule(forks=False)
        setups = Setups(parts(guarded.module.setup), main, by_fork=False)
        assert setups.decide(main) is None
        with pytest.raises(AttributeError, match="setup"):  # a bare one has none
            decided(setups, main)

    guarded.run(use)


def test_where_it_cannot_they_travel_by_value(unguarded: Program) -> None:
    """It looks so from the beginning, and is decided once."""

    def use() -> None:
        main = MainModule(forks=False)
        setups = Setups(parts(unguarded.module.setup, 3), main, by_fork=False)
        function, arguments = decided(setups, main)
        assert (function(), arguments) == (7, (3,))
        assert main.by_value
        assert setups.decide(main) is None, "that is over"

    unguarded.run(use)


def test_what_cannot_travel_by_value_fails_only_if_it_has_to(unguarded: Program) -> None:
    """A pool that is made at the top may be used under the guard."""
    unguarded.module.lock = threading.Lock()
    setup = _named("setup", "def setup():\n    return lock\n", unguarded.module)
    made: list[Any] = []

    def use() -> None:
        main = MainModule(forks=False)
        made[:] = main, Setups(parts(setup), main, by_fork=False)

    unguarded.run(use)
    main, setups = made
    with pytest.raises(SerializationError, match="lock"):
        unguarded.run(lambda: setups.decide(main))


def test_what_looked_unguarded_and_is_guarded_travels_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "first()\nif __name__ == '__main__':\n    use()\n"
    program = Program(tmp_path / "both.py", text)
    monkeypatch.setitem(sys.modules, "__main__", program.module)
    program.module.lock = threading.Lock()
    setup = _named("setup", "def setup():\n    return lock\n", program.module)
    made: list[Any] = []

    def first() -> None:
        main = MainModule(forks=False)
        made[:] = main, Setups(parts(setup), main, by_fork=False)

    program.module.first = first
    seen: list[Any] = []
    program.run(lambda: seen.append(made[1].decide(made[0])))
    assert seen == [None]
    assert not made[0].by_value
