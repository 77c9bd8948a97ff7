"""The parent's side of the template process, which forks the workers of one pool.

Assumes: one thread at a time asks for workers, the `Starter`'s. `Template.kill` may come from
any other.
"""

from __future__ import annotations

import contextlib
import io
import marshal
import os
import pickle
import select
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from multiprocessing import popen_fork, reduction, resource_tracker, spawn, util
from multiprocessing.context import SpawnProcess, set_spawning_popen
from typing import Any, Final

from aplex._backends.process.forker_errors import (
    TemplateFailed,
    TemplateLost,
    TemplateThreads,
)
from aplex._backends.process.main_module import MainModule, importable_main, signals_blocked
from aplex._backends.process.postmortem import show_crash
from aplex._common.errors import RemoteTraceback
from aplex._wire import descriptors
from aplex._wire.counters import Progress, words_file
from aplex._wire.template import FAILED, FORKED, STATUS, STREAMS, state_of
from aplex._worker import forked
from aplex._worker.signals import SIGNALS

assert sys.platform == "linux"

PROGRAM: Final = (
    "import gc, marshal, sys; gc.disable(); beginning = open({}, 'rb'); "
    "sys.path[:] = marshal.load(beginning); "
    "from aplex._worker.template import main; main(beginning)"
)
"""What the interpreter of a template runs, with the descriptor that it reads from."""
LONGEST_END: Final = 1.0
"""Seconds that a template has for its end, in which tools like coverage write what they have."""
UNKNOWN: Final = 255
"""The exit code of a worker whose template has died, as ``multiprocessing`` has it."""


