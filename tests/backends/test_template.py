"""The template process alone: how it is asked, fails, and ends. Real processes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aplex._backends.process import template as module
from aplex._backends.process.forker import AVAILABLE
from aplex._backends.process.forker_errors import TemplateFailed, TemplateLost, TemplateThreads
from aplex._backends.process.main_module import MainModule
from aplex._backends.process.template import UNKNOWN, Template, TemplateProcess
from aplex._wire.counters import Progress

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="there are no templates here")

DEADLINE = 20.0  # seconds

Make = Callable[[str], Template]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes templates that import a text; they are closed at the end."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made: list[Template] = []

    def make(text: str) -> Template:
        name = f"preloaded_{tmp_path.name}_{len(made)}".replace("-", "_")
        (tmp_path / f"{name}.py").write_text(text)
        main = MainModule(forks=False)
        main.path, main.by_value = None, True
        made.append(Template("pool", main, [name]))
        made[-1].start()
        return made[-1]

    yield make
    for each in made:
        each.kill()
        each.close()


@contextlib.contextmanager
def worker(
    template: Template, target: Callable[..., object], *args: object
) -> Iterator[TemplateProcess]:
    """A process that it has forked; has ended, and is freed, afterwards."""
    progress = Progress()
    process = TemplateProcess(template, target=target, args=(args, progress), name="pool-1")
    process.start()
    try:
        yield process
    finally:
        process.join(DEADLINE)
        os.close(process.popen.pidfd)
        process.close()
        progress.close()


def leaves(args: tuple[int], _progress: Progress) -> None:
    """Be a worker that leaves with an exit code."""
    os._exit(*args)


def waits(args: tuple[Path], _progress: Progress) -> None:
    """Be a worker that has begun, as it says by a named pipe, and waits for a signal."""
    args[0].write_text("begun")
    signal.pause()


def fails(_args: tuple[()], _progress: Progress) -> None:
    """Be a worker with a bug."""
    raise LookupError("a bug")


def says(args: tuple[object], _progress: Progress) -> None:
    """Be a worker that leaves as a program may."""
    raise SystemExit(*args)


# -- its workers ----------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 7])
def test_how_a_worker_has_ended_is_known(make: Make, code: int) -> None:
    template = make("")
    with worker(template, leaves, code) as process:
        process.join(DEADLINE)
        assert process.exitcode == code
    assert template.is_ready


@pytest.mark.parametrize(("value", "code"), [(None, 0), (3, 3), ("no", 1)])
def test_a_worker_that_leaves_as_a_program_does(make: Make, value: object, code: int) -> None:
    with worker(make(""), says, value) as process:
        process.join(DEADLINE)
        assert process.exitcode == code


def test_a_worker_with_a_bug_ends_with_its_traceback(
    make: Make, capfd: pytest.CaptureFixture[str]
) -> None:
    with worker(make(""), fails) as process:
        process.join(DEADLINE)
        assert process.exitcode == 1
    assert "LookupError: a bug" in capfd.readouterr().err


def test_a_signal_is_told_as_multiprocessing_tells_it(make: Make, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    os.mkfifo(begun)
    with worker(make(""), waits, begun) as process:
        assert process.exitcode is None
        process.kill()
        process.join(DEADLINE)
        assert process.exitcode == -signal.SIGKILL


def test_without_its_template_a_worker_lives_on_and_nobody_knows_how_it_has_ended(
    make: Make, tmp_path: Path
) -> None:
    template = make("")
    begun = tmp_path / "begun"
    os.mkfifo(begun)
    with worker(template, waits, begun) as process:
        assert begun.read_text() == "begun"
        template.kill()
        template.close()
        assert process.exitcode is None
        process.kill()
        process.join(DEADLINE)
        assert process.exitcode == UNKNOWN


# -- its failures ---------------------------------------------------------------------------


def test_an_import_that_fails_is_told_with_its_traceback(make: Make) -> None:
    template = make("raise LookupError('no model')")
    with pytest.raises(TemplateFailed, match="its last words: LookupError: no model") as caught:
        template.fork("pool-1", [])
    assert "preloaded_" in str(caught.value.__cause__)
    with pytest.raises(TemplateLost, match="was closed"):
        template.fork("pool-1", [])


def test_threads_are_named(make: Make) -> None:
    template = make(
        "import threading\n"
        "threading.Thread(target=threading.Event().wait, name='ticker', daemon=True).start()"
    )
    with pytest.raises(TemplateThreads, match=r"^ticker$"):
        template.fork("pool-1", [])


def test_threads_that_python_does_not_know_are_named_as_the_system_does(make: Make) -> None:
    template = make(
        "import _thread, pathlib, time\n"
        "def run():\n"
        "    pathlib.Path('/proc/thread-self/comm').write_text('hidden')\n"
        "    began.append(1)\n"
        "    time.sleep(1000)\n"
        "began = []\n"
        "_thread.start_new_thread(run, ())\n"
        "while not began:\n"
        "    time.sleep(0.001)\n"
    )
    with pytest.raises(TemplateThreads, match=r"^hidden$"):
        template.fork("pool-1", [])


def test_an_end_before_it_was_ready_is_told(make: Make) -> None:
    template = make("import os; os._exit(3)")
    with pytest.raises(TemplateLost, match=r"exited with code 3 before it was ready$"):
        template.fork("pool-1", [])


def test_a_crash_is_told_with_its_stack(make: Make) -> None:
    template = make("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(TemplateLost, match="exited with code -11 before it was ready; ") as caught:
        template.fork("pool-1", [])
    assert "Segmentation fault" in caught.value.__notes__[0]


def test_it_may_be_unable_to_fork_and_able_later(make: Make, tmp_path: Path) -> None:
    mark = tmp_path / "free"
    template = make(
        "import os\n"
        "real = os.fork\n"
        "def fork():\n"
        f"    if os.path.exists({str(mark)!r}):\n"
        "        return real()\n"
        "    raise BlockingIOError(11, 'no more processes')\n"
        "os.fork = fork\n"
    )
    with pytest.raises(RuntimeError, match=r"cannot fork: .*no more processes"):
        with worker(template, leaves, 0):
            pass
    mark.touch()
    with worker(template, leaves, 5) as process:
        process.join(DEADLINE)
        assert process.exitcode == 5


# -- its end --------------------------------------------------------------------------------

ENDS = """
import os, pathlib
real = os._exit
def leave(code):
    pathlib.Path({!r}).write_text(f"left with {{code}}")
    real(code)
