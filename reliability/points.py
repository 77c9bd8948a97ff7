"""The points of the protocol at which a pool must survive a fault, numbered, on all sides.

`python3 dev.py reliability points` prints them. A point names a function of aplex and says when
in its call it is: before it, after it, or in the middle of the frame that it writes. Nothing in
aplex knows of points: the function is wrapped by name (see `reliability.killing.hooks`), in the
worker, in the parent, or in the template process that forks workers. So a function that is renamed
fails the test that reaches every point.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from aplex._common.messages import COROUTINE, DELIVERED, FREED, PLAIN, READY, RETURNED

WORKER: Final = "worker"
PARENT: Final = "parent"
TEMPLATE: Final = "template"

BEFORE: Final = "before"
AFTER: Final = "after"
HEADER: Final = "header"  # the header of the frame was written, and nothing else
HALF: Final = "half"  # half of the frame was written

WORKS: Final = "works"  # scenes, see `reliability.killing.scenes`
STOP: Final = "stop"
RECALL: Final = "recall"
DEATH: Final = "death"
ALONE: Final = "alone"
LIFE: Final = "life"
LOGS: Final = "logs"
SHARE: Final = "share"


@dataclass(frozen=True)
class Point:
    """One moment of the protocol.

    Attributes:
        side: Who gets there.
        name: What is going on.
        target: The function, as ``module:name`` or ``module:class.name``.
        when: When in a call of it.
        counts: Whether a call of it is meant, by its arguments.
        scene: What a pool must do to get there.
        unborn: Whether the worker can have started no work yet, so that none may fail.
        often: Whether a worker gets there again and again.
    """

    side: str
    name: str
    target: str
    when: str
    counts: Callable[..., bool]
    scene: str = WORKS
    unborn: bool = False
    often: bool = False

    @property
    def number(self) -> int:
        """Its place in the table, from 1."""
        return POINTS.index(self) + 1

    @property
    def title(self) -> str:
        """Its name and when, unique."""
        return f"{self.name}, {self.when}"


# -- which calls are meant ----------------------------------------------------


def _any(*_: Any) -> bool:
    return True


def _plain_lane(*_: Any) -> bool:
    return threading.current_thread() is threading.main_thread()


def _coroutine_lane(*_: Any) -> bool:
    return threading.current_thread().name == "aplex-loop"


def _ready(_writer: Any, body: Any) -> bool:
    return any(kind == READY for _, kind, _ in body[1])


def _plain_results(_writer: Any, body: Any) -> bool:
    return _plain_lane() and bool(body[2] or body[4])


def _coroutine_results(_writer: Any, body: Any) -> bool:
    return _coroutine_lane() and bool(body[2] or body[4])


def _delivery(_writer: Any, body: Any) -> bool:
    return any(kind == DELIVERED for _, kind, _ in body[1])


def _return(_writer: Any, body: Any) -> bool:
    return any(kind == RETURNED for _, kind, _ in body[1])


def _frees(_writer: Any, body: Any) -> bool:
    return any(kind == FREED for _, kind, _ in body[1])


def _plain_works(_backend: Any, worker: Any, _link: Any, lane: int) -> bool:
    return lane == PLAIN and bool(worker.outboxes[lane])


def _coroutine_works(_backend: Any, worker: Any, _link: Any, lane: int) -> bool:
    return lane == COROUTINE and bool(worker.outboxes[lane])


def _cancels(_backend: Any, worker: Any, _link: Any, lane: int) -> bool:
    return lane == COROUTINE and bool(worker.cancels)


def _recalls(_backend: Any, worker: Any, _link: Any, lane: int) -> bool:
    return lane == COROUTINE and bool(worker.recalls)


def _results_come(_pool: Any, _worker: Any, reports: Any) -> bool:
    return bool(reports[2] or reports[4])


def _lent(_backend: Any, _link: Any, work: Any) -> bool:
    return type(work.call).__name__ == "SharedPayload"


def _shares(_backend: Any, worker: Any, _link: Any, lane: int) -> bool:
    return any(getattr(work.function, "shares", ()) for work in worker.outboxes[lane])


def _lives(_shares: Any, link: Any, _numbers: Any) -> bool:
    return not link.buried


def _aboard(_pool: Any, work: Any) -> bool:
    return work.worker is not None


# -- the table ----------------------------------------------------------------


def _points(
    side: str,
    name: str,
    target: str,
    *whens: str,
    counts: Callable[..., bool] = _any,
    scene: str = WORKS,
    unborn: bool = False,
    often: bool = False,
) -> list[Point]:
    return [Point(side, name, target, when, counts, scene, unborn, often) for when in whens]


def _worker(name: str, target: str, *whens: str, **options: Any) -> list[Point]:
    return _points(WORKER, name, target, *whens, **options)


def _parent(name: str, target: str, *whens: str, **options: Any) -> list[Point]:
    return _points(PARENT, name, target, *whens, **options)


def _template(name: str, target: str, *whens: str, **options: Any) -> list[Point]:
    return _points(TEMPLATE, name, target, *whens, unborn=True, **options)


_START: Final = [
    *_worker("the process begins", "reliability.killing.faults:arrived", BEFORE, unborn=True),
    *_worker("set up", "aplex._worker.process:Child.__init__", BEFORE, AFTER, unborn=True),
    *_worker("start the loop's thread", "aplex._worker.loop_thread:LoopThread.start", AFTER),
    *_worker("initializer", "reliability.killing.works:prepare", BEFORE, AFTER, unborn=True),
    *_worker(
        "say that it is ready", "aplex._wire.frames:Writer.write", BEFORE, HEADER, HALF, AFTER,
        counts=_ready, unborn=True,
    ),
]  # fmt: skip
_RECEIVE: Final = [
    *_worker(
        "read plain functions",
        "aplex._wire.frames:Reader.read",
        BEFORE,
        AFTER,
        counts=_plain_lane,
        often=True,
    ),
    *_worker(
        "read coroutines", "aplex._wire.frames:Reader.read", BEFORE, AFTER, counts=_coroutine_lane
    ),
    *_worker("learn of functions", "aplex._wire.calls:CallDecoder.define", BEFORE, AFTER),
    *_worker("make the first loop", "aplex._worker.loop_thread:run_until_stopped", BEFORE),
]
_PLAIN: Final = "aplex._worker.plain_lane:PlainLane"
_LOOP: Final = "aplex._worker.coroutine_lane:CoroutineLane"
_RUN: Final = [
    *_worker("run a frame of plain functions", f"{_PLAIN}.run", BEFORE, AFTER, often=True),
    *_worker("run a plain function, counted", f"{_PLAIN}._run", BEFORE, AFTER, often=True),
    *_worker("begin a coroutine, counted", f"{_LOOP}.begin", BEFORE, AFTER, often=True),
    *_worker("call a work", "aplex._wire.calls:CallDecoder.run", BEFORE, AFTER, often=True),
    *_worker("in a plain function", "reliability.killing.works:run", BEFORE, AFTER, often=True),
    *_worker("in a coroutine", "reliability.killing.works:arun_begins", BEFORE, AFTER, often=True),
    *_worker("make a task", f"{_LOOP}._run", BEFORE, AFTER, often=True),
    *_worker("take the outcome of a task", f"{_LOOP}._ended", BEFORE, AFTER, often=True),
    *_worker(
        "give a coroutine to the loop",
        "aplex._worker.loop_thread:LoopThread.adopt_soon",
        BEFORE,
        AFTER,
    ),
    *_worker("adopt a coroutine", f"{_LOOP}.adopt", BEFORE, AFTER),
]
_REPORT: Final = [
    *_worker("pickle a result", "aplex._worker.process_codec:encode_value", BEFORE, AFTER),
    *_worker("pickle an exception", "aplex._worker.process_codec:encode_exception", BEFORE, AFTER),
    *_worker(
        "put a big result into memory", "aplex._worker.shared_results:SharedResults.put",
        BEFORE, AFTER,
    ),
    *_worker("hold a result back", "aplex._worker.watcher:Kick.give", BEFORE, AFTER),
    *_worker("send what was held back", f"{_PLAIN}.flush_held", BEFORE, AFTER),
    *_worker(
        "write results of plain functions", "aplex._wire.frames:Writer.write",
        BEFORE, HEADER, HALF, AFTER, counts=_plain_results, often=True,
    ),
    *_worker(
        "write results of coroutines", "aplex._wire.frames:Writer.write",
        BEFORE, HEADER, HALF, AFTER, counts=_coroutine_results,
    ),
    *_worker(
        "write on what did not fit", "aplex._worker.coroutine_pipes:CoroutinePipes._flush",
        BEFORE, AFTER,
    ),
]  # fmt: skip
_CANCEL: Final = [
    *_worker("cancel a coroutine", f"{_LOOP}.cancel", BEFORE, AFTER),
    *_worker("skip a plain function", f"{_PLAIN}.skip", BEFORE, AFTER),
    *_worker(
        "say that a cancel was delivered", "aplex._wire.frames:Writer.write", BEFORE, HALF, AFTER,
        counts=_delivery,
    ),
]  # fmt: skip
_END: Final = [
    *_worker("told to stop", "aplex._worker.process:Child._serve", AFTER, scene=STOP),
    *_worker(
        "stop the loop", "aplex._worker.loop_thread:LoopThread.stop", BEFORE, AFTER, scene=STOP
    ),
    *_worker(
        "the loop is closed", "aplex._worker.loop_thread:run_until_stopped", AFTER, scene=STOP
    ),
    *_worker("the interpreter ends", "aplex._worker.process:Child.run", AFTER, scene=STOP),
]
_PROCESS: Final = "aplex._backends.process.backend:ProcessBackend"
_PIPED: Final = "aplex._backends.linked.sending:Sender"
_PARENTS_START: Final = [
    *_parent("start a process", "multiprocessing.process:BaseProcess.start", AFTER, unborn=True),
    *_parent("watch for its end", f"{_PROCESS}._started", BEFORE, AFTER, unborn=True),
    *_parent("let it serve", "aplex._pool.pool:Pool._ready", BEFORE, AFTER, unborn=True),
]
_PARENTS_SENDING: Final = [
    *_parent("hand a work over", "aplex._pool.pool:Pool._hand", BEFORE, AFTER, often=True),
    *_parent("send an outbox", f"{_PIPED}.send", BEFORE, AFTER, often=True),
    *_parent("lend a big argument", f"{_PIPED}._lend", BEFORE, AFTER, counts=_lent),
    *_parent(
        "write plain functions", f"{_PIPED}._send_lane", BEFORE, HEADER, HALF, AFTER,
        counts=_plain_works, often=True,
    ),
    *_parent(
        "write coroutines", f"{_PIPED}._send_lane", BEFORE, HEADER, HALF, AFTER,
        counts=_coroutine_works,
    ),
    *_parent("write on what did not fit, too", f"{_PIPED}._flush_locked", BEFORE, AFTER),
    *_parent("ask for a cancel", "aplex._pool.pool:Pool.cancel", BEFORE, AFTER, counts=_aboard),
    *_parent("write cancels", f"{_PIPED}._send_lane", BEFORE, HALF, AFTER, counts=_cancels),
]  # fmt: skip
_PARENTS_READING: Final = [
    *_parent("read reports", "aplex._backends.linked.link:Link.read", BEFORE, AFTER, often=True),
    *_parent(
        "take results in",
        "aplex._pool.pool:Pool.take_in",
        BEFORE,
        AFTER,
        counts=_results_come,
        often=True,
    ),
]
_PARENTS_END: Final = [
    *_parent("retire a worker", "aplex._pool.pool:Pool._retire", BEFORE, AFTER, scene=STOP),
    *_parent(
        "tell a worker to stop", f"{_PROCESS}.stop", BEFORE, HALF, AFTER, scene=STOP,
    ),
    *_parent("lose another worker", "aplex._pool.pool:Pool.lost", BEFORE, AFTER, scene=DEATH),
]  # fmt: skip
_RECALL: Final = [
    *_worker("look for a function recalled", f"{_LOOP}.recall", BEFORE, AFTER),
    *_worker(
        "give functions back", "aplex._wire.frames:Writer.write", BEFORE, HALF, AFTER,
        counts=_return,
    ),
    *_parent(
        "recall functions", f"{_PIPED}._send_lane", BEFORE, HALF, AFTER, counts=_recalls,
    ),
    *_parent("take a function back", "aplex._pool.pool:Pool._take_back", BEFORE, AFTER),
]  # fmt: skip
_ALONE: Final = [
    *_parent("write a work that is alone", f"{_PIPED}.send_alone", BEFORE, HEADER, HALF, AFTER),
    *_parent(
        "take the result of a work that is alone", "aplex._pool.pool:Pool.take_alone",
        BEFORE, AFTER,
        counts=_results_come,
    ),
]  # fmt: skip
_FORKER: Final = "aplex._worker.template:Template"
FORKING: Final = [
    *_template("learn what to import", "aplex._worker.template:begin", BEFORE, AFTER),
    *_template("import the main module", "aplex._worker.template:_load", BEFORE, AFTER),
    *_template("say that it is ready, or has forked", "aplex._worker.template:_tell",
        BEFORE, AFTER, often=True,
    ),
    *_template("read a request", "aplex._wire.descriptors:receive", BEFORE, AFTER, often=True),
    *_template("fork", "os:fork", BEFORE, AFTER, often=True),
    *_template("tell of a fork", f"{_FORKER}._watch", BEFORE, AFTER, often=True),
    *_template("import the rest", f"{_FORKER}._import_some", BEFORE, AFTER, often=True),
    *_points(TEMPLATE, "tell of an end", f"{_FORKER}._reap", BEFORE, AFTER, scene=DEATH),
    *_parent(
        "have a process forked", "aplex._backends.process.template:TemplateProcess.start", AFTER,
        unborn=True,
    ),
    *_parent(
        "wait until the template tells of an end", f"{_PROCESS}._await_status", BEFORE, AFTER,
        scene=DEATH,
    ),
]  # fmt: skip

_LIFE: Final = [
    *_worker(
        "enter the lifespan", "reliability.killing.works:enter", BEFORE, AFTER, unborn=True
    ),
    *_worker("leave the lifespan", "reliability.killing.works:leave", BEFORE, AFTER),
]  # fmt: skip
_FORWARDER: Final = "aplex._worker.log_forwarding:Forwarder"
_LOGS: Final = [
    *_worker("take the levels", f"{_FORWARDER}.install", BEFORE, AFTER, unborn=True),
    *_worker("pack a record", "aplex._worker.log_forwarding:pack", BEFORE, AFTER, often=True),
    *_worker(
        "write log records", f"{_FORWARDER}._write", BEFORE, HEADER, HALF, AFTER, often=True
    ),
    *_worker("write on records that did not fit", f"{_FORWARDER}._go_on", BEFORE, HALF, AFTER),
    *_worker("leave records behind", f"{_FORWARDER}.finish", BEFORE, AFTER),
]  # fmt: skip

_SHARED: Final = "aplex._wire.shared_objects"
_SHARES: Final = "aplex._backends.linked.shares:Shares"
_SHARE: Final = [
    *_worker("learn of shared objects", f"{_SHARED}:SharedObjects.define", BEFORE, AFTER),
    *_worker("unpickle a shared object", f"{_SHARED}:SharedObjects.take", BEFORE, AFTER),
    *_worker("map a shared object", f"{_SHARED}:SharedViews.open", BEFORE, AFTER),
    *_worker(
        "say that shared objects are gone", "aplex._wire.frames:Writer.write",
        BEFORE, HEADER, HALF, AFTER, counts=_frees,
    ),
    *_parent(
        "write works with shared objects", f"{_PIPED}._send_lane", BEFORE, HEADER, HALF, AFTER,
        counts=_shares,
    ),
    *_parent("have them forgotten", f"{_PIPED}.tell", BEFORE, HEADER, HALF, AFTER),
    *_parent("hear that they are gone", f"{_SHARES}.freed", BEFORE, AFTER, counts=_lives),
]  # fmt: skip

POINTS: Final[tuple[Point, ...]] = (
    *_START, *_RECEIVE, *_RUN, *_REPORT, *_CANCEL, *_END,
    *_PARENTS_START, *_PARENTS_SENDING, *_PARENTS_READING, *_PARENTS_END,
    *(replace(point, scene=RECALL) for point in _RECALL),
    *(replace(point, scene=ALONE) for point in _ALONE),
    *FORKING,
    *(replace(point, scene=LIFE) for point in _LIFE),
    *(replace(point, scene=LOGS) for point in _LOGS),
    *(replace(point, scene=SHARE) for point in _SHARE),
)  # fmt: skip
"""All of them; a point's number is its place here."""


def main() -> None:
    """Print the table."""
    for point in POINTS:
        print(f"{point.number:3}  {point.side:6}  {point.title:45}  {point.target}")


if __name__ == "__main__":
    main()
