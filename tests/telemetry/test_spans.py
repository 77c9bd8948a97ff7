"""Spans of works: made in the parent, whatever becomes of the workers."""

from __future__ import annotations

import asyncio
import multiprocessing.resource_tracker
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler
from opentelemetry.trace import SpanKind, StatusCode

from aplex import telemetry
from tests.support import works
from tests.support.callers import DEADLINE, make_pool
from tests.support.leaks import nothing_left_alive

ENGINES = pytest.mark.parametrize("engine", ["thread", "template", "spawn"])


@pytest.fixture(autouse=True)
def leaks() -> Iterator[None]:
    multiprocessing.resource_tracker.ensure_running()  # started once, and stays
    with nothing_left_alive():
        yield


class Spans:
    """A provider, and the spans it has made."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer("test")

    def of(self, future: Any) -> list[ReadableSpan]:
        """The spans of a work, by attempt."""
        mine = [span for span in self.all() if span.attributes["aplex.work.id"] == future.id]
        return sorted(mine, key=lambda span: span.attributes["aplex.attempt"])

    def all(self) -> list[ReadableSpan]:
        """All spans of works."""
        spans = self._exporter.get_finished_spans()
        return [span for span in spans if span.name.startswith("process ")]


@ENGINES
def test_each_work_is_a_child_of_its_callers_span(engine: str) -> None:
    spans = Spans()
    with make_pool(engine) as pool:
        telemetry.opentelemetry(pool, tracer_provider=spans.provider)
        before = time.time_ns()
        with spans.tracer.start_as_current_span("one") as one:
            plain = pool.submit(works.span, 0.01)
            mapped = pool.map(works.add, range(3))
        with spans.tracer.start_as_current_span("two") as two:
            coroutine = pool.submit(works.aspan, 0.01)
            failing = pool.submit(works.fail, ValueError("secret"))
            assert list(mapped) == [0, 1, 2]
            assert list(pool.stream(range, 3)) == [0, 1, 2]
        alone = pool.submit(works.aadd, 1)
        assert alone.result(DEADLINE) == 1
        failing.exception(DEADLINE)
        coroutine.result(DEADLINE)
    after = time.time_ns()
    assert len(spans.all()) == 8
    parents = {
        span.attributes["aplex.work.id"]: span.parent and span.parent.span_id
        for span in spans.all()
    }
    first, second = one.get_span_context().span_id, two.get_span_context().span_id
    assert (parents[plain.id], parents[coroutine.id], parents[alone.id]) == (first, second, None)
    assert sorted(parents.values(), key=str) == sorted([first] * 4 + [second] * 3 + [None], key=str)
    for span in spans.all():
        [started] = span.events
        assert before <= span.start_time <= started.timestamp <= span.end_time <= after + 10**7
        assert span.kind is SpanKind.CONSUMER
        assert started.name == "started"
        assert span.attributes["aplex.worker.slot"] == 0
        assert ("aplex.worker.pid" in span.attributes) == (engine != "thread")
    [span] = spans.of(plain)
    assert span.name == "process tests.support.works.span"
    assert span.end_time - span.events[0].timestamp >= 9_000_000
    assert span.attributes["aplex.wait"] == pytest.approx(
        (span.events[0].timestamp - span.start_time) / 1e9, abs=1e-6
    )
    [span] = spans.of(failing)
    assert span.attributes["error.type"] == "ValueError"
    assert (span.attributes["aplex.outcome"], span.status.status_code) == (
        "failed",
        StatusCode.ERROR,
    )
    assert "secret" not in repr([span.to_json() for span in spans.all()])


def test_all_chunks_of_a_map_are_children_of_the_span_in_which_it_was_called() -> None:
    """Whoever takes the results; so their items need no links."""
    spans = Spans()
    with make_pool("thread") as pool:
        telemetry.opentelemetry(pool, tracer_provider=spans.provider)
        with spans.tracer.start_as_current_span("caller") as caller:
            mapped = pool.map(works.add, range(100), chunksize=5, buffersize=10)
        with spans.tracer.start_as_current_span("reader"):
            assert list(mapped) == list(range(100))
    parents = [span.parent and span.parent.span_id for span in spans.all()]
    assert set(parents) == {caller.get_span_context().span_id}
    assert len(parents) >= 20
    assert not any(span.links for span in spans.all())


def test_works_of_both_faces_and_of_views_have_spans() -> None:
    spans = Spans()

    async def submit(face: Any) -> None:
        with spans.tracer.start_as_current_span("caller"):
            assert await face.submit(works.aadd, 1) == 1
            assert [each async for each in face.map(works.add, [1])] == [1]

    with make_pool("thread", max_pending=10) as pool:
        early = pool.awaitable
        with telemetry.opentelemetry(pool, tracer_provider=spans.provider):
            late = pool.options(priority=1).awaitable
            for face in (early, late):
                asyncio.run(submit(face))
            pool.options(priority=1).submit(works.add, 1).result(DEADLINE)
        asyncio.run(submit(early))
        pool.submit(works.add, 1).result(DEADLINE)
    assert len(spans.all()) == 5
    assert sum(span.parent is not None for span in spans.all()) == 4


@pytest.mark.parametrize("engine", ["template", "spawn"])
def test_workers_that_are_killed_lose_no_span(engine: str) -> None:
    spans = Spans()
    with make_pool(engine, pool_size=2, max_restarts=100) as pool:
        telemetry.opentelemetry(pool, tracer_provider=spans.provider)
        with spans.tracer.start_as_current_span("caller") as caller:
            again = pool.options(retries=1).submit(works.die, "SIGKILL")
            never = [pool.submit(works.die, "SIGKILL") for _ in range(3)]
            others = [pool.options(retries=9).submit(works.aspan, 0.01) for _ in range(50)]
        for future in (again, *never):
            assert future.exception(DEADLINE) is not None
        for future in others:
            future.exception(DEADLINE)
        tries = pool.stats().retried
    assert len(spans.all()) == 54 + tries
    assert {span.parent.span_id for span in spans.all()} == {caller.get_span_context().span_id}
    first, second = spans.of(again)
    assert (first.attributes["aplex.outcome"], second.attributes["aplex.outcome"]) == (
        "lost",
        "failed",
    )
    assert first.attributes["error.type"] == "aplex.exceptions.WorkerLostError"
    assert first.end_time <= second.start_time + 10**6
    assert first.attributes["aplex.worker.pid"] != second.attributes["aplex.worker.pid"]
    assert [event.name for event in first.events] == ["started"]  # known without its help
    for future in never:
        [span] = spans.of(future)
        assert span.status.status_code is StatusCode.ERROR
    for future in others:
        attempts = spans.of(future)
        outcomes = [span.attributes["aplex.outcome"] for span in attempts]
        assert outcomes[:-1] == ["lost"] * (len(outcomes) - 1)
        assert outcomes[-1] == ("failed" if future.exception(0) else "done")
        assert [span.attributes["aplex.attempt"] for span in attempts] == list(
            range(1, len(attempts) + 1)
        )


@pytest.mark.parametrize("engine", ["thread", "template"])
def test_what_retry_on_runs_again_has_a_span_for_each_attempt(engine: str) -> None:
    spans = Spans()
    with make_pool(engine) as pool:
        made = telemetry.opentelemetry(pool, tracer_provider=spans.provider)
        again = pool.options(retry_on=ValueError, max_attempts=3, backoff=0.01)
        with spans.tracer.start_as_current_span("caller"):
            failing = again.submit(works.fail, ValueError())
            fine = again.submit(works.add, 1)
            odd = pool.options(
                retry_on=lambda outcome: outcome.value == 1, max_attempts=2, backoff=0.3
            ).submit(works.aadd, 1)
        for future in (failing, fine, odd):
            future.exception(DEADLINE)
            made.flush()
    assert [span.attributes["aplex.outcome"] for span in spans.of(failing)] == ["failed"] * 3
    assert [span.attributes["aplex.outcome"] for span in spans.of(fine)] == ["done"]
    assert [span.attributes["aplex.attempt"] for span in spans.of(odd)] == [1, 2]
    assert all(span.parent is not None for span in spans.all())


def test_works_that_never_began_and_late_ones_have_one_span(tmp_path: Any) -> None:
    spans = Spans()
    with make_pool("thread") as pool:
        telemetry.opentelemetry(pool, tracer_provider=spans.provider)
        gate = threading.Event()
        late = pool.options(deadline=0.05).submit(gate.wait, DEADLINE)
        waiting = pool.submit(works.add, 1)
        assert waiting.cancel()
        assert isinstance(late.exception(DEADLINE), TimeoutError)
        gate.set()
    [span] = spans.of(waiting)
    assert span.attributes["aplex.outcome"] == "cancelled"
    assert not span.events
    assert span.status.status_code is StatusCode.UNSET
    [span] = spans.of(late)
    assert span.attributes["error.type"] == "TimeoutError"


def test_the_sampler_decides_before_a_span_is_made() -> None:
    """One whose caller is not sampled is not made."""
    spans = Spans(ParentBased(ALWAYS_OFF))
    asked = []
    with make_pool("thread") as pool:
        made = telemetry.opentelemetry(pool, tracer_provider=spans.provider)
        spans.provider.add_span_processor(_Noting(asked))
        with spans.tracer.start_as_current_span("caller"):
            pool.submit(works.add, 1).result(DEADLINE)
        made.flush()
    assert spans.all() == asked == []


class _Noting(SimpleSpanProcessor):
    def __init__(self, seen: list[Any]) -> None:
        super().__init__(InMemorySpanExporter())
        self._seen = seen

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self._seen.append(span)


def test_messaging_conventions_are_opted_in_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for wanted, expected in (("", None), ("http, messaging", "aplex")):
        monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", wanted)
        spans = Spans()
        with make_pool("thread") as pool:
            telemetry.opentelemetry(pool, tracer_provider=spans.provider)
            future = pool.submit(works.add, 1)
        [span] = spans.of(future)
        assert span.attributes.get("messaging.system") == expected
        assert span.attributes.get("messaging.message.id") == (expected and str(future.id))


def test_spans_come_while_the_pool_works_and_stop_when_they_are_to() -> None:
    spans = Spans()
    with make_pool("thread") as pool:
        made = telemetry.opentelemetry(pool, tracer_provider=spans.provider)
        seen = threading.Event()
        spans.provider.add_span_processor(_Telling(seen))
        pool.submit(works.add, 1).result(DEADLINE)
        assert seen.wait(DEADLINE)
        made.stop()
        made.stop()
        pool.submit(works.add, 1).result(DEADLINE)
        assert "stopped" in repr(made)
        with pool.record() as run:  # the workers are told anew
            pool.submit(works.add, 1).result(DEADLINE)
    assert len(spans.all()) == 1
    assert run.works()["outcome"] == ["done"]


class _Telling(SimpleSpanProcessor):
    def __init__(self, seen: threading.Event) -> None:
        super().__init__(InMemorySpanExporter())
        self._seen = seen

    def on_end(self, span: ReadableSpan) -> None:
        self._seen.set()


def test_a_processor_that_raises_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    spans = Spans()

    class Raising(SimpleSpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            raise RuntimeError("full")

    spans.provider.add_span_processor(Raising(InMemorySpanExporter()))
    with make_pool("thread") as pool:
        telemetry.opentelemetry(pool, tracer_provider=spans.provider)
        assert pool.submit(works.add, 1).result(DEADLINE) == 1
    assert "full" in caplog.text


def test_threads_that_submit_at_once_are_each_the_parent_of_theirs() -> None:
    spans = Spans()

    def submit(expected: dict[int, int]) -> None:
        for _ in range(50):
            with spans.tracer.start_as_current_span("caller") as caller:
                future = pool.submit(works.add, 1)
            expected[future.id] = caller.get_span_context().span_id
            future.result(DEADLINE)

    told: list[dict[int, int]] = [{} for _ in range(4)]
    with make_pool("thread", pool_size=2) as pool:
        made = telemetry.opentelemetry(pool, tracer_provider=spans.provider)
        threads = [threading.Thread(target=submit, args=(expected,)) for expected in told]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            made.flush()
        for thread in threads:
            thread.join()
    parents = {span.attributes["aplex.work.id"]: span.parent.span_id for span in spans.all()}
    assert parents == {key: value for expected in told for key, value in expected.items()}
    assert len(spans.all()) == 200


@pytest.mark.parametrize(
    ("call", "library", "extra"),
    [
        ("opentelemetry", "opentelemetry", "otel"),
        ("prometheus", "prometheus_client", "prometheus"),
    ],
)
def test_a_missing_library_is_named(call: str, library: str, extra: str) -> None:
    code = f"""
import sys
sys.modules[{library!r}] = None
import aplex
pool = aplex.ThreadAsyncPoolExecutor()
try:
    aplex.telemetry.{call}(pool)
except ImportError as error:
    assert "aplex[{extra}]" in str(error), error
else:
    raise SystemExit("no error")
with pool:
    assert pool.submit(abs, -1).result() == 1
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=50)
