"""Features meet, the short form; and whether its judge can be trusted."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from reliability.load.journal import BEGAN, CANCELLED, ENDED, Note
from reliability.load.submitter import LOST, RIGHT
from reliability.meeting.cases import COLUMNS, OFF, Case, can_meet, long_form, short_form
from reliability.meeting.covering import combinations, met
from reliability.meeting.jobs import calls_of
from reliability.meeting.runner import end_if_hung
from reliability.meeting.verdict import Story, judged
from reliability.meeting.works import SPOILED
from reliability.pairwise import SEED, run_cases, shown

from tests.support.programs import command

MILLISECOND = 1_000_000  # nanoseconds
PID = 10


@pytest.mark.timeout(300)
def test_features_that_meet_break_no_promise() -> None:
    results = run_cases(short_form(SEED), at_a_time=2)
    assert [shown(result) for result in results if result.complaints] == []


def test_every_pair_that_can_meet_does() -> None:
    rows = [{name: asdict(case)[name] for name in COLUMNS} for case in short_form(SEED)]
    assert all(can_meet(row) for row in rows)
    found = {pair for row in rows for pair in met(row, 2)}
    assert found == set(combinations(COLUMNS, 2, can_meet))
    assert len(rows) < 40


def test_every_pair_of_features_meets_with_every_way_engine_and_face() -> None:
    fixed = ("way", "engine", "face")
    features = {name: values for name, values in COLUMNS.items() if name not in fixed}
    cases = [asdict(case) for case in long_form(SEED)]
    row = {"way": "submit", "engine": "spawn", "face": "uvloop"}
    rows = [
        {name: case[name] for name in features}
        for case in cases
        if all(case[name] == value for name, value in row.items())
    ]
    found = {pair for row in rows for pair in met(row, 2)}
    assert found == set(combinations(features, 2, can_meet))
    assert len({tuple(case[name] for name in fixed) for case in cases}) == 5 * 4 * 3


def test_a_case_is_told_by_a_text() -> None:
    for case in short_form(SEED):
        assert Case.parsed(str(case)) == case
    with pytest.raises(ValueError, match="cannot meet"):
        Case.parsed("engine=thread,death=own")
    with pytest.raises(ValueError, match="no such feature"):
        Case.parsed("limits=none")


def test_a_program_that_hangs_shows_where_it_stands() -> None:
    text = "import os, time\nos.write(1, b'ready\\n'); time.sleep(60)"
    with command(["-c", text]) as program:
        program.wait_for("ready")
        assert end_if_hung(program, 0.0)
        assert 'File "<string>", line 2' in program.finish().err


# -- the judge ------------------------------------------------------------------------------


@pytest.fixture
def story() -> Story:
    """A case in which all went well: works one after another, each for a millisecond."""
    case = Case(limits="concurrency")
    story = Story(
        case, {}, {kind: [] for kind in ("sent", "fate", "wrong", "struck", "asked", "end")}
    )
    for call in calls_of(case):
        work, when = call.number, call.number * 2 * MILLISECOND
        story.lines["sent"].append({"work": work, "when": 0})
        story.notes[work] = [note(work, when, BEGAN), note(work, when + MILLISECOND, ENDED)]
        story.lines["fate"].append({"work": work, "outcome": RIGHT, "when": when})
    story.lines["over"] = [{}]
    return story


def note(work: int, when: int, event: int, pid: int = PID) -> Note:
    return Note(work, when, pid, event)


def test_a_story_that_went_well_is_not_complained_of(story: Story) -> None:
    assert judged(story) == []


def test_a_work_without_an_outcome_is_found(story: Story) -> None:
    del story.lines["fate"][5]
    (complaint,) = judged(story)
    assert complaint.startswith("work 5: it has no outcome")


def test_a_work_that_ran_twice_is_found(story: Story) -> None:
    story.notes[5].append(note(5, 1_000 * MILLISECOND, BEGAN))
    assert any("work 5: ran too often" in one for one in judged(story))


def test_a_work_that_is_lost_without_a_death_is_found(story: Story) -> None:
    story.lines["fate"][5].update(outcome=LOST, dead=[PID])
    assert any("work 5: lost, not right" in one for one in judged(story))


def test_a_work_that_was_delivered_twice_is_found(story: Story) -> None:
    story.lines["fate"].append(story.lines["fate"][5])
    assert any("work 5: delivered twice" in one for one in judged(story))


def test_an_outcome_that_was_not_earned_is_found(story: Story) -> None:
    story.notes[5][1] = note(5, 11 * MILLISECOND, CANCELLED)
    assert any("work 5: a result of a work that never ended" in one for one in judged(story))


def test_spoiled_arguments_are_found(story: Story) -> None:
    story.notes[5].insert(1, note(5, 10 * MILLISECOND, SPOILED))
    assert judged(story) == ["work 5: its arguments were not as they had been sent"]


def test_a_limit_that_is_exceeded_is_found(story: Story) -> None:
    story.notes[5][1] = note(5, 13 * MILLISECOND, ENDED)  # when work 6 runs
    assert judged(story) == ["2 works ran at once, not 1"]


def test_works_that_start_too_fast_are_found(story: Story) -> None:
    story.case = Case(limits="rate")
    (complaint,) = judged(story)
    assert complaint.startswith("2 works began within")


def test_an_urgent_work_that_is_passed_over_is_found(story: Story) -> None:
    story.case = Case(priority="mixed")
    (complaint, *_) = judged(story)
    assert "is urgent, and 21 works began before it" in complaint


def test_a_program_that_did_not_come_to_its_end_is_found(story: Story) -> None:
    story.lines["over"] = []
    assert judged(story) == ["the program did not come to its end"]


def test_a_map_that_yields_too_little_is_found() -> None:
    case = Case(way="map")
    story = Story(case, {}, {kind: [] for kind in ("sent", "fate", "wrong", "struck", "asked")})
    story.lines.update(over=[{}], end=[])
    for call in calls_of(case):
        for job in call.jobs:
            story.notes[job.number] = [note(job.number, 0, BEGAN), note(job.number, 1, ENDED)]
            story.lines["fate"].append({"work": job.number, "outcome": RIGHT, "when": 0})
        end = {"call": call.number, "how": "complete", "trouble": ""}
        story.lines["end"].append({**end, "got": len(call.jobs) - call.number})
    assert judged(story) == ["map 1 has yielded 13 of 14 results"]
    assert case.death == OFF