os._exit = leave
"""


def ready(template: Template) -> None:
    with worker(template, leaves, 0):
        pass


def test_it_ends_by_itself(make: Make, tmp_path: Path) -> None:
    """So tools that measure, as coverage, save what they have."""
    said = tmp_path / "said"
    template = make(ENDS.format(str(said)))
    with worker(template, leaves, 0):
        said.unlink(missing_ok=True)  # that was the worker's
    said.unlink(missing_ok=True)
    template.close()
    assert said.read_text() == "left with 0"
    template.close()  # once more does nothing


def test_it_ends_by_itself_though_a_forked_child_has_a_copy_of_its_channel(
    make: Make, tmp_path: Path
) -> None:
    said = tmp_path / "said"
    template = make(ENDS.format(str(said)))
    ready(template)
    said.unlink(missing_ok=True)
    assert template._control is not None
    copy = socket.socket(fileno=os.dup(template._control.fileno()))
    template.close()
    copy.close()
    assert said.read_text() == "left with 0"


def test_one_that_does_not_hear_is_killed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    template = make("")
    ready(template)
    monkeypatch.setattr(module, "LONGEST_END", 0.05)
    pid = template._pid
    os.kill(pid, signal.SIGSTOP)
    template.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_one_that_still_imports_is_killed_at_once(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST_END", 1000.0)
    template = make("import time; time.sleep(1000)")
    pid = template._pid
    began = time.monotonic()
    template.close()
    assert time.monotonic() - began < DEADLINE
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_what_a_forked_child_gives_up_harms_nothing(make: Make) -> None:
    """It closes its copies; the parent goes on."""
    template = make("")
    ready(template)
    child = os.fork()
    if child == 0:
        template.abandon()
        template.close()
        template.kill()
        os._exit(0 if template._control is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with worker(template, leaves, 4) as process:
        process.join(DEADLINE)
        assert process.exitcode == 4
