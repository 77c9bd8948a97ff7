"""Property: whatever happens to a pool, its recording tells just that, and invents nothing.

Random histories go through a real `Manager` over workers in memory; a test plays the workers,
which note times as real ones do. Then the recording is compared with the futures, and with what
``stats()`` counts.
"""

from __future__ import annotations

import time
from array import array
from collections import Counter, defaultdict, deque
from contextlib import closing
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings

from aplex._backends.memory import MemoryBackend
from aplex._common.messages import CANCELLED, COROUTINE, ERROR, LANES, PLAIN, RAISED
from aplex._common.options import WorkOptions
from aplex._manager.manager import Manager
from aplex._observe.attempts import Attempt, Attempts
from aplex._observe.feed import Feed
from aplex._observe.history import OUTCOMES
from aplex._observe.source import Source
from aplex._pool.pool import Pool
from aplex._pool.state import PoolWorker, Work, WorkerState
from aplex._wire.exceptions import encode_exception
from aplex.exceptions import WorkerLostError
from aplex.futures import ConcurrentFuture
from aplex.load_balancers import RoundRobin
from aplex.recordings import Recording, read

DEADLINE = 10  # seconds
OPERATIONS = (
    "submit",
    "submit",
    "submit",
    "end",
    "end",
    "fail",
    "cancel",
    "die",
    "ready",
    "resize",
)
Step = tuple[str, int]


class Play:
    """A pool whose workers a test plays, and the recording of it."""

    def __init__(self, limit: int = 1_000_000, *, timed: bool = True) -> None:
        self.backend = MemoryBackend()
        self.pool = Pool(2, 4, RoundRobin)
        self.manager = Manager(self.pool, self.backend, "play", exit_grace=0.2)
        self.recording = Recording(Source(self.manager, limit, messages=True))
        self.works: list[tuple[Work, ConcurrentFuture[Any]]] = []
        self.timed = timed
        self.begun: Counter[int] = Counter()  # how often each work was begun and lost, or ended

    def alive(self) -> list[PoolWorker]:
        with self.manager._lock:
            return [w for w in self.pool.everyone() if w.state is not WorkerState.GONE]

    def busy(self) -> list[tuple[PoolWorker, list[Work]]]:
        """Workers and their works, in the order in which they were sent."""
        serving = [w for w in self.alive() if w.pid is not None and w.works]
        return [(worker, sorted(worker.works.values(), key=_order)) for worker in serving]

    def submit(self, number: int) -> None:
        future: ConcurrentFuture[Any] = ConcurrentFuture()
        work = Work(PLAIN if number % 3 else COROUTINE, print, ((), {}), None, future)
        work.manager, work.target = self.manager, (print, len)[number % 2]
        work.options = WorkOptions(retries=number % 4)
        future._work = work
        self.manager.submit(work)
        self.works.append((work, future))

    def end(self, number: int, *, fail: bool = False) -> None:
        """Let one or more works of a worker end: functions in their order."""
        busy = self.busy()
        if not busy:
            return
        worker, works = busy[number % len(busy)]
        lane = works[number % len(works)].lane
        ended = [work for work in works if work.lane == lane][: 1 + number % 3]
        ids = [work.id for work in ended]
        self.begun.update(ids)
        others: list[Any] = []
        values = ids
        if fail:
            error = ValueError("bad")
            data = (ERROR, encode_exception(error)) if number % 2 else (RAISED, error)
            kind = (CANCELLED, None) if ended[0].cancel_asked else data
            others, values = [(ids[0], *kind)], ids[1:]
        frame: Any = (0.001 * lane, others, values, values, [], [])
        if self.timed:
            errors = [(ids[0], "ValueError", "bad")] if fail else []
            frame = (*frame, (_times(lane, ids), errors))
        self.backend.events.receive(worker, lane, lambda: deque((frame,)))

    def die(self, number: int) -> None:
        """Let a worker die that has started some of its works."""
        workers = self.alive()
        if not workers:
            return
        worker = workers[number % len(workers)]
        started = [0, 0]
        for lane in LANES:
            there = sorted(w.seq for w in worker.works.values() if w.lane == lane)
            first = there[0] - 1 if there else worker.seqs[lane]
            started[lane] = min(first + number % 3, worker.seqs[lane])
        for work in worker.works.values():
            self.begun[work.id] += work.seq <= started[work.lane]
        running = [w.seq for w in worker.works.values() if w.lane and w.seq == started[PLAIN]]
        if running:
            self.backend.runs[worker] = (running[0], time.monotonic())
        self.backend.die(worker, (started[0], started[1]), WorkerLostError(1, -9, 1))

    def step(self, step: Step) -> None:
        operation, number = step
        if operation == "submit":
            self.submit(number)
        elif operation in ("end", "fail"):
            self.end(number, fail=operation == "fail")
        elif operation == "cancel" and self.works:
            self.works[number % len(self.works)][1].cancel()
        elif operation == "die":
            self.die(number)
        elif operation == "resize":
            self.manager.resize(1 + number % 3)
        else:
            self.serve()

    def serve(self) -> None:
        for worker in self.alive():
            if worker.pid is None:
                self.backend.ready(worker, 1000 + worker.id)

    def close(self) -> None:
        """Let all works end, and the pool."""
        self.manager.close()
        end = time.monotonic() + DEADLINE
        while not self.manager.gone.done():
            assert time.monotonic() < end
            self.serve()
            while self.busy():
                self.end(0)
            for worker in self.alive():
                if worker.state is WorkerState.STOPPING:
                    self.backend.die(worker)
            self.manager.wait(0.001)


