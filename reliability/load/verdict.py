"""Compares what became of works with the journal of what really ran."""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Callable
from typing import Final

from reliability.load.journal import BEGAN, ENDED, Note
from reliability.load.submitter import (
    CANCELLED,
    LOST,
    QUARANTINED,
    RIGHT,
    UNRESOLVED,
    WRONG,
    Fate,
)
from reliability.report.figures import Report

Judge = Callable[[Fate, list[Note]], str]
EAGER: Final = sys.version_info >= (3, 12)
"""Whether a task takes its first step as soon as it is made."""


def judge(report: Report, fates: list[Fate], notes: dict[int, list[Note]], name: str) -> None:
    """Note what was lost, duplicated, wrong or left unresolved; all must be none."""
    outcomes = Counter(fate.outcome for fate in fates)
    kinds = ", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.most_common())
    report.tell(f"works, {name}", f"{len(fates):,}: {kinds}")
    unresolved = [str(fate) for fate in fates if fate.outcome == UNRESOLVED]
    report.none_of(f"unresolved, {name}", unresolved)
    report.none_of(f"wrong, {name}", _all(_wrong, fates, notes))
    report.none_of(f"lost, {name}", _all(_lost, fates, notes) + _unstarted(fates, notes))
    report.none_of(f"duplicated, {name}", _all(_duplicated, fates, notes))


def fault_of(fate: Fate, notes: list[Note]) -> str:
    """Return what is wrong with what became of one work, if anything."""
    return _wrong(fate, notes) or _lost(fate, notes) or _duplicated(fate, notes)


def _all(look: Judge, fates: list[Fate], notes: dict[int, list[Note]]) -> list[str]:
    faults = [(look(fate, notes.get(fate.work, [])), fate) for fate in fates]
    return [f"{fault}: {fate} {notes.get(fate.work)}" for fault, fate in faults if fault]


def _wrong(fate: Fate, notes: list[Note]) -> str:
    if fate.outcome == WRONG:
        return "another result"
    if fate.outcome == RIGHT and not any(one.event == ENDED for one in notes):
        return "a result of a work that never ended"
    if fate.outcome == CANCELLED and not fate.cancel_asked:
        return "cancelled by nobody"
    begins = [one.when for one in notes if one.event == BEGAN]
    if fate.never_after is not None and any(when > fate.never_after for when in begins):
        return "begun after it was cancelled"
    return ""


def _lost(fate: Fate, notes: list[Note]) -> str:
    begun_on = {one.pid for one in notes if one.event == BEGAN}
    if fate.outcome == LOST and fate.retries:
        return "was to run again"
    if fate.outcome == LOST and begun_on and not begun_on & set(fate.dead):
        return "failed with a worker that it did not run on"
    if fate.outcome == QUARANTINED and len(fate.dead) <= fate.retries:
        return "given up too early"
    return ""


def _unstarted(fates: list[Fate], notes: dict[int, list[Note]]) -> list[str]:
    """Find works that failed with a worker although they waited there.

    A death may come between the moment a work counts as started and its first line. That is
    one function for each death at most, and one coroutine where tasks are eager; elsewhere all
    tasks of a frame are made before the first of them takes a step.
    """
    failed = [fate for fate in fates if fate.outcome == LOST and not notes.get(fate.work)]
    by_worker = Counter((fate.dead[0], fate.plain) for fate in failed)
    return [
        f"{count} works failed with worker {pid} that had not begun"
        for (pid, plain), count in by_worker.items()
        if count > 1 and (plain or EAGER)
    ]


def _duplicated(fate: Fate, notes: list[Note]) -> str:
    if fate.deliveries > 1:
        return "delivered twice"
    begins = [one for one in notes if one.event == BEGAN]
    if len(begins) > 1 + fate.retries:
        return "ran too often"
    for earlier, later in itertools.pairwise(begins):
        if any(one.pid == earlier.pid and one.when > later.when for one in notes):
            return "ran in two workers at a time"
    return ""
