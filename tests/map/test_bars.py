"""Bars of tqdm: in a terminal, in a pipe, in a notebook."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aplex import ThreadAsyncPoolExecutor
from tests.support.terminals import Terminal

SLOW_FIRST = """
import sys, threading, time
from aplex import ThreadAsyncPoolExecutor
gate = threading.Event()
def work(number):
    if number == 0:
        assert gate.wait(60)
    if number == 3:
        raise ValueError
    return number
with ThreadAsyncPoolExecutor(4, max_works_per_worker=8) as pool:
    results = pool.map(work, range(20), progress="working", return_outcomes=True)
    sys.stdin.readline()
    gate.set()
    list(results)
"""

TWO_POOLS = """
import sys, threading
from aplex import ThreadAsyncPoolExecutor
from aplex.progress import as_completed
gates = [threading.Event(), threading.Event()]
def work(which, number):
    assert number < 3 or gates[which].wait(60)
with ThreadAsyncPoolExecutor(1) as one, ThreadAsyncPoolExecutor(1) as other:
    first = one.map(work, [0] * 5, range(5), progress="one")
    futures = [other.submit(work, 1, number) for number in range(4)]
    second = as_completed(futures, "other")
    for gate, results in zip(gates, (first, second)):
        sys.stdin.readline()
        gate.set()
        list(results)
    sys.stdin.readline()
"""

RETRIED = """
from aplex import ThreadAsyncPoolExecutor
tries = []
def work(number):
    tries.append(number)
    if tries.count(number) == 1:
        raise OSError
with ThreadAsyncPoolExecutor(1) as pool:
    view = pool.options(retry_on=OSError, backoff=0)
    list(view.map(work, range(2), progress=True))
"""

AWAITED = """
import asyncio
from aplex import ThreadAsyncPoolExecutor
from aplex.progress import as_completed
async def main():
    async with ThreadAsyncPoolExecutor(1, awaitable=True) as pool:
        async for future in as_completed([pool.submit(abs, -1) for _ in range(7)], "awaited"):
            await future
asyncio.run(main())
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return tmp_path / "program.py"


@pytest.fixture
def terminal(program: Path, request: pytest.FixtureRequest) -> Iterator[Terminal]:
    program.write_text(request.param)
    terminal = Terminal([str(program)], columns=100)
    yield terminal
    terminal.close()


def _lines(terminal: Terminal) -> list[str]:
    return [line for line in terminal.lines if "%|" in line]


@pytest.mark.parametrize("terminal", [SLOW_FIRST], indirect=True)
def test_a_bar_does_not_wait_for_the_first_item(terminal: Terminal) -> None:
    """Though those behind it are done within a moment, which is one drawing."""
    text = terminal.wait_until(lambda text: "19/20" in text)
    assert "working:  95%|" in text
    assert "1 failed" in text
    terminal.press("\n")
    assert terminal.finish() == 0
    assert "20/20" in _lines(terminal)[-1]


@pytest.mark.parametrize("terminal", [TWO_POOLS], indirect=True)
def test_bars_of_two_pools_stand_one_below_the_other(terminal: Terminal) -> None:
    terminal.wait_until(lambda text: "3/5" in text and "3/4" in text)
    assert [line.partition(":")[0] for line in _lines(terminal)] == ["one", "other"]
    terminal.press("\n")
    text = terminal.wait_until(lambda text: "5/5" in text and "3/4" in text)
    assert text.index("one:") < text.index("other:")
    terminal.press("\n")
    text = terminal.wait_until(lambda text: "5/5" in text and "4/4" in text)
    assert text.index("one:") < text.index("other:")
    terminal.press("\n")
    assert terminal.finish() == 0


@pytest.mark.parametrize("terminal", [RETRIED], indirect=True)
def test_retries_are_shown(terminal: Terminal) -> None:
    assert terminal.finish() == 0
    (line,) = _lines(terminal)
    assert "2/2" in line
    assert "2 retried" in line