def _order(work: Work) -> tuple[int, int]:
    return work.lane, work.seq or work.id


def _times(lane: int, ids: list[int]) -> bytes:
    column = array("q")
    for work_id in ids:
        column.extend((work_id, time.monotonic_ns()))
        if lane == COROUTINE:
            column.append(time.monotonic_ns())
    if lane == PLAIN:
        column.append(time.monotonic_ns())
    return column.tobytes()


def rows_of(recording: Recording) -> list[dict[str, Any]]:
    columns = recording.works()
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def outcome_of(future: ConcurrentFuture[Any]) -> str:
    if not future.done():
        return "pending"
    if future.cancelled():
        return "cancelled"
    return "failed" if future.exception(0) else "done"


def check(play: Play, rows: list[dict[str, Any]]) -> None:
    by_work: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_work[row["id"]].append(row)
        times = [row[n] for n in ("submitted", "sent", "began", "ended", "received")]
        known = [time for time in times if time is not None]
        assert known == sorted(known), row
        assert row["submitted"] is not None
    assert set(by_work) == {work.id for work, _ in play.works}
    for work, future in play.works:
        *lost, last = by_work[work.id]
        assert [row["outcome"] for row in lost] == ["lost"] * len(lost)
        told = "pending" if last["outcome"] in ("running", "waiting") else last["outcome"]
        assert told == outcome_of(future)
        assert [row["attempt"] for row in by_work[work.id]] == list(range(1, len(lost) + 2))
        if play.timed and last["outcome"] == "done":
            assert last["began"] is not None
        if play.timed and last["outcome"] == "failed":  # else it may be pickled still
            assert last["error"]
    assert sum(row["outcome"] == "lost" for row in rows) == play.pool.tally.retried


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 100)), max_size=60),
    st.booleans(),
)
def test_a_recording_tells_what_has_happened(steps: list[Step], timed: bool) -> None:
    play = Play(timed=timed)
    with play.recording, closing(play):
        play.submit(1)
        play.serve()
        for step in steps:
            play.step(step)
        with play.manager._lock:  # the listener sends nothing meanwhile
            check(play, rows_of(play.recording))  # in the middle of it
            stats = play.manager.stats()
    rows = rows_of(play.recording)
    check(play, rows)
    assert not any(row["outcome"] in ("running", "waiting") for row in rows)
    counts = Counter(row["outcome"] for row in rows)
    after = play.manager.stats()
    assert counts["failed"] == after.failed
    assert counts["done"] == after.done
    assert counts["cancelled"] == after.cancelled
    assert stats.submitted <= after.submitted == len({row["id"] for row in rows})


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 100)), max_size=60),
    st.booleans(),
    st.integers(1, 7),
)
def test_attempts_are_told_one_by_one_as_the_history_tells_them(
    steps: list[Step],
    timed: bool,
    pause: int,
) -> None:
    """However often what is new is taken."""
    play = Play(timed=timed)
    attempts = Attempts(lambda _work_id: False)
    told: list[Attempt] = []
    with play.recording:
        recorder = play.manager.observer()
        feed = Feed(recorder.names, lambda: None)
        play.manager.within(lambda: recorder.open(feed, lambda: None))
        with closing(play):
            for at, step in enumerate([("submit", 1), ("ready", 0), *steps]):
                play.step(step)
                if at % pause == 0:
                    told += attempts.play(play.manager.within(feed.take))
        told += attempts.play(play.manager.within(feed.take))
        assert attempts.rest() == []
    texts = recorder.names.texts
    head = play.recording._source.tape().head
    seen = [
        (
            *(attempt.id, attempt.number, OUTCOMES[attempt.outcome], texts[attempt.name]),
            *(attempt.worker or None, texts[attempt.error] or None),
            None if attempt.began < 0 else (attempt.began - head["started"]) / 1e9,
        )
        for attempt in told
    ]
    names = ("id", "attempt", "outcome", "name", "worker", "error", "began")
    rows = [tuple(row[name] for name in names) for row in rows_of(play.recording)]
    assert sorted(seen, key=repr) == sorted(rows, key=repr)
    assert all(attempt.ended >= max(attempt.began, attempt.sent) for attempt in told)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 100)), max_size=60))