class Template:
    """A template process, which is started with the first worker, and again if it dies."""

    def __init__(self, name: str, main: MainModule, preload: Sequence[str]) -> None:
        """Start nothing yet.

        Args:
            name: Of the pool.
            main: What becomes of the main module in workers.
            preload: Names of modules to import besides.
        """
        self._name = name
        self._main = main
        self._preload = tuple(preload)
        self._control: socket.socket | None = None
        self._words: Progress | None = None  # what it says before it dies
        self._life = -1  # descriptor; closed with the template: what its ``parent_process`` sees
        self._pid = 0
        self._pidfd = -1
        self._ready = False

    def preload(self, module: str) -> None:
        """Have one more module imported, if the process was not started yet."""
        if module not in self._preload:
            self._preload = (*self._preload, module)

    def start(self) -> None:
        """Start the process, unless it is there. Returns at once; it imports meanwhile.

        Not while another process starts: the main module is changed for a moment.

        Raises:
            OSError: There are too many open files, or processes.
        """
        if self._control is not None:
            return
        with contextlib.ExitStack() as opened:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            opened.callback(ours.close)
            words = Progress(words_file())
            opened.callback(words.close)
            assert words.file is not None
            words_fd = words.file.fileno()
            reader, writer = os.pipe()
            opened.callback(os.close, writer)
            try:
                with theirs:
                    beginning = self._beginning(theirs.fileno(), words_fd)
                    self._spawn([reader, theirs.fileno(), words_fd])
            finally:
                os.close(reader)
            opened.pop_all()
        self._control, self._life, self._words, self._ready = ours, writer, words, False
        with contextlib.suppress(BrokenPipeError), open(writer, "wb", closefd=False) as life:
            life.write(beginning)  # if it has died, we hear of it

    def _spawn(self, fds: list[int]) -> None:
        """Start the interpreter, which first reads from the first of the descriptors."""
        options: list[str] = util._args_from_interpreter_flags()  # type: ignore[attr-defined] # noqa: SLF001 - as `spawn` does
        executable = os.fsencode(spawn.get_executable())
        program = PROGRAM.format(fds[0])
        command: list[str | bytes] = [executable, *options, "-c", program, "--multiprocessing-fork"]
        with signals_blocked(SIGNALS):  # until it ignores them
            self._pid = util.spawnv_passfds(executable, command, fds)
        self._pidfd = os.pidfd_open(self._pid)

    def _beginning(self, control: int, words: int) -> bytes:
        """Return what the process reads first, see `_worker.beginning`."""
        name = f"{self._name}-template"
        with importable_main(self._main.path):
            data: dict[str, Any] = spawn.get_preparation_data(name)
        said = {
            "argv": data["sys_argv"],
            "orig_dir": data["orig_dir"],
            "logging": {key: data[key] for key in data if key.startswith("log_") and data[key]},
            "main_name": data.get("init_main_from_name"),
            "main_path": data.get("init_main_from_path"),
            "preload": self._preload,
            "control": control,
            "words": words,
        }
        buffer = io.BytesIO()
        marshal.dump(data["sys_path"], buffer)
        with _spawning(_NoDescriptors()):
            reduction.dump((said, SpawnProcess(name=name)), buffer)
        return buffer.getvalue()

    def process(self, **arguments: Any) -> TemplateProcess:
        """Return a process that is forked when it is started."""
        return TemplateProcess(self, **arguments)

    def fork(self, name: str, fds: Sequence[int]) -> tuple[int, int]:
        """Have a worker forked; return its pid, and a pidfd that is the caller's.

        Args:
            name: Of the worker.
            fds: See `_worker.template`.

        Raises:
            TemplateFailed: It cannot import what workers need, with the reason.
            TemplateThreads: It has threads, which are named.
            TemplateLost: It has died, before or after it was ready.
            RuntimeError: It cannot fork.
        """
        if self._control is None:
            raise TemplateLost("the template process was closed")
        try:
            with contextlib.suppress(OSError):  # it has died, or failed: that is read now
                descriptors.send(self._control, name, fds)
            if not self._ready:
                self._take_hello()
            (kind, answer), pidfds = descriptors.receive(self._control)
        except EOFError:
            raise self._lost() from None
        if kind != FORKED:
            raise RuntimeError(f"the template process cannot fork: {answer}")
        return answer, pidfds[0]

    def _lost(self) -> TemplateLost:
        """Return what is known of a template that has ended; forget it."""
        words, self._words = self._words, None
        assert words is not None
        when = "" if self._ready else " before it was ready"
        code = self._end()
        show_crash(words)
        said = words.last_words()
        words.close()
        last = f"; its last words: {said.splitlines()[-1]}" if said else ""
        error = TemplateLost(f"its template process exited with code {code}{when}{last}")
        if said:
            error.add_note(said)
        return error

    def _take_hello(self) -> None:
        assert self._control is not None
        (kind, answer), _ = descriptors.receive(self._control)
        if kind == FAILED:
            self._end()
            short, trace = answer
            error = TemplateFailed(
                f"its template process could not import what workers need; its last words: {short}"
            )
            error.__cause__ = RemoteTraceback(trace)
            raise error
        if answer:
            self._end()
            raise TemplateThreads(", ".join(answer))
        self._ready = True

    @property
    def is_ready(self) -> bool:
        """Whether it has imported everything, and lives, as far as is known."""
        return self._ready

    def kill(self) -> None:
        """Kill the process, which may hang in an import. Any thread."""
        if self._control is not None:
            with contextlib.suppress(OSError):  # closed just now
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def close(self) -> None:
        """End the process, if there is one. Nothing that it has forked is harmed.

        Waits for its own end, unless it still imports, or does not hear.
        """
        if self._control is not None:
            if self._ready:
                with contextlib.suppress(OSError):  # it has died
                    self._control.shutdown(socket.SHUT_RDWR)  # a forked child may have a copy
                _is_readable(self._pidfd, int(LONGEST_END * 1000))
            self._end()

    def abandon(self) -> None:
        """In a forked child: close the copies of what belongs to the parent."""
        control, self._control = self._control, None
        if control is not None:
            control.close()
            os.close(self._life)
            os.close(self._pidfd)
            if self._words is not None:
                self._words.close()

    def _end(self) -> int | None:
        """Kill it, if it lives; return its exit code, if that is known."""
        self.kill()
        if self._words is not None:
            self._words.close()
        control, self._control = self._control, None
        self._ready = False
        assert control is not None
        control.close()
        os.close(self._life)
        os.close(self._pidfd)
        try:
            return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        except ChildProcessError:  # somebody else waits for all children
            return None