@pytest.mark.parametrize("terminal", [AWAITED], indirect=True)
def test_futures_that_are_awaited_have_a_bar(terminal: Terminal) -> None:
    assert terminal.finish() == 0
    (line,) = _lines(terminal)
    assert line.startswith("awaited: 100%|")


@pytest.mark.parametrize("variable", ["TQDM_DISABLE", "NO_COLOR"])
@pytest.mark.parametrize("terminal", [RETRIED], indirect=True, ids=[""])
def test_what_the_environment_asks_is_done(
    variable: str, program: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TQDM_COLOUR", "red")
    assert terminal.finish() == 0
    assert terminal.screen.buffer[0][10].fg == "default"
    monkeypatch.setenv(variable, "1")
    again = Terminal([str(program)], columns=100)
    try:
        assert again.finish() == 0
        assert bool(_lines(again)) == (variable == "NO_COLOR")
        cells = again.screen.buffer[0].values()
        assert {cell.fg for cell in cells} <= {"default"}
    finally:
        again.close()


def _run(program: Path, **environment: str) -> tuple[str, str]:
    ran = subprocess.run(
        [sys.executable, "-W", "error", program],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
        env={**os.environ, **environment},
    )
    return ran.stdout, ran.stderr


@pytest.mark.parametrize("code", [RETRIED, AWAITED], ids=["map", "as_completed"])
def test_in_a_pipe_there_is_nothing(code: str, program: Path) -> None:
    program.write_text(code)
    assert _run(program) == ("", "")


def test_nothing_is_started_for_a_bar(program: Path) -> None:
    """No thread that watches, and no process for a lock between processes."""
    program.write_text(
        f"""import sys, threading, multiprocessing
class Terminal:
    isatty = staticmethod(lambda: True)
    write = flush = staticmethod(lambda *_: None)
sys.stderr = Terminal()
{RETRIED}
names = {{thread.name for thread in threading.enumerate()}}
assert not [name for name in names if "Monitor" in name], names
assert "multiprocessing.synchronize" not in sys.modules
"""
    )
    assert _run(program) == ("", "")


# -- notebooks: what tqdm needs of one, and no more -------------------------------------------

KERNEL = """
class Shell:
    config = {"IPKernelApp": {}}
def get_ipython():
    return Shell
"""
WIDGETS = """
import types
class Widget:
    def __init__(self, children=(), **_):
        self.children, self.value = children, ""
        self.layout, self.style = types.SimpleNamespace(), types.SimpleNamespace()
        self.bar_style = ""
    def close(self):
        pass
FloatProgress = HBox = HTML = Widget
"""


@pytest.fixture
def notebook(tmp_path: Path, program: Path) -> Path:
    """A folder of modules that a kernel has; the program runs in it."""
    folder = tmp_path / "kernel"
    (folder / "IPython").mkdir(parents=True)
    (folder / "IPython" / "__init__.py").write_text(KERNEL)
    (folder / "IPython" / "display.py").write_text("shown = []\ndisplay = shown.append\n")
    program.write_text(
        f"""import IPython, IPython.display
{RETRIED}
for box in IPython.display.shown:
    text, bar, more = box.children
    print(bar.value, bar.bar_style, more.value.partition("[")[0].split())
"""
    )
    return folder


def test_a_notebook_has_its_own_bar(notebook: Path, program: Path) -> None:
    (notebook / "ipywidgets.py").write_text(WIDGETS)
    printed, said = _run(program, PYTHONPATH=str(notebook))
    assert printed == "2 success ['2/2']\n"
    assert said == ""


def test_without_widgets_a_notebook_has_text(notebook: Path, program: Path) -> None:
    (notebook / "ipywidgets.py").write_text("raise ImportError")
    printed, said = _run(program, PYTHONPATH=str(notebook))
    assert printed == ""
    assert "2/2" in said


def test_there_is_no_bar_where_there_is_no_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a daemon, and in a program without a console."""
    monkeypatch.setattr(sys, "stderr", None)
    with ThreadAsyncPoolExecutor(1) as pool:
        assert list(pool.map(abs, [-1, -2], progress=True)) == [1, 2]
