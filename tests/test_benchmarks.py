"""Benchmarks: what is made of the figures. Nothing is measured here.

No test of this file needs a peer, matplotlib, or a clock.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
if not BENCHMARKS.exists():  # an archive of the sources may come without them
    pytest.skip("no benchmarks here", allow_module_level=True)

sys.path.insert(0, str(BENCHMARKS))
try:
    import gate
    import plots
    import rounds
    import run
    import starting
    import tables
    import target_table
    import targets
    import worker_life
    from peers import ENTRIES
    from rounds import Result
    from workloads import WORKLOADS, crowds, uneven
    from workloads.base import Metric, Workload
finally:
    sys.path.remove(str(BENCHMARKS))

RATE = Metric("works/s", more_is_better=True)
TIME = Metric("ms")
WORKLOAD = Workload("w", "a workload", ("ours", "theirs"), (RATE, TIME), lambda _task: {}, 1, 1)


def _result(peer: str, *rates: float, trouble: str = "") -> Result:
    figures = [{"works/s": rate, "ms": 1000 / rate} for rate in rates]
    return Result(peer, {}, figures, trouble)


def _target(**changes: object) -> targets.Target:
    target = targets.Target("what", "w", "ours", "works/s", 3, 5, "theirs", more=True)
    return replace(target, **changes)


def _judged(target: targets.Target, *results: Result) -> targets.Outcome:
    return targets.judge(target, {"w": list(results)})


# -- ratios ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "better", "worse"), [(RATE, 200, 100), (TIME, 5, 10)], ids=["rate", "time"]
)
def test_more_than_one_is_in_favour_of_the_first(
    metric: Metric, better: float, worse: float
) -> None:
    assert tables.better_by(better, worse, metric) == 2
    assert tables.better_by(worse, better, metric) == 0.5


def test_a_table_shows_ratios_and_trouble() -> None:
    results = [_result("ours", 100, 200, 300), _result("theirs", 50, 100, 100)]
    results.append(Result("third", trouble="fails: int | None"))
    table = tables.render(WORKLOAD, results)
    assert "**2x** | 2 … 3" in table
    assert r"fails: int \| None" in table  # a cell stays one cell


def test_a_table_leaves_out_what_a_peer_has_no_figure_of() -> None:
    results = [Result("ours", figures=[{"works/s": 10.0}]), _result("theirs", 5)]
    assert "**2x**" in tables.render(WORKLOAD, results)


# -- targets --------------------------------------------------------------------


@pytest.mark.parametrize(("ours", "met"), [(600, "good"), (400, "least"), (200, "**no**")])
def test_a_ratio_is_met_by_the_median(ours: float, met: str) -> None:
    outcome = _judged(_target(), _result("ours", ours, ours, 1), _result("theirs", 100, 100, 100))
    assert outcome.met == met
    assert outcome.value == ours / 100
    assert (outcome.low, outcome.high) == (0.01, ours / 100)


@pytest.mark.parametrize(("ours", "met"), [(8, "good"), (4, "least"), (2, "**no**")])
def test_a_ratio_of_times_is_better_if_less(ours: float, met: str) -> None:
    target = _target(metric="ms", more=False, least=1 / 4, good=1 / 7)
    assert _judged(target, _result("ours", ours), _result("theirs", 1)).met == met


@pytest.mark.parametrize(
    ("kind", "scale", "value"),
    [(targets.DIFFERENCE, 1, -30), (targets.VALUE, 2, 40), (targets.INVERSE, 100, 5)],
)
def test_kinds_of_figures(kind: str, scale: float, value: float) -> None:
    target = _target(kind=kind, scale=scale)
    assert _judged(target, _result("ours", 20), _result("theirs", 50)).value == value


def test_what_was_not_measured_is_not_met() -> None:
    assert targets.judge(_target(), {}).met == targets.UNKNOWN
    assert _judged(_target(), _result("ours", 1)).met == targets.UNKNOWN
    outcome = _judged(_target(), _result("ours", 1), Result("theirs", trouble="hangs"))
    assert outcome.value is None
    assert outcome.met == "theirs hangs"


def test_the_table_of_targets_shows_each_row() -> None:
    results = {"w": [_result("ours", 400), _result("theirs", 100)]}
    rows = [_target(), _target(workload="other")]
    table = targets.render(rows, results)
    assert "≥ 3x | ≥ 5x | **4x** | 4 … 4 | least |" in " ".join(table.split())
    assert "Of 2 rows 1 reach" in table
    assert targets.UNKNOWN in table
    assert targets.UNKNOWN not in targets.render(rows, results, all_rows=False).split("\n\n")[2]


@pytest.mark.parametrize(
    "target",
    [*target_table.TARGETS, *target_table.GROWTH],
    ids=lambda one: f"{one.workload}-{one.peer}-{one.metric}",
)
def test_a_target_can_be_measured(target: targets.Target) -> None:
    workload = WORKLOADS[target.workload]
    assert target.peer in workload.peers
    assert not target.against or target.against in workload.peers
    directions = {metric.name: metric.more_is_better for metric in workload.metrics}
    expected = directions[target.metric] and target.kind != targets.INVERSE
    assert target.more == expected
    if target.good is not None and target.good != target.least:
        assert target.more == (target.good > target.least)


# -- the gate -------------------------------------------------------------------


def test_the_bounds_can_be_measured() -> None:
    bounds = gate.load(gate.FILE.read_text())
    chosen = gate.chosen(bounds)
    assert set(chosen) == {bound.workload for bound in bounds}
    for name, peers in chosen.items():
        alone = [bound for bound in bounds if bound.workload == name and not bound.against]
        assert len(peers) >= (1 if alone else 2)
        assert [peer for peer in WORKLOADS[name].peers if peer in peers] == peers


@pytest.mark.parametrize(("ours", "word"), [(400, "holds"), (200, "**broken**")])
def test_a_bound_holds_or_is_broken(ours: float, word: str) -> None:
    (verdict,) = gate.decide([_target()], {"w": [_result("ours", ours), _result("theirs", 100)]})
    assert verdict.word == word
    assert verdict.holds == (word == "holds")
    assert word in gate.render([verdict])


@pytest.mark.parametrize(("ours", "status"), [(400, 0), (200, 1)])
def test_the_gate_ends_with_1_if_a_bound_is_broken(
    ours: float, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = {"w": [_result("ours", ours), _result("theirs", 100)]}
    monkeypatch.setattr(gate, "load", lambda _text: [_target()])
    monkeypatch.setattr(gate, "chosen", lambda _bounds: {})
    monkeypatch.setattr(run, "measure", lambda *_arguments: measured)
    assert run.run_gate(run.argparse.Namespace(rounds=None)) == status


def test_a_bound_that_could_not_be_measured_is_broken() -> None:
    results = {"w": [Result("ours", trouble="hangs"), _result("theirs", 100)]}
    (verdict,) = gate.decide([_target()], results)
    assert not verdict.holds
    assert "1 of 1 bounds broken" in gate.render([verdict])


@pytest.mark.parametrize(
    "wrong",
    [
        'workload = "none"\npeer = "aplex"\nreference = "pipe"\nat-most = 1',
        'workload = "latency-blocking"\npeer = "aplex"\nreference = "pipe"\nat-least = 1',
        'workload = "latency-blocking"\npeer = "aplex"\nreference = "memcpy"\nat-most = 1',
        'workload = "growth-keys"\npeer = "aplex-awaited"\nmetric = "none"\nat-most = 1',
    ],
    ids=["no such workload", "wrong direction", "no such peer", "no such metric"],
)
def test_a_wrong_bound_is_refused(wrong: str) -> None:
    with pytest.raises(gate.BoundError):
        gate.load(f"[[bound]]\n{wrong}")


@pytest.mark.parametrize(("ours", "status"), [(1.2, 0), (1.4, 1)])
def test_growth_ends_with_1_if_something_grows(
    ours: float, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (row,) = (row for row in target_table.GROWTH if row.workload == "growth-keys")
    measured = {row.workload: [Result(row.peer, figures=[{row.metric: ours}])]}
    monkeypatch.setattr(run, "measure", lambda *_arguments: measured)
    monkeypatch.setattr(run.sys, "argv", ["run.py", "--growth", "--only", row.workload])
    assert run.main() == status


def test_a_bound_without_a_reference_is_for_the_figure_itself() -> None:
    bound = 'workload = "growth-waiting"\npeer = "aplex-awaited"\nat-most = 2\n'
    (target,) = gate.load(f'[[bound]]\n{bound}metric = "times the cost, 10,000 / 1,000"')
    assert gate.chosen([target]) == {"growth-waiting": ["aplex-awaited"]}
    for value, holds in ((1.9, True), (2.1, False)):
        results = {target.workload: [Result(target.peer, figures=[{target.metric: value}])]}
        assert gate.decide([target], results)[0].holds is holds


# -- plots ----------------------------------------------------------------------


def test_bars_compare_the_first_peer_with_the_others() -> None:
    results = [_result("ours", 100, 300, 200), _result("theirs", 100, 100, 50)]
    results.append(Result("third", trouble="fails"))
    first, other = plots.bars(WORKLOAD, results)
    assert (first.label, first.ratio) == ("ours", 1)
    assert (other.label, other.ratio, other.low, other.high) == ("theirs", 2, 1, 4)


def test_no_bars_without_figures() -> None:
    assert plots.bars(WORKLOAD, [Result("ours", trouble="fails"), _result("theirs", 1)]) == []
    assert plots.bars(WORKLOAD, [_result("ours", 1)]) == []


def test_yardsticks_look_different() -> None:
    assert plots.colour("pipe-c") == plots.colour("asyncio-alone-uvloop") == plots.YARDSTICK
    assert plots.colour("distex") == plots.PEER


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("  File x\nTypeError: no\nTask was destroyed\n", "TypeError: no"),
        ("  nginx.NginxError: no nginx\n", "nginx.NginxError: no nginx"),
        ("Killed\n\n", "Killed"),
        ("", ""),
    ],
)
def test_the_last_words_of_a_peer_are_its_exception(written: str, words: str) -> None:
    assert rounds.last_words(written) == words


def test_saved_results_come_back(tmp_path: Path) -> None:
    results = [_result("ours", 1, 2), Result("theirs", {"chunksize": 64}, trouble="hangs")]
    content = {"facts": {}, "workloads": {"w": [rounds.as_json(one) for one in results]}}
    (tmp_path / "results.json").write_text(json.dumps(content))
    assert rounds.load(tmp_path / "results.json") == {"w": results}


# -- workloads ------------------------------------------------------------------


def test_every_peer_of_a_workload_is_known() -> None:
    assert {peer for workload in WORKLOADS.values() for peer in workload.peers} <= set(ENTRIES)


def test_an_automatic_chunk_size_is_tried_only_once() -> None:
    workload = WORKLOADS["map-plain-auto"]
    assert workload.choices(ENTRIES["aplex-auto"]) == [{"chunksize": "auto"}]
    assert len(workload.choices(ENTRIES["aplex"])) == len(workload.chunksizes)


def test_uneven_durations_are_always_the_same() -> None:
    drawn = uneven.durations(500, seed=1)
    assert drawn == uneven.durations(500, seed=1) != uneven.durations(500, seed=2)
    assert uneven.SHORTEST <= min(drawn) < max(drawn) <= uneven.LONGEST


@pytest.mark.parametrize(
    ("burns", "naps", "ideal", "in_turn"),
    [
        ([1, 1, 1, 1], [], 2, 2),
        ([1, 1, 2], [], 2, 3),
        ([9, 1], [], 9, 9),
        ([], [1, 3], 3, 3),
        ([1, 1], [5], 5, 5),
    ],
)
def test_the_ideal_follows_from_the_durations(
    burns: list[float], naps: list[float], ideal: float, in_turn: float
) -> None:
    assert uneven.ideal(burns, naps, 2) == ideal
    assert uneven.in_turn(burns, naps, 2) == in_turn


def test_every_size_of_a_crowd_has_its_metric() -> None:
    names = {metric.name for metric in WORKLOADS["waiting"].metrics}
    assert {crowds.cost(size).name for size in crowds.SIZES} < names


def test_figures_of_starting_are_saved_and_shown_with_their_bounds(tmp_path: Path) -> None:
    medians = dict.fromkeys(((starting.IMPORT, starting.FIRST), *_starts()), 0.1)
    medians[starting.TEMPLATE, starting.ALL] = 0.01
    saved = tmp_path / "starting.json"
    starting.save(saved, 1, {starting.EMPTY: medians})
    [text] = starting.load(saved)
    assert "| aplex, template | 100 ms | 10 ms | 0.0 MiB | 100 ms |" in text
    assert "* holds: aplex, template: all 8 serve 0.10 <= 0.33" in text
    assert "* EXCEEDED: aplex, template: first result 1.00 <= 0.80" in text
    assert json.loads(saved.read_text())["facts"]["rounds"] == "1"


def _starts() -> list[tuple[str, str]]:
    return [(way, column) for way in starting.WAYS for column in starting.COLUMNS]


def test_what_a_workers_life_costs_is_told_by_medians() -> None:
    found = {"with": [10.0, 90.0, 20.0], "without": [10.0, 100.0, 25.0]}
    text = worker_life.render({"functions": found})
    title = worker_life.TITLES["functions"]
    assert f"| {title} | 20 | 25 | 0.80 | 0.80 to 1.00 |" in text
