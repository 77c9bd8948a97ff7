"""The machine's own limits: two bare processes and a pipe, and a copy in memory."""

import contextlib
import mmap
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peers.base import Call, Peer

PAYLOAD = bytes(64)


class Pipe(Peer):
    """Two bare Python processes in ping-pong over a pair of pipes: no pickle, no loop."""

    def open(self) -> None:
        there_read, self.there = os.pipe()
        self.back, back_write = os.pipe()
        self.child = os.fork()
        if self.child == 0:
            os.close(self.there)
            os.close(self.back)
            self.answer(there_read, back_write)
        os.close(there_read)
        os.close(back_write)

    def close(self) -> None:
        os.close(self.there)
        os.close(self.back)
        os.waitpid(self.child, 0)

    def submit_all(self, calls: Sequence[Call]) -> list[Any]:
        self.time_each(calls)
        return [value for _, value in calls]

    def time_each(self, calls: Sequence[Call]) -> list[float]:
        times = []
        for _ in calls:
            before = time.perf_counter()
            os.write(self.there, PAYLOAD)
            os.read(self.back, 256)
            times.append(time.perf_counter() - before)
        return times

    def answer(self, there: int, back: int) -> None:
        """Be the other process: send back what comes, until the pipe's end."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with contextlib.suppress(BrokenPipeError):
            while data := os.read(there, 256):
                self.work()
                os.write(back, data)
        sys.stdout.flush()
        os._exit(0)

    def work(self) -> None:
        """What the other process does before it answers."""


class Memcpy(Peer):
    """A copy there and a copy back, into memory that is kept."""

    def open(self) -> None:
        self.there = self.back = memoryview(b"")

    def close(self) -> None:
        pass

    def submit_all(self, calls: Sequence[Call]) -> list[Any]:
        results = []
        for _, value in calls:
            self.copy(memoryview(value).cast("B"))
            results.append(value)
        return results

    def time_each(self, calls: Sequence[Call]) -> list[float]:
        times = []
        for _, value in calls:
            source = memoryview(value).cast("B")
            before = time.perf_counter()
            self.copy(source)
            times.append(time.perf_counter() - before)
        return times

    def copy(self, source: memoryview) -> None:
        if len(self.there) != len(source):
            self.there = memoryview(bytearray(len(source)))
            self.back = memoryview(bytearray(len(source)))
        self.there[:] = source
        self.back[:] = self.there


class SharedMemory(Pipe):
    """Two bare Python processes: a copy into shared memory, a word by a pipe, and the same back.

    What no pool can do without, if its workers are processes and each side has its own copy.
    """

    def open(self) -> None:
        self.size = -1  # bytes of the payloads; the other process is started when it is known

    def close(self) -> None:
        if self.size >= 0:
            super().close()

    def start(self, size: int) -> None:
        """Start the other process, for payloads of so many bytes."""
        self.close()
        self.size = size
        self.sent, self.received = mmap.mmap(-1, size), mmap.mmap(-1, size)
        super().open()

    def time_each(self, calls: Sequence[Call]) -> list[float]:
        times = []
        for _, value in calls:
            source = memoryview(value).cast("B")
            if self.size != len(source):
                self.start(len(source))
            before = time.perf_counter()
            self.sent[:] = source
            os.write(self.there, PAYLOAD)
            os.read(self.back, 256)
            times.append(time.perf_counter() - before)
        return times

    def work(self) -> None:
        self.received[:] = memoryview(self.sent)


class Nothing(Peer):
    """No pool: for workloads that measure the interpreter alone."""

    def open(self) -> None:
        pass

    def close(self) -> None:
        pass


class PipeInC(Peer):
    """The same two processes written in C: what the kernel alone charges. It needs `cc`."""

    def open(self) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            raise FileNotFoundError("no C compiler `cc`; on Debian or Ubuntu: apt-get install gcc")
        self.folder = tempfile.TemporaryDirectory()
        self.program = f"{self.folder.name}/pingpong"
        source = str(Path(__file__).with_name("pingpong.c"))
        subprocess.run([compiler, "-O2", "-o", self.program, source], check=True)

    def close(self) -> None:
        self.folder.cleanup()

    def submit_all(self, calls: Sequence[Call]) -> list[Any]:
        return [value for (_, value), _ in zip(calls, self.time_each(calls), strict=True)]

    def time_each(self, calls: Sequence[Call]) -> list[float]:
        done = subprocess.check_output([self.program, str(len(calls))], text=True)
        return [int(line) / 1e9 for line in done.split()]
