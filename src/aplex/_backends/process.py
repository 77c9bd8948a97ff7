"""Workers as processes: four pipes, a lifeline and two counters each.

The `Starter` starts them. Reports are read by whoever watches the pipes: the
listener, or the event loop of the caller. A worker's end is told by the kernel to
the listener (pidfd, or the sentinel of ``multiprocessing``): with ``fork``, other
children may hold copies of the pipes, so the end of a pipe alone says nothing.

Rule: the ends of the parent are non-blocking and closed by `Link.close`, after
the last watcher has let go of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing import process as process_module
from multiprocessing.context import BaseContext
from typing import Any

from aplex import _child, _late, _starter
from aplex._arena import Arena, Parcel, make_arena
from aplex._backends.base import Backend, Death, Events, Setup
from aplex._certificate import OomKills, certify, reap, show_crash
from aplex._frames import End, PipeEnd, frame_of
from aplex._gate import AVAILABLE, Gate
from aplex._green import check_program
from aplex._interrupts import free_signal
from aplex._link import Link
from aplex._listener import Listener
from aplex._locks import RLock, is_mine
from aplex._main_module import is_importable, path_of_main
from aplex._messages import COROUTINE, LANES, PLAIN, Reports
from aplex._pickling import CallEncoder
from aplex._pool_worker import PoolWorker
from aplex._progress import Progress
from aplex._setup_packer import pack_setup
from aplex._starter import Starter
from aplex._work import Work
from aplex.exceptions import WorkerLostError, WorkerStartError

Loop = asyncio.AbstractEventLoop
_log = logging.getLogger("aplex")


class ProcessBackend(Backend):
    """Starts worker processes by a context of ``multiprocessing``."""

    can_interrupt = free_signal() is not None

    def __init__(self, context: BaseContext, setup: Setup) -> None:
        self._arena: Arena | None = None
        self._arena_lock = RLock()
        self._borrowers: dict[int, Link] = {}  # who has a block of the arena, by its number
        # One look for both: the interpreter deletes the name when the script has ended.
        main_path = path_of_main()
        by_value = not is_importable(main_path)
        self._encoder = CallEncoder(self._put, main_by_value=by_value)
        self._forks = context.get_start_method() == "fork"
        packed = pack_setup(
            (setup.worker_loop_factory, setup.initializer, setup.initargs),
            main_by_value=by_value,
            by_fork=self._forks,
        )
        self._starter = Starter(context, packed, setup.name, main_path, self._started)
        self._links: dict[PoolWorker, Link] = {}
        self._oom_kills: OomKills | None = None
        self._loop: Loop | None = None  # reads the reports; None: the listener, or who waits
        self._gate: Gate | None = None

    def bind(self, events: Events, listener: Listener) -> None:
        super().bind(events, listener)
        self._starter.bind(events, listener)

    def encode(
        self, work: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Any]:
        return self._encoder.encode(work, args, kwargs)

    def _shared(self) -> Arena | None:
        """Return the arena of the calls, made when it is first wanted. Any thread."""
        if self._arena is None:
            with self._arena_lock:
                if self._arena is None:
                    made = make_arena(self._cool_later)
                    # Another look, with no call after it: a signal handler may have made one.
                    if self._arena is None:
                        self._arena = made
                    elif made is not None:  # type: ignore[unreachable]
                        made.close()
        return self._arena

    def _cool_later(self, seconds: float) -> None:
        when = time.monotonic() + seconds
        self.listener.call_soon(partial(self.listener.call_at, when, self._cool))

    def _cool(self) -> None:
        if self._arena is not None:
            self._arena.cool()

    def _put(self, payloads: Sequence[bytes | memoryview]) -> Parcel | None:
        arena = self._shared()
        return None if arena is None else arena.put(payloads)

    # -- start ----------------------------------------------------------------

    def check_can_start(self) -> None:
        check_program(forks=self._forks)
        if getattr(process_module.current_process(), "_inheriting", False):
            raise RuntimeError(
                "this is a worker process that still imports the main module, which must not use "
                "an executor while it is imported. Put the code that does so under "
                "`if __name__ == '__main__':`, or into a function that is called from there"
            )

    def start(self, worker: PoolWorker) -> None:
        if self._oom_kills is None:
            self._oom_kills = OomKills()  # what was killed before is no worker of ours
        try:
            if AVAILABLE and self._gate is None:
                self._gate = Gate(self._take_in_rest)
                self.listener.call_soon(partial(self.listener.watch, self._gate, self._gate.read))
            if worker not in self._links:  # else Ctrl-C broke into this very method
                self._links[worker] = Link(self._shared(), worker)
            link = self._links[worker]
        except OSError as error:  # too many open files
            failure = WorkerStartError(f"no channels for a worker process: {error}")
            self.listener.call_soon(partial(self.events.lost, worker, lambda: _unborn(failure)))
            return
        self._watch_readers(worker, link)
        self._starter.add(worker, link)

    def _started(self, worker: PoolWorker, link: Link, failure: BaseException | None) -> None:
        """Begin to wait for the worker's end. On the listener's thread."""
        if failure is not None:
            error = WorkerStartError(f"a worker process could not be started: {_why(failure)}")
            error.__cause__ = failure
            self.events.lost(worker, partial(self._bury, worker, link, _unborn(error)))
            return
        link.started = True
        if link.unwanted:
            link.process.kill()
        link.pidfd = _open_pidfd(link.process.pid)
        self.listener.watch(self._death_of(link), partial(self._ended, worker, link))

    def _death_of(self, link: Link) -> Any:
        return link.pidfd if link.pidfd is not None else _Sentinel(link.process.sentinel)

    # -- end ------------------------------------------------------------------

    def _ended(self, worker: PoolWorker, link: Link) -> None:
        """Take in the last reports, then the end. On the listener's thread."""
        self.listener.unwatch(self._death_of(link))
        process = link.process
        link.peak_rss = reap(process)
        if process.exitcode is None:
            # It is about to end, which nothing changes any more; or it has closed its sentinel.
            _kill(link)
            process.join()  # with a timeout it would import something: see `_certificate`
        show_crash(link.progress)
        for lane in LANES:
            self.events.receive(worker, lane, partial(self._drain, link, lane))
        self.events.lost(worker, partial(self._examine, worker, link))

    def _examine(self, worker: PoolWorker, link: Link) -> Death:
        process = link.process
        assert self._oom_kills is not None
        error = certify(
            worker,
            process,
            born=link.born,
            peak_rss=link.peak_rss,
            progress=link.progress,
            out_of_memory=self._oom_kills.blame,
        )
        reason = _never_served(error, link.progress) if worker.pid is None else None
        death = Death(link.progress.read(), error, reason, error.uptime)
        with contextlib.suppress(ValueError):  # it cannot be killed; the kernel keeps it
            process.close()
        return self._bury(worker, link, death)

    def _bury(self, worker: PoolWorker, link: Link, death: Death) -> Death:
        self._links.pop(worker, None)
        link.buried = True
        self._take_back(link)
        for end in link.ends():
            if self._gate is not None:
                self._gate.unwatch(end.fileno())
            self.listener.unwatch(end)
            self.listener.unwatch_writing(end)
        self._let_go(link)
        return death

    def _take_back(self, link: Link) -> None:
        """Free the blocks that a lost worker had; its works may be sent again."""
        if self._arena is not None:
            for number, borrower in list(self._borrowers.items()):
                if borrower is link:
                    del self._borrowers[number]
                    self._arena.take_back(number)

    def _let_go(self, link: Link) -> None:
        """Close the link, after its loop (if any) has stopped watching it, on its thread."""
        loop = link.loop
        if loop is None or loop.is_closed():
            link.close()
        elif loop.is_running() and loop is not asyncio._get_running_loop():  # noqa: SLF001
            try:
                loop.call_soon_threadsafe(_unwatch_and_close, loop, link)
            except RuntimeError:  # it was closed just now
                link.close()
        else:
            _unwatch_and_close(loop, link)

    # -- work -----------------------------------------------------------------

    def send(self, worker: PoolWorker) -> None:
        link = self._links.get(worker)
        if link is None:
            return
        # Cancels last: they may be for works that are sent just now.
        if worker.outboxes[PLAIN]:
            self._send_lane(worker, link, PLAIN)
        if worker.outboxes[COROUTINE] or worker.cancels or worker.recalls or worker.credits:
            self._send_lane(worker, link, COROUTINE)

    def send_alone(self, worker: PoolWorker, work: Work) -> None:
        link = self._links.get(worker)
        if link is None:
            return
        lane, function, call = work.lane, work.function, work.call
        if function not in link.known[lane] or type(call) is Parcel:
            self.send(worker)
            return
        frame = frame_of((None, (work.id,), [function], [call], (), (), ()))
        # No call between these two, see `_send_lane`.
        link.writers[lane].rest += frame
        worker.outboxes[lane] = []
        self._flush_now(link, lane)

    def _send_lane(self, worker: PoolWorker, link: Link, lane: int) -> None:
        """Send an outbox, and what is asked of the coroutine lane."""
        outbox = worker.outboxes[lane]
        functions = [work.function for work in outbox]
        known = link.known[lane]
        new = None
        if not known.issuperset(functions):
            new = self._encoder.definitions(known, functions)
        ids = [work.id for work in outbox]
        calls = [work.call for work in outbox]
        if Parcel in map(type, calls):
            calls = [self._lend(link, work) for work in outbox]
        cancels: Any = ()
        recalls: Any = ()
        credits_: Any = ()
        if lane == COROUTINE:
            cancels = list(map(tuple, worker.cancels))  # marshal knows no named ones
            recalls = list(map(tuple, worker.recalls))
            credits_ = list(map(tuple, worker.credits))
        frame = frame_of((new, ids, functions, calls, cancels, recalls, credits_))
        writer = link.writers[lane]
        # No call until all of them are emptied: a signal handler may raise after any, and what
        # was to be sent must be in an outbox or in the writer, not in both and not in neither.
        writer.rest += frame
        worker.outboxes[lane] = []
        if lane == COROUTINE:
            worker.cancels = []
            worker.recalls = []
            worker.credits = []
        if new:
            known.update(new)
        self._flush_now(link, lane)

    def _lend(self, link: Link, work: Work) -> Any:
        """Return what of a call goes into the frame."""
        call: Any = work.call
        if type(call) is not Parcel:
            return call
        assert self._arena is not None
        self._borrowers[call.place[0]] = link
        self._arena.lend(call.place)
        # What may run again must find its arguments as they were, whatever its first run did.
        return call.private() if work.options.retries else call.place

    def served(self) -> None:
        self.listener.call_soon(self._starter.go_on)  # not before the result is handed out

    def running(self, worker: PoolWorker) -> tuple[int, float]:
        link = self._links.get(worker)
        return (0, 0.0) if link is None or link.closed else link.progress.running()

    def has_started(self, worker: PoolWorker, seq: int) -> bool:
        link = self._links.get(worker)
        return link is not None and not link.closed and link.progress.has_started(seq)

    def interrupt(self, worker: PoolWorker, seq: int) -> None:
        link = self._links.get(worker)
        if link is not None and not link.closed:
            # Full, or broken: then the worker does not listen, and is killed in the end.
            with contextlib.suppress(OSError):
                link.lifeline.write([seq.to_bytes(8, sys.byteorder)])

    def kill_at(self, worker: PoolWorker, seq: int) -> bool:
        link = self._links.get(worker)
        if link is None or link.closed or not link.progress.doom(seq):
            return False
        self.kill(worker)
        return True

    def stop(self, worker: PoolWorker) -> None:
        link = self._links.get(worker)
        if link is not None:
            link.stopped = True
            self._starter.go_on()
            link.writers[PLAIN].rest += frame_of(None)
            self._flush_now(link, PLAIN)

    def kill(self, worker: PoolWorker) -> None:
        link = self._links.get(worker)
        if link is not None:
            link.unwanted = True
            if link.started:
                with contextlib.suppress(ValueError):  # closed: it has ended just now
                    link.process.kill()

    def terminate(self, worker: PoolWorker) -> None:
        link = self._links.get(worker)
        if link is None or worker.pid is None:  # SIGTERM is blocked while it starts
            self.kill(worker)
            return
        try:
            link.lifeline.write([_child.TERMINATE.to_bytes(8, sys.byteorder)])
        except OSError:  # full, or broken: it does not listen, or has ended just now
            self.kill(worker)

    def _flush_now(self, link: Link, lane: int) -> None:
        if link.closed:
            return
        writer = link.writers[lane]
        try:
            if not writer.flush():
                self.listener.call_soon(partial(self._flush, link, lane))
        except OSError:
            self._cut_off(link)

    def _cut_off(self, link: Link) -> None:
        """Make sure of the end of a worker whose channel has ended: mostly it is dead.

        But a work may have closed the channel; then the worker would go on, and nobody would
        ever hear of what is aboard.
        """
        link.unwanted = True
        if link.started and not link.closed:
            _kill(link)

    def _flush(self, link: Link, lane: int) -> None:
        """Write on what did not fit. On the listener's thread."""
        self.events.locked(partial(self._flush_locked, link, lane))

    def _flush_locked(self, link: Link, lane: int) -> None:
        writer = link.writers[lane]
        try:
            # Buried, it may not be closed yet: its loop has to let go of it.
            flushed = link.buried or link.closed or writer.flush()
        except OSError:
            self._cut_off(link)
            flushed = True
        if flushed:
            self.listener.unwatch_writing(writer.end)
        else:
            flush = partial(self._flush, link, lane)
            self.listener.watch_writing(writer.end, flush)

    # -- reports --------------------------------------------------------------

    def read_in(self, loop: Loop | None) -> bool:
        if loop is not None and not _can_watch(loop):
            return False
        self._loop = loop
        for worker, link in self._links.items():
            self._watch_readers(worker, link)
        return True

    def _watch_readers(self, worker: PoolWorker, link: Link) -> None:
        """Have the current reader watch a link. The former one may go on: that is harmless."""
        loop = self._loop
        if loop is not None and loop.is_closed():
            loop = self._loop = None
        for lane in LANES:
            end = link.readers[lane].end
            if link.loop is not None and link.loop is asyncio._get_running_loop():  # noqa: SLF001
                link.loop.remove_reader(end.fileno())
            if loop is None and self._gate is not None:
                gone = partial(self._gate.unwatch, end.fileno())
                self._gate.watch(end.fileno(), self._receiver(worker, link, lane, gone))
                continue
            if self._gate is not None:
                self._gate.unwatch(end.fileno())
            if loop is None:
                forgotten = partial(self.listener.unwatch, end)
                callback = self._receiver(worker, link, lane, forgotten)
                self.listener.call_soon(partial(self._watch_in_listener, link, end, callback))
                continue
            forget = partial(loop.remove_reader, end.fileno())
            callback = self._receiver(worker, link, lane, forget)
            link.loop = loop
            if loop is asyncio._get_running_loop():  # noqa: SLF001
                loop.add_reader(end.fileno(), callback)
            else:
                loop.call_soon_threadsafe(_watch_in_loop, loop, link, end, callback)

    def _watch_in_listener(self, link: Link, end: End, callback: Callable[[], None]) -> None:
        if not link.closed and not link.buried:
            self.listener.watch(end, callback)

    def _receiver(
        self, worker: PoolWorker, link: Link, lane: int, gone: Callable[[], object]
    ) -> Callable[[], None]:
        """Return what is to be called when the reader of a lane can be read."""
        return partial(self.events.receive, worker, lane, partial(self._read, link, lane, gone))

    def _read(self, link: Link, lane: int, gone: Callable[[], object]) -> deque[Reports]:
        frames: deque[Reports] = link.readers[lane].frames
        try:
            if not link.closed:
                link.read(lane)
        except BlockingIOError:  # somebody else has read it
            pass
        except (EOFError, OSError):
            gone()
            self._cut_off(link)
        except MemoryError:
            _log.exception("no memory to read from worker process %s, killed", link.process.pid)
            gone()
            link.process.kill()
        except Exception:  # noqa: BLE001 - whatever marshal and pickle make of nonsense
            _log.exception("nonsense from worker process %s, which is killed", link.process.pid)
            gone()
            link.process.kill()
        return frames

    def _drain(self, link: Link, lane: int) -> deque[Reports]:
        """Read all that a worker which has ended has left."""
        frames: deque[Reports] = link.readers[lane].frames
        while True:
            try:
                link.read(lane)
            except Exception:  # noqa: BLE001 - nothing is left, or nonsense is
                return frames

    def resume(self) -> None:
        if self._gate is not None:
            self._gate.settle(lambda: False)
        for link in list(self._links.values()):
            for lane in LANES:
                self._flush(link, lane)
        self._take_in_rest()

    def _take_in_rest(self) -> None:
        """Report what was read and not taken in, as a signal handler broke into that."""
        for worker, link in list(self._links.items()):
            for lane in LANES:
                if link.readers[lane].interrupted:
                    read = partial(self._read, link, lane, lambda: None)
                    self.events.receive(worker, lane, read)

    # -- the rest -------------------------------------------------------------

    def owns_current_thread(self) -> bool:
        return False

    def leads(self) -> bool:
        return self._gate is not None and self._gate.leads()

    def is_broken_into(self) -> bool:
        gate, arena = self._gate, self._arena
        return (
            (gate is not None and gate.is_broken_into())
            or (arena is not None and is_mine(arena._lock))  # noqa: SLF001
            or is_mine(self._arena_lock)
            or is_mine(_late.importing)
        )

    def read_until(
        self, done: Callable[[], bool], end: float | None, quiet: Callable[[], bool]
    ) -> None:
        if self._gate is not None and self._loop is None:
            self._gate.read_until(done, end, quiet)

    def arm(self) -> None:
        if self._gate is not None:
            self._gate.arm()

    def wake(self) -> None:
        if self._gate is not None:
            self._gate.wake()

    def close(self) -> None:
        assert not self._links
        self._starter.close()
        if self._gate is not None:
            self.listener.unwatch(self._gate)
            self._gate.close()
        if self._arena is not None:
            self._arena.close()
        if self._oom_kills is not None:
            self._oom_kills.close()

    def break_down(self) -> None:
        links = list(self._links.items())
        for _, link in links:
            link.unwanted = True
            with contextlib.suppress(Exception):
                link.process.kill()
        for worker, link in links:
            with contextlib.suppress(Exception):
                link.process.join(1)
            with contextlib.suppress(Exception):
                self._bury(worker, link, Death((0, 0), None, None))
        self.close()

    def renew_after_fork(self) -> None:
        _starter.renew()
        _late.renew()
        self._arena_lock = RLock()
        if self._arena is not None:  # of a submit that did not come to its end
            self._arena.close()
            self._arena = None

    def abandon_after_fork(self) -> None:
        _starter.renew()
        _late.renew()
        self._starter.abandon_after_fork()
        for link in self._links.values():
            # Or the exit hook of multiprocessing would wait for the parent's children here.
            vars(process_module).get("_children", set()).discard(link.process)
            for end in link.ends():  # not the counters: they may be those of this very child
                end.close()
        if self._gate is not None:
            self._gate.discard()
        if self._arena is not None:
            self._arena.close()
        if self._oom_kills is not None:
            self._oom_kills.close()


