"""Forwards log records from a worker process to the handlers of its parent.

A handler at the root of the worker's loggers packs each record, in the thread that logs, and
appends it to a line; a thread of its own sends what is in line, in frames, over a pipe of its own.
So nobody who logs waits for the parent, records stay in order, and reports of works do not wait
for records. The thread is started by the first record.

The line is bounded: if the parent does not keep up, new records are dropped and counted, and the
next frame says how many. What is in line when a worker ends is sent before; a crash loses it.

Levels come from the parent: all at the start, and again whenever one changes.
"""

from __future__ import annotations

import logging
import os
import pickle
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from aplex._common.names import described
from aplex._wire.calls import CallDecoder
from aplex._wire.exceptions import encode_exception
from aplex._wire.frames import End, Reader, Writer
from aplex._worker.chunks_plain import run_plain_chunk
from aplex._worker.coroutine_lane import CoroutineLane
from aplex._worker.plain_lane import PlainLane

if TYPE_CHECKING:
    import asyncio
    from types import FrameType

    from aplex.workers import CurrentWorker

LINE: Final = 10_000
"""Records that may be in line."""
FRAME: Final = 200
"""Records of one frame, at most."""
LAST: Final = 2.0
"""Seconds that a worker which ends waits for what is in line."""

Levels = tuple[dict[str, int], int, bool]
"""Of each logger its level, the level that is disabled, whether warnings are captured."""
Tasks = Callable[[], Mapping[int, "asyncio.Task[Any]"]]
"""Returns the tasks of coroutine works, by their ids."""


class Forwarder(logging.Handler):
    """Sends what is logged to the parent."""

    def __init__(self, up: End, down: End, worker: CurrentWorker, tasks: Tasks) -> None:
        super().__init__()
        self._writer = Writer(up)
        self._reader = Reader(down)
        self._worker = worker
        self._tasks = tasks
        self._pid = os.getpid()
        self._line: deque[bytes] = deque()
        self._dropped = 0
        self._changed = threading.Condition()
        self._sending = False
        self._broken = False
        self._thread: threading.Thread | None = None
        self._named: set[str] = set()  # loggers whose levels the parent has set

    # -- levels -----------------------------------------------------------------

    def install(self) -> None:
        """Become the only handler of this process, with the parent's levels."""
        vars(logging.root.manager).pop("_clear_cache", None)  # a forked copy of the parent's hook
        for logger in _loggers().values():
            logger.handlers.clear()
            logger.propagate = True
        logging.root.addHandler(self)
        self.read_levels()

    def read_levels(self) -> bool:
        """Take in the levels that have come; return False if the parent is gone."""
        try:
            frames = self._reader.read()
        except (EOFError, OSError):
            return False
        while frames:
            self._apply(frames.popleft())
        return True

    def _apply(self, frame: Levels) -> None:
        levels, disabled, capture = frame
        for name in self._named - set(levels):
            logging.getLogger(name).setLevel(logging.NOTSET)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        self._named = set(levels)
        logging.disable(disabled)
        logging.captureWarnings(capture)

    # -- records ----------------------------------------------------------------

    def emit(self, record: logging.LogRecord) -> None:
        """Put a record in line. Any thread; does not wait for the parent."""
        if self._broken or os.getpid() != self._pid:  # a copy that a work has forked off
            return
        data = self._packed(record)
        with self._changed:
            if len(self._line) >= LINE:
                self._dropped += 1
                return
            self._line.append(data)
            if self._thread is None:
                thread = threading.Thread(target=self._send, name="aplex-logs", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # there can be no more threads
                    self._send_once()
                    return
                self._thread = thread
            self._changed.notify_all()

    def flush(self) -> None:
        """Wait until what is in line was sent, for a while. `logging.shutdown` calls this, too."""
        if os.getpid() != self._pid:
            return
        end = time.monotonic() + LAST
        with self._changed:
            while (self._line or self._sending or self._dropped) and not self._broken:
                left = end - time.monotonic()
                if self._thread is None or left <= 0:
                    return
                self._changed.notify_all()
                self._changed.wait(left)

    def _send(self) -> None:
        while not self._broken:
            with self._changed:
                self._sending = False
                self._changed.notify_all()
                while not (self._line or self._dropped):
                    self._changed.wait()
                self._sending = True
            self._send_once()

    def _send_once(self) -> None:
        with self._changed:
            batch = [self._line.popleft() for _ in range(min(FRAME, len(self._line)))]
            dropped, self._dropped = self._dropped, 0
        try:
            self._writer.write((dropped, batch))
        except OSError:  # the parent is gone
            self._broken = True

    def _packed(self, record: logging.LogRecord) -> bytes:
        """Return the record as it is now, whatever becomes of its arguments."""
        fields = vars(record).copy()
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            if not record.exc_text:
                fields["exc_text"] = "".join(traceback.format_exception(error)).rstrip("\n")
            fields["exc_info"] = encode_exception(error)
        else:
            fields["exc_info"] = None
        fields["worker_index"] = self._worker.index
        fields["worker_pid"] = self._pid
        fields["work_id"], fields["work_name"] = work_here(self._tasks())
        try:
            return pickle.dumps(fields, 5)
        except Exception:  # noqa: BLE001 - any __reduce__ may raise anything
            return pickle.dumps(_portable(record, fields), 5)


def _portable(record: logging.LogRecord, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with the message formatted, and with a repr of what cannot be pickled."""
    try:
        fields["msg"] = record.getMessage()
    except Exception as error:  # noqa: BLE001 - of the user's arguments
        fields["msg"] = f"{record.msg!r} (its arguments do not fit: {error!r})"
    fields["args"] = None
    for name, value in fields.items():
        try:
            pickle.dumps(value, 5)
        except Exception:  # noqa: BLE001 - as above
            fields[name] = repr(value)
    return fields


def work_here(tasks: Mapping[int, asyncio.Task[Any]]) -> tuple[int | None, str | None]:
    """Return the id and the name of the work that runs this thread just now.

    The stack is looked through: so it costs nothing where nobody logs.
    """
    name: str | None = None
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - see above
    while frame is not None:
        code = frame.f_code
        if code in (_CALL, _CHUNK) and name is None:
            name = described(frame.f_locals["work"])
        elif code in (_PLAIN, _COROUTINE):
            return frame.f_locals["work_id"], name
        frame = frame.f_back
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return None, name
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop runs here
        return None, name
    if task is None:
        return None, name
    name = getattr(task.get_coro(), "__qualname__", None)
    return next((number for number, other in tasks.items() if other is task), None), name


_PLAIN: Final = PlainLane._run.__code__  # noqa: SLF001 - their frames are looked for
_COROUTINE: Final = CoroutineLane._run.__code__  # noqa: SLF001
_CALL: Final = CallDecoder.run.__code__
_CHUNK: Final = run_plain_chunk.__code__


def levels_now() -> Levels:
    """Return the levels of this process."""
    levels = {name: logger.level for name, logger in _loggers().items() if logger.level}
    capture = getattr(logging, "_warnings_showwarning", None) is not None
    return levels, logging.root.manager.disable, capture


def _loggers() -> dict[str, logging.Logger]:
    """Return all loggers by their names; the root has none."""
    known = list(logging.root.manager.loggerDict.items())
    found = {name: logger for name, logger in known if isinstance(logger, logging.Logger)}
    return {"": logging.root, **found}
