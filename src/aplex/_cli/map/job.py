"""A run as a whole: source, driver, pool and sink, and the signals that end it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from aplex._cli.map.driver import FAILED, Driver
from aplex._cli.map.items import Item
from aplex._cli.map.pool import Pool, open_pool, submitter
from aplex._cli.map.settings import Bounds, Settings
from aplex._cli.map.sink import Sink, tell
from aplex._cli.map.source import Source
from aplex._cli.map.status import status, summary
from aplex._journal.file import JournalFile
from aplex.executors import ProcessAsyncPoolExecutor

REDRAW: Final = 0.2
"""Seconds between two looks at the progress."""
GRACE: Final = 1.0
"""Seconds for which a reader that stands still may take what is left, after a signal."""
COUNTED: Final = 2**28
"""Bytes of the biggest file whose lines are counted for the progress."""
PIPE: Final = 141
if sys.platform == "win32":
    SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
else:
    SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(kw_only=True, eq=False)
class Job:
    """What is to be done, and with what. See `_cli.map.command` for where it comes from."""

    function: Callable[..., Any]
    label: str
    awaited: bool
    workers: int
    threads: bool
    lifespan: Callable[[], Any] | None
    bounds: Bounds
    settings: Settings
    blocks: Iterable[bytes]
    input: int | None
    wanted: Callable[[Item], bool] | None
    journal: JournalFile | None
    journal_path: str | None
    record_items: bool | None
    failures: int | None
    again: Callable[[Item], bytes]
    output: int
    errors: int
    progress: bool
    outputs: dict[str, str]  # of a recording: "record", "trace" and "report", and their files
    skipped: int = 0
    _signals: int = 0

    async def run(self) -> int:
        """Run it, and return the exit code."""
        self._loop = asyncio.get_running_loop()
        self._all_written: asyncio.Future[None] = self._loop.create_future()
        self._signalled: asyncio.Future[None] = self._loop.create_future()
        self._began = time.monotonic()
        self._total = self._count() if self.progress else None
        self._pool: Pool = open_pool(
            *(self.workers, self.bounds),
            threads=self.threads,
            lifespan=self.lifespan,
            record=bool(self.outputs),
        )
        self._sink = Sink(
            *(self.output, self.errors, self.failures, self.journal),
            written=self._written,
            failed=self._failed,
            ended=lambda: self._call(_set, self._all_written),
        )
        self._driver = self._make_driver()
        keys = self.journal is not None
        self._source = Source(
            self.blocks, self.settings.form, self.bounds.ahead, self._wanted, keys=keys
        )
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
                self._loop.add_signal_handler(number, self._signal, number)
        self._sink.start()
        self._source.start(self._loop, self._driver.take, self._driver.end_of_input)
        drawing = self._loop.call_soon(self._draw) if self.progress else None
        try:
            await self._driver.finished
        finally:
            self._source.close()
            if drawing is not None:
                self._timer.cancel()
        return await self._end()

    def _make_driver(self) -> Driver:
        submit = submitter(
            self._pool, self.function, self.label, self.settings, awaited=self.awaited
        )
        return Driver(
            submit,
            *(self.workers, self.bounds, self.settings, self._sink),
            record_items=self.record_items,
            again=self.again,
        )

    async def _end(self) -> int:
        """End the pool, write what is left, and say how it went."""
        driver = self._driver
        if driver.at_once:
            await self._pool.__aexit__(asyncio.CancelledError, None, None)
        else:
            await self._pool.aclose()
        self._sink.finish()
        # A reader may stand still: wait for it, but not long after a signal.
        ends = (self._all_written, self._signalled)
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait(ends[:1], timeout=GRACE)
        if driver.problem:
            self._say(driver.problem)
        if self.progress:
            self._say(summary(driver.done, driver.failed, self.skipped, self.journal_path))
        code = driver.code
        if code is None:
            code = FAILED if driver.failed else 0
        if not self._write_outputs() and not code:
            code = FAILED
        if self.threads and not self._pool._gateway.manager.gone.done():  # noqa: SLF001
            self._leave(code)
        return code

    def _write_outputs(self) -> bool:
        """Write what was recorded; return whether all of it could be."""
        recording = self._pool.recording
        if recording is None or not self.outputs:
            return True
        recording.stop()
        make = {"record": recording.save, "trace": recording.trace, "report": recording.report}
        for name, path in self.outputs.items():
            try:
                make[name](path)
            except OSError as error:
                self._say(f"the {name} cannot be written: {error.strerror}: {path}")
                return False
        return True

    def _say(self, text: str) -> None:
        tell(self.errors, f"aplex: {text}\n".encode("utf-8", "backslashreplace"))

    # -- in other threads -----------------------------------------------------

    def _wanted(self, item: Item) -> bool:
        if self.wanted is None or self.wanted(item):
            return True
        self.skipped += 1
        return False

    def _written(self) -> None:
        self._source.done(1)

    def _failed(self, what: str, error: OSError) -> None:
        if error.errno == errno.EPIPE and what == "the results":
            code, problem = PIPE, ""
        else:
            code, problem = FAILED, f"{what} cannot be written: {error.strerror}"
        self._call(self._stop, code, problem)

    def _call(self, function: Callable[..., object], *arguments: Any) -> None:
        """Have the loop call a function."""
        with contextlib.suppress(RuntimeError):  # it is closed: nobody waits any more
            self._loop.call_soon_threadsafe(function, *arguments)

    # -- on the loop ----------------------------------------------------------

    def _stop(self, code: int, problem: str = "") -> None:
        self._driver.stop(code, problem, now=True)

    def _signal(self, number: int) -> None:
        self._signals += 1
        if self._signals == 1:
            _set(self._signalled)
            self._stop(128 + number)
        elif isinstance(self._pool, ProcessAsyncPoolExecutor):
            self._pool.kill_workers()
        else:
            self._leave(128 + number)

    def _leave(self, code: int) -> None:
        """End the process, as nothing else ends a thread that computes."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)

    def _count(self) -> int | None:
        """Return how many items a file has, if it is one and that is known quickly."""
        form = self.settings.form
        if sys.platform == "win32" or self.input is None or form.kind == "csv":
            return None
        found = os.fstat(self.input)
        if not stat.S_ISREG(found.st_mode) or found.st_size > COUNTED:
            return None
        lines, offset = 0, os.lseek(self.input, 0, os.SEEK_CUR)
        while block := os.pread(self.input, 2**20, offset):
            lines += block.count(form.separator)
            offset += len(block)
        last = os.pread(self.input, 1, found.st_size - 1) if found.st_size else form.separator
        return lines + (last != form.separator)

    def _draw(self) -> None:
        driver = self._driver
        total = None if self._total is None else max(self._total - self.skipped, driver.done)
        self._sink.show(status(driver.done, driver.failed, total, time.monotonic() - self._began))
        self._timer = self._loop.call_later(REDRAW, self._draw)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