def _never_served(error: WorkerLostError, progress: Progress) -> WorkerStartError:
    """Return what to tell of a worker that ended before it was ready."""
    words = error.stack or progress.last_words()
    said = f"; its last words: {words.splitlines()[-1]}" if words else ""
    failure = WorkerStartError(
        f"worker process {error.pid} {error.cause} before it was ready, "
        f"after {error.uptime:.1f} s{said}"
    )
    failure.__cause__ = error
    if words:
        failure.add_note(f"the worker's last words:\n{words}")
    return failure


def _unborn(error: WorkerStartError) -> Death:
    return Death((0, 0), None, error)


class _Sentinel:
    """Something with a ``fileno``, around the sentinel of ``multiprocessing``."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd


def _kill(link: Link) -> None:
    with contextlib.suppress(OSError, ValueError):  # its end is known
        if link.pidfd is not None:  # its number may be another's by now
            signal.pidfd_send_signal(link.pidfd.fileno(), signal.SIGKILL)
        else:
            link.process.kill()


def _open_pidfd(pid: int) -> PipeEnd | None:
    try:
        return PipeEnd(os.pidfd_open(pid))
    except (AttributeError, OSError):  # not Linux, an old kernel, or ended already
        return None


def _can_watch(loop: Loop) -> bool:
    """Whether the loop can wait for pipes (the Proactor loop of Windows cannot)."""
    return not (sys.platform == "win32" and isinstance(loop, asyncio.ProactorEventLoop))


def _watch_in_loop(loop: Loop, link: Link, end: End, callback: Callable[[], None]) -> None:
    if not link.closed:
        loop.add_reader(end.fileno(), callback)


def _unwatch_and_close(loop: Loop, link: Link) -> None:
    if not link.closed:
        for reader in link.readers:
            loop.remove_reader(reader.end.fileno())
        link.close()


def _why(failure: BaseException) -> str:
    """Return why a process could not be started."""
    if isinstance(failure, (ConnectionError, EOFError)):
        return (
            f"its fork server has ended ({failure}); why is to be read on stderr. From CPython "
            "3.14 on it imports the main module, which must not use an executor meanwhile: put "
            "the code that does so under `if __name__ == '__main__':`"
        )
    if isinstance(failure, FileNotFoundError) and not _has_directory():
        return (
            f"the working directory of this program was deleted ({failure}), and a new interpreter "
            "begins in it: change to one that exists, os.chdir(…), before the first work"
        )
    return str(failure)


def _has_directory() -> bool:
    """Whether the working directory of this process exists."""
    try:
        os.getcwd()  # noqa: PTH109 - nothing is done with it
    except FileNotFoundError:
        return False
    return True