def test_what_is_dropped_is_counted_and_the_rest_is_true(steps: list[Step]) -> None:
    play = Play(limit=8)
    with play.recording, closing(play):
        play.submit(1)
        play.serve()
        for step in steps:
            play.step(step)
        with play.manager._lock:
            in_flight = {work_id for worker in play.alive() for work_id in worker.works}
            assert in_flight <= {row["id"] for row in rows_of(play.recording)}
    rows = rows_of(play.recording)
    futures = {work.id: future for work, future in play.works}
    last = {row["id"]: row["outcome"] for row in rows}
    for work_id, outcome in last.items():
        assert outcome in (outcome_of(futures[work_id]), "lost")
    if not play.recording.dropped:
        assert set(last) == set(futures)
    sent = [row for row in rows if row["sent"] is not None]
    assert len(sent) <= 8 + 4 * 3  # the limit, and what was in flight


def test_a_recording_may_begin_and_end_in_the_middle(tmp_path: Any) -> None:
    """Works that were there before have no time of submission; those still there are told."""
    play = Play()
    play.submit(1)
    play.serve()
    for _ in range(12):
        play.submit(1)
    with closing(play), play.recording as run:
        play.end(2)
        play.submit(2)
        run.mark("here")
    rows = {row["id"]: row for row in rows_of(run)}
    assert rows[1]["submitted"] is None
    assert rows[14]["submitted"] is not None
    counts = Counter(row["outcome"] for row in rows.values())
    assert counts["done"] == 1
    assert counts["running"] + counts["waiting"] == 13
    assert rows == {row["id"]: row for row in rows_of(run)}
    run.save(tmp_path / "run.aplex")
    again = read(tmp_path / "run.aplex")
    assert again.works() == run.works()
    assert again.summary() == run.summary()
