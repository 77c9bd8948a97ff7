"""The scoreboard: its cases run for aplex, and it can tell good from bad."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest
from reliability.board.cases import CASES
from reliability.board.page import board_table, page, text_table
from reliability.board.referee import environment, play
from reliability.board.verdict import Verdict, judge

RIGHT = {"right": 20, "wrong": 0, "failed": 0, "never": 0, "seen": ""}
END = {"kind": "end"}
RUNS, CTRL_C = CASES["killed-running"], CASES["ctrl-c"]


def played(peer: str, case: str) -> Verdict:
    return play(peer, case, sys.executable, environment(os.environ), "spawn")


@pytest.mark.parametrize(
    ("peer", "case"),
    [
        ("aplex", "killed-waiting"),
        ("aplex-awaited", "bad-exception"),
        ("aplex", "parent"),
        ("aplex-awaited", "ctrl-c"),
    ],
)
def test_aplex_is_ok(peer: str, case: str) -> None:
    verdict = played(peer, case)
    assert verdict.ok, verdict


def test_a_pool_that_breaks_is_told_so() -> None:
    verdict = played("futures", "killed-running")
    assert verdict.words == ("lost works", "broken")
    assert "BrokenProcessPool" in verdict.seen


def facts(**groups: Any) -> list[dict[str, Any]]:
    return [{"kind": kind, **values} for kind, values in groups.items()]


@pytest.mark.parametrize(
    ("told", "ended", "words"),
    [
        (
            [*facts(hit={"ended": True, "seen": "X: lost"}, others=RIGHT, later=RIGHT), END],
            True,
            (),
        ),
        ([*facts(hit={"ended": False, "seen": ""}), END], True, ("hang",)),
        ([*facts(others=RIGHT | {"failed": 1}), END], True, ("lost works",)),
        ([*facts(later=RIGHT | {"failed": 20}), END], True, ("broken",)),
        ([*facts(asked=RIGHT | {"failed": 1}), END], True, ("refused",)),
        ([*facts(others=RIGHT | {"wrong": 1}, later=RIGHT), END], True, ("wrong results",)),
        ([*facts(stalled={}), END], True, ("stalls",)),
        (facts(doing={"what": "the end of the pool"}), False, ("hang",)),
        (facts(doing={"what": "submit"}), True, ("fails",)),
    ],
)
def test_words_of_a_verdict(
    told: list[dict[str, Any]], ended: bool, words: tuple[str, ...]
) -> None:
    assert judge(RUNS, told, "", ended=ended, seconds=1.0).words == words


def test_words_of_a_program_that_is_ended() -> None:
    ready = [{"kind": "ready"}]
    assert judge(CTRL_C, ready, "", ended=True, seconds=1.0).ok
    assert judge(CTRL_C, ready, "", ended=False, seconds=5.0).words == ("runs on",)
    assert judge(CTRL_C, ready, "", ended=True, seconds=1.0, orphans=2).words == ("2 orphans",)
    assert judge(CTRL_C, [], "Error: no", ended=True, seconds=1.0).words == ("hang",)


def test_tables_show_every_case_and_library() -> None:
    verdict = Verdict(("hang",), "a | b", 1.0).as_json()
    board = {"ctrl-c": {"aplex": verdict | {"words": []}, "loky": verdict}}
    rows = board_table(board)
    assert rows[0] == ["fault", "aplex", "loky"]
    assert rows[1][1:] == ["ok", "hang"]
    assert rows[2][1:] == ["**1 of 1**", "**0 of 1**"]
    assert "**" not in text_table(rows)
    limits = {"method": "spawn", "patience": 6.0, "limit": 40.0, "prompt": 5.0}
    assert "| loky | hang | a \\| b |" in page(board, {"date": "today"}, limits)
