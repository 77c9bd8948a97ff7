"""A sampling profiler of the standard library's parts: whose CPU time is it?

Each thread has a timer of the kernel that counts the thread's own CPU time, and a signal when
some of it has passed: a thread that sleeps is neither woken nor counted.

* The main thread answers its signal itself, by a Python signal handler, at its next step.
* The signals of other threads go to a thread of the sampler, which takes the interpreter lock
  and looks where the other one is. For that not to be mostly where the lock is given up anyway
  (around reading and writing), `sys.setswitchinterval` is small meanwhile. So such a thread is
  only sampled while `fine` says that no other thread competes with it for the lock.

The kernel looks at these timers on its tick, 4 ms in most kernels: some 250 samples for each
second of CPU time. Linux only.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

INTERVAL = 0.001  # seconds of CPU time; the kernel makes a tick of it
FINE_INTERVAL = 1e-5  # seconds after which a thread must give up the interpreter lock
SIGEV_THREAD_ID = 4
PR_SET_TIMERSLACK = 29
PACKAGE = "/src/aplex/"
HARNESS = f"{Path(__file__).parent}/"
PROGRAM = "the program itself"
ELSE = "event loop and other stdlib"
LOOPS = ("_run_once", "run_forever", "run_until_complete", "_run", "run_until_stopped")

Stack = list[tuple[str, str]]  # file and function of the frames, innermost first


class _Event(ctypes.Structure):
    """`struct sigevent`."""

    _fields_: ClassVar = [
        ("value", ctypes.c_void_p),
        ("signal", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("thread", ctypes.c_int),
        ("rest", ctypes.c_char * 44),
    ]


class _Interval(ctypes.Structure):
    """`struct itimerspec`: seconds and nanoseconds, of every turn and of the first one."""

    _fields_: ClassVar = [(name, ctypes.c_long) for name in ("s", "ns", "first_s", "first_ns")]


class Sampler:
    """Samples all threads of this process that are there when it starts."""

    def __init__(self) -> None:
        self.samples: dict[int, Counter[tuple[str, str]]] = {}  # by native id: room, module
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._timers: list[ctypes.c_void_p] = []
        self._others: dict[int, threading.Thread] = {}  # by signal
        self._fine = False
        self._running = False

    def start(self) -> None:
        """Start. On the main thread."""
        others = [one for one in threading.enumerate() if one is not threading.main_thread()]
        self._others = {signal.SIGRTMIN + 2 + place: one for place, one in enumerate(others)}
        self._running = True
        thread = threading.Thread(target=self._watch, name="sampler", daemon=True)
        thread.start()
        signal.signal(signal.SIGPROF, self._interrupted)
        self._add_timer(threading.main_thread(), signal.SIGPROF, threading.main_thread())
        for number, other in self._others.items():
            self._add_timer(other, number, thread)

    def stop(self) -> None:
        """Stop. The sampler's thread ends with the process."""
        self._running = False
        for timer in self._timers:
            self._call(self._libc.timer_delete, timer)
        self._timers.clear()

    @contextlib.contextmanager
    def fine(self) -> Iterator[None]:
        """Sample threads other than the main one. No two threads may be busy meanwhile."""
        before = sys.getswitchinterval()
        sys.setswitchinterval(FINE_INTERVAL)
        self._fine = True
        yield
        self._fine = False
        sys.setswitchinterval(before)

    def _add_timer(
        self, measured: threading.Thread, number: int, answers: threading.Thread
    ) -> None:
        assert measured.ident is not None
        event = _Event(None, number, SIGEV_THREAD_ID, answers.native_id)
        timer = ctypes.c_void_p()
        clock = ctypes.c_int(time.pthread_getcpuclockid(measured.ident))
        self._call(self._libc.timer_create, clock, ctypes.byref(event), ctypes.byref(timer))
        every = int(INTERVAL * 1e9)
        spec = ctypes.byref(_Interval(0, every, 0, every))
        self._call(self._libc.timer_settime, timer, 0, spec, None)
        self._timers.append(timer)

    def _call(self, function: Any, *arguments: Any) -> None:
        if function(*arguments) != 0:
            raise OSError(ctypes.get_errno(), f"{function.__name__} failed")

    def _interrupted(self, _number: int, frame: FrameType | None) -> None:
        if self._running:
            self._add(threading.main_thread(), frame)

    def _watch(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, self._others)
        self._libc.prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)  # short waits for the lock are short
        while self._others:
            thread = self._others[signal.sigwaitinfo(self._others).si_signo]
            if self._running and self._fine:
                self._add(thread, sys._current_frames().get(thread.ident or 0))  # noqa: SLF001

    def _add(self, thread: threading.Thread, frame: FrameType | None) -> None:
        stack: Stack = []
        while frame is not None:
            stack.append((frame.f_code.co_filename, frame.f_code.co_name))
            frame = frame.f_back
        if stack and thread.native_id is not None:
            found = self.samples.setdefault(thread.native_id, Counter())
            found[room(stack), module(stack[0][0])] += 1


def sample_on_demand(folder: str) -> None:
    """Be the pool's initializer: SIGUSR1 starts sampling in this worker, SIGUSR2 ends it."""
    sampler = Sampler()
    fine = sampler.fine()

    def start(_number: int, _frame: FrameType | None) -> None:
        sampler.start()
        fine.__enter__()  # of the threads of a worker only one is busy at a time

    def stop(_number: int, _frame: FrameType | None) -> None:
        fine.__exit__(None, None, None)
        sampler.stop()
        write(sampler, Path(folder) / f"{os.getpid()}.json")

    signal.signal(signal.SIGUSR1, start)
    signal.signal(signal.SIGUSR2, stop)
    (Path(folder) / f"{os.getpid()}.worker").touch()


def write(sampler: Sampler, path: Path) -> None:
    whole = {
        thread: [[*where, number] for where, number in found.items()]
        for thread, found in sampler.samples.items()
    }
    hidden = path.with_suffix(".part")
    hidden.write_text(json.dumps(whole))
    hidden.rename(path)


def read(path: Path) -> dict[int, Counter[tuple[str, str]]]:
    """What `write` has written."""
    return {
        int(thread): Counter({(room_, module_): number for room_, module_, number in found})
        for thread, found in json.loads(path.read_text()).items()
    }


def room(stack: Stack) -> str:
    """The module of aplex that runs, or that called what runs; or whose time it is else."""
    for file, function in stack:
        if function in LOOPS:
            break
        if PACKAGE in file:
            return module(file)
    return PROGRAM if is_harness(stack[0][0]) else ELSE


def is_harness(file: str) -> bool:
    """Whether a file is of the benchmarks, and not of an environment that they have made."""
    return file.startswith(HARNESS) and not file.startswith(f"{HARNESS}.")


def module(file: str) -> str:
    """A file's module, without the way to it."""
    if is_harness(file):
        return PROGRAM
    _, found, inner = file.rpartition(PACKAGE)
    library = file.rpartition(f"/python3.{sys.version_info.minor}/")[2]
    inner = f"aplex/{inner}" if found else library
    inner = inner.removeprefix("site-packages/").removesuffix(".py").removesuffix("/__init__")
    return inner.replace("/", ".")
