"""Logic: which lines of a module run only if it is the main module."""

from __future__ import annotations

import ast
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from aplex._backends.process.main_module import MainModule, importable_main
from aplex._backends.process.top_level import is_guarded, is_line_guarded

SOURCE = """\
x = 1 # no
if __name__ == "__main__":
    x = 2 # yes
    for y in x:
        f(y) # yes
else:
    x = 3 # no
if "__main__" == __name__ and x:
    x = 4 # yes
elif x:
    x = 5 # no
if x or __name__ == "__main__":
    x = 6 # no
if not __name__ == "__main__":
    x = 7 # no
else:
    x = 8 # yes
if __name__ != "__main__" or x:
    x = 9 # no
else:
    x = 10 # yes
try:
    x = 11 # no
except E:
    if __name__ == "__main__":
        x = 12 # yes
finally:
    x = 13 # no
with x:
    if __name__ == "__main__": x = 14 # yes
match x:
    case 1:
        if __name__ == "__main__":
            x = 15 # yes
        x = 16 # no
def f():
    if __name__ == "__main__":
        x = 17 # no
@f( # no
    x # no
)
class A:
    x = 18 # no
if __name__ == "other":
    x = 19 # no
if x == "__main__":
    x = 20 # no
if "__main__" < __name__ < "a":
    x = 21 # no
"""


@pytest.mark.parametrize(
    ("line", "guarded"),
    [
        (number, line.endswith("yes"))
        for number, line in enumerate(SOURCE.splitlines(), 1)
        if line.endswith(("# yes", "# no"))
    ],
)
def test_a_line_is_guarded(line: int, guarded: bool) -> None:
    assert is_line_guarded(ast.parse(SOURCE), line) is guarded


def main_of(path: Path, text: str) -> types.ModuleType:
    path.write_text(text)
    main = types.ModuleType("__main__")
    vars(main).update(__file__=str(path), __spec__=None)
    return main


def run(main: Any, name: str | None = None) -> None:
    text = Path(main.__file__).read_text()
    exec(compile(text, name or main.__file__, "exec"), vars(main))


@pytest.mark.parametrize("guarded", [True, False])
def test_the_line_is_found_on_the_stack(tmp_path: Path, guarded: bool) -> None:
    head = "if __name__ == '__main__':\n    " if guarded else ""
    main: Any = main_of(tmp_path / "a.py", f"found = []\n{head}exec('found.append(look())')\n")
    main.look = lambda: is_guarded(main, main.__file__)
    run(main)
    assert main.found == [guarded]


def test_a_module_that_has_ended_is_importable_if_it_has_a_guard_at_all(tmp_path: Path) -> None:
    main = main_of(tmp_path / "a.py", "x = 1\n")
    assert not is_guarded(main, str(tmp_path / "a.py"))
    main = main_of(tmp_path / "b.py", "try:\n    pass\nfinally:\n    if __name__ == '__main__': x")
    assert is_guarded(main, str(tmp_path / "b.py"))


def test_what_cannot_be_read_is_believed_to_be_importable(tmp_path: Path) -> None:
    main = main_of(tmp_path / "a.py", "no python")
    assert is_guarded(main, str(tmp_path / "a.py"))
    assert is_guarded(main, str(tmp_path / "none.py"))


def test_code_of_a_shell_is_not_the_file_of_main(tmp_path: Path) -> None:
    main: Any = main_of(tmp_path / "a.py", "if __name__ == '__main__':\n    found = look()\n")
    main.look = lambda: is_guarded(main, main.__file__)
    run(main, "<cell>")
    assert main.found is False


@pytest.mark.parametrize("forks", [True, False])
def test_it_is_decided_once(tmp_path: Path, forks: bool, monkeypatch: Any) -> None:
    main = main_of(tmp_path / "a.py", "decide()\nagain()")
    monkeypatch.setitem(sys.modules, "__main__", main)
    module = MainModule(forks=forks)
    seen: list[Any] = []
    vars(main).update(
        decide=lambda: seen.append(module.decide()), again=lambda: seen.append(module.decide())
    )
    assert not module.by_value
    run(main)
    assert seen == [not forks] * 2
    assert module.path == (main.__file__ if forks else None)


def test_a_frozen_main_is_never_imported(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "__main__", main_of(tmp_path / "a.py", ""))
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert MainModule(forks=False).by_value


def test_a_main_that_is_not_imported_has_no_name_for_children(monkeypatch: Any) -> None:
    main: Any = types.ModuleType("__main__")
    main.__spec__ = types.SimpleNamespace(name="a.b")
    main.__file__ = __file__
    monkeypatch.setitem(sys.modules, "__main__", main)
    with importable_main(None):
        assert main.__spec__ is None
        assert not hasattr(main, "__file__")
    assert main.__spec__.name == "a.b"
    with importable_main(__file__):
        assert main.__spec__.name == "a.b"
