"""Runs cases in processes that may hang or die; never hangs itself."""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Final

from reliability.killing.cases import Case
from reliability.killing.faults import FOLDER, STOPPED
from reliability.killing.host import LIMIT
from reliability.killing.verdict import NOT_REACHED

_ROOT: Final = Path(__file__).resolve().parent.parent.parent
_SEAM: Final = Path(__file__).resolve().parent / "seam"
_LONGER: Final = 10.0
"""Seconds that a host has, beyond its own limit, before it is killed."""
TRIES: Final = 3
"""How often a case is tried whose point is not reached: some are only reached by chance."""
_TAIL: Final = 6000  # characters of what a host said on stderr


@dataclass(frozen=True)
class Result:
    """What came of a case."""

    case: Case
    complaints: list[str]
    seconds: float  # from the fault until all works were resolved

    @property
    def passed(self) -> bool:
        """Whether all was well."""
        return not self.complaints


def run_cases(
    cases: Iterable[Case],
    at_a_time: int,
    tell: Callable[[Result], None] = lambda _: None,
    minutes: float = math.inf,
) -> list[Result]:
    """Run cases, some at a time; ``tell`` of each, in any thread; start none after so long."""
    end = time.monotonic() + 60 * minutes
    waiting = _queue_of(cases)
    results: list[Result] = []

    def take(result: Result) -> None:
        results.append(result)
        tell(result)

    threads = [threading.Thread(target=_work, args=(waiting, take, end)) for _ in range(at_a_time)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    finally:  # Ctrl-C: those that run are finished, and no more are started
        _empty(waiting)
    return results


def _queue_of(cases: Iterable[Case]) -> queue.SimpleQueue[Case]:
    waiting: queue.SimpleQueue[Case] = queue.SimpleQueue()
    for case in cases:
        waiting.put(case)
    return waiting


def _empty(waiting: queue.SimpleQueue[Case]) -> None:
    with contextlib.suppress(queue.Empty):
        while True:
            waiting.get_nowait()


def _work(waiting: queue.SimpleQueue[Case], take: Callable[[Result], None], end: float) -> None:
    """Run the cases that nobody else runs."""
    host = _Host()
    try:
        while time.monotonic() < end:
            case = waiting.get_nowait()
            result = host.run(case)
            for _ in range(TRIES - 1):
                if result.complaints == [NOT_REACHED]:
                    result = host.run(case)
            take(result)
    except queue.Empty:
        pass
    finally:
        host.close()


class _Host:
    """A process that runs cases; another one if it is lost."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Any
        self._errors: IO[bytes]

    def run(self, case: Case) -> Result:
        """Run one case."""
        if self._process is None:
            self._start()
        process = self._process
        assert process is not None
        assert process.stdin is not None
        hung = threading.Timer(LIMIT + _LONGER, self._kill)
        hung.start()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(asdict(case)).encode() + b"\n")
            process.stdin.flush()
        answer = self._answer()
        hung.cancel()
        if answer is not None:
            return Result(case, answer["complaints"], answer["seconds"])
        said = self.close()
        return Result(case, [f"the process of the case hung, or died:\n{said}"], LIMIT)

    def close(self) -> str:
        """End the process, and all it has started; return what it said on stderr."""
        process, self._process = self._process, None
        if process is None:
            return ""
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(_LONGER)
        except subprocess.TimeoutExpired:
            pass
        _kill_group(process)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace")[-_TAIL:]
        self._errors.close()
        self._folder.cleanup()
        return said

    def _start(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._errors = tempfile.TemporaryFile()
        paths = [str(_SEAM), str(_ROOT), os.environ.get("PYTHONPATH", "")]
        # About moments: coverage, which may be measuring us, has its own ideas of those.
        known = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "reliability.killing.host"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={
                **known,
                FOLDER: self._folder.name,
                "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            },
            start_new_session=True,
        )

    def _answer(self) -> dict[str, Any] | None:
        """Wait for the answer; let workers go on that were stopped meanwhile."""
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            words: dict[str, Any] = json.loads(line)
            if "stopped" not in words:
                return words
            _continue_later(words["stopped"])
        return None

    def _kill(self) -> None:
        if self._process is not None:
            _kill_group(self._process)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _continue_later(pid: int) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return

    def go_on() -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGCONT)
        os.close(pidfd)

    timer = threading.Timer(STOPPED, go_on)
    timer.daemon = True
    timer.start()
