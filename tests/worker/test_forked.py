"""Logic: what a process that was forked from a template, and the template itself, take over."""

from __future__ import annotations

import os
import sys
import threading
import types
from collections.abc import Callable
from multiprocessing import util
from pathlib import Path
from typing import Any

import pytest

from aplex._worker import beginning, forked

ENDS: dict[str, tuple[BaseException | None, int, str]] = {
    "returns": (None, 0, ""),
    "leaves": (SystemExit(), 0, ""),
    "leaves with a code": (SystemExit(3), 3, ""),
    "leaves with a word": (SystemExit("no"), 1, "no\n"),
    "raises": (LookupError("a bug"), 1, "LookupError: a bug\n"),
}


@pytest.mark.parametrize("end", list(ENDS))
@pytest.mark.parametrize("has_util", [True, False], ids=["multiprocessing.util", "without"])
def test_a_worker_ends_as_a_process_of_multiprocessing(
    end: str,
    has_util: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What works have registered there runs first; then threads are waited for."""
    error, code, said = ENDS[end]
    steps: list[str] = []
    monkeypatch.setattr(threading, "_shutdown", lambda: steps.append("threads"))
    monkeypatch.setattr(util, "_exit_function", lambda: steps.append("finalizers"))
    if not has_util:
        monkeypatch.delitem(sys.modules, "multiprocessing.util")

    def run() -> None:
        steps.append("run")
        if error is not None:
            raise error

    assert forked._outcome_of(types.SimpleNamespace(run=run)) == code
    assert steps == ["run", *(["finalizers"] if has_util else []), "threads"]
    err = capsys.readouterr().err
    assert err.endswith(said) if said else err == ""


def test_the_environment_becomes_that_of_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KEPT", "CHANGED", "GONE"):
        monkeypatch.setenv(name, "before")
    wanted = {**os.environ, "CHANGED": "after", "NEW": "new"}
    del wanted["GONE"]
    monkeypatch.setenv("NEW", "")  # so that it is taken away again
    forked._take_environment(wanted)
    assert dict(os.environ) == wanted


def test_numpy_gets_a_seed_of_its_own_if_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    seeded: list[None] = []
    monkeypatch.setitem(
        sys.modules, "numpy.random", types.SimpleNamespace(seed=lambda: seeded.append(None))
    )
    forked._reseed()
    assert len(seeded) == 1
    monkeypatch.delitem(sys.modules, "numpy.random")
    forked._reseed()


def test_a_stream_that_cannot_be_flushed_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[str] = []

    def fail() -> None:
        raise ValueError("closed")

    monkeypatch.setattr(sys, "stdout", types.SimpleNamespace(flush=fail))
    monkeypatch.setattr(sys, "stderr", types.SimpleNamespace(flush=lambda: flushed.append("err")))
    forked.flush()
    assert flushed == ["err"]


# -- the main module ------------------------------------------------------------------------


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The main module of a new interpreter."""
    module = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    monkeypatch.setitem(sys.modules, "__mp_main__", module)
    return module


By = Callable[[Path, str], tuple[str | None, str | None]]


@pytest.mark.parametrize(
    "by",
    [lambda path, _: (None, str(path)), lambda path, name: (name, str(path))],
    ids=["path", "name"],
)
def test_the_main_module_is_imported_under_another_name(
    main: types.ModuleType, by: By, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "program_of_the_parent.py"
    path.write_text("seen = __name__\ndef work():\n    return seen\n")
    beginning.import_main(*by(path, path.stem))
    imported: Any = sys.modules["__main__"]
    assert imported is sys.modules["__mp_main__"] is not main
    assert (imported.__name__, imported.work()) == ("__mp_main__", "__mp_main__")


@pytest.mark.parametrize("path", [None, "/usr/bin/ipython"])
def test_some_main_modules_are_not_imported(main: types.ModuleType, path: str | None) -> None:
    """Those without a file, and that of IPython, which has no guard."""
    beginning.import_main(None, path)
    assert sys.modules["__main__"] is main


def test_standard_input_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    beginning._close_stdin()
    assert sys.stdin is None
    reader, writer = os.pipe()
    os.write(writer, b"for the parent\n")
    os.close(writer)
    monkeypatch.setattr(sys, "stdin", os.fdopen(reader))
    beginning._close_stdin()
    assert sys.stdin.read() == ""
    os.close(sys.stdin.fileno())