class TemplateProcess(SpawnProcess):
    """A worker process that is forked from a template."""

    def __init__(self, template: Template, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._template = template

    def _Popen(self, process_obj: Any) -> TemplatePopen:  # type: ignore[override]  # noqa: N802
        return TemplatePopen(process_obj, self._template)

    @property
    def popen(self) -> TemplatePopen:
        """What there is only after the start."""
        popen: TemplatePopen = self._popen  # type: ignore[attr-defined]
        return popen

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to the worker as an ordinary process."""
        state = {name: value for name, value in vars(self).items() if name != "_template"}
        return forked.as_process, (state,)


class TemplatePopen(popen_fork.Popen):
    """What ``multiprocessing`` knows of a process that a template has forked."""

    method = "template"
    DupFd = staticmethod(descriptors.Numbered)

    def __init__(self, process_obj: Any, template: Any) -> None:
        self._template: Template = template
        self._fds: list[int] = []
        self.pidfd = -1  # the caller takes it
        self.peak_rss: int | None = None  # bytes
        super().__init__(process_obj)

    def duplicate_for_child(self, fd: int) -> int:
        """Have a descriptor travel; return its place."""
        self._fds.append(fd)
        return len(self._fds) - 1

    def _launch(self, process_obj: Any) -> None:
        buffer = io.BytesIO()
        with _spawning(self):
            reduction.dump(process_obj, buffer)
        self.sentinel, status = os.pipe()
        self.finalizer = util.Finalize(self, os.close, (self.sentinel,))
        with contextlib.ExitStack() as opened:
            opened.callback(os.close, status)
            fds = [status, *self._fds_of_request(buffer.getvalue(), opened.callback)]
            self.pid, self.pidfd = self._template.fork(process_obj.name, fds)

    def _fds_of_request(self, data: bytes, later: Callable[..., Any]) -> list[int]:
        """Return the descriptors that travel with a request, some of which are closed later."""
        streams = [fd for fd in STREAMS if _is_stream(fd)]
        tracker: int | None = getattr(resource_tracker._resource_tracker, "_fd", None)  # noqa: SLF001
        state = state_of(streams, tracker=tracker is not None)
        request = descriptors.file_of(pickle.dumps((state, data)))
        later(os.close, request)
        directory = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        later(os.close, directory)
        fds = [request, directory, *streams]
        if tracker is not None:
            fds.append(tracker)
        return [*fds, *self._fds]

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """Return the exit code; None if the process lives, or the template has not told it yet."""
        if self.returncode is None:
            self._look(wait=flag != os.WNOHANG)
        return self.returncode

    def give_up(self) -> None:
        """Have the exit code unknown: the process has ended, and the template does not tell."""
        if self.returncode is None:
            self.returncode = UNKNOWN

    def _look(self, *, wait: bool) -> None:
        if not wait and not _is_readable(self.sentinel, 0):
            return
        data = os.read(self.sentinel, STATUS.size)
        if len(data) == STATUS.size:
            self.returncode, peak = STATUS.unpack(data)
            self.peak_rss = peak or None
        elif self.pidfd < 0 or _is_readable(self.pidfd, None if wait else 0):
            self.give_up()  # the template has died


def _is_stream(fd: int) -> bool:
    """Whether that is a standard stream, and not something else of this process's own."""
    try:
        return os.get_inheritable(fd)
    except OSError:  # it is closed
        return False


def _is_readable(fd: int, milliseconds: int | None) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(milliseconds))


class _NoDescriptors:
    """Tells ``multiprocessing`` that a process is being started, which gets no descriptors."""


@contextlib.contextmanager
def _spawning(popen: Any) -> Any:
    """Let what travels only to a process that is being started be pickled."""
    set_spawning_popen(popen)
    try:
        yield
    finally:
        set_spawning_popen(None)
