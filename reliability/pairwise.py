"""Features meet: every pair of what a pool can do, in one program, judged by a journal.

    python3 dev.py reliability pairwise            every pair, for every way, engine and face
    python3 dev.py reliability pairwise --triples  every three of all that can meet
    python3 dev.py reliability pairwise --short    every two
    python3 dev.py reliability pairwise --case way=stream,engine=fork,face=asyncio,death=own

Each case is a program of its own: a pool under a load of calls, to which everything happens that
the case names. After it no work may be lost, doubled, resolved wrongly or not at all; limits,
times and arguments must have been kept; nothing may be left. Exits with 1 if a case has failed;
one that was named is then shown moment by moment.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from reliability.meeting.cases import FORMS, WAYS, Case
from reliability.meeting.runner import Result, run
from reliability.report.figures import Report, circumstances

SEED = 1


def main() -> None:
    """Run the program."""
    options = _parser().parse_args()
    cases = options.case or FORMS[options.form](options.seed)
    if options.list:
        print(*cases, sep="\n")
        return
    print(", ".join(f"{name} {value}" for name, value in circumstances().items()), flush=True)
    began = time.monotonic()
    results = run_cases(cases, options.at_a_time, options.minutes)
    for result in results:
        if options.case and result.timeline:
            print("", *result.timeline, sep="\n  ")
    report = reported(results, len(cases), time.monotonic() - began)
    print(f"\n{report.table()}")
    if options.json:
        rows = [asdict(result) for result in results]
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    sys.exit(not report.kept)


def run_cases(cases: list[Case], at_a_time: int, minutes: float = math.inf) -> list[Result]:
    """Run cases, some at a time; start none after so many minutes. Tell of failures at once."""
    end = time.monotonic() + 60 * minutes
    told = threading.Lock()
    results: list[Result] = []

    def run_one(case: Case) -> None:
        if time.monotonic() > end:
            return
        result = run(case)
        with told:
            results.append(result)
            if result.complaints:
                print(shown(result), flush=True)
            if len(results) % 50 == 0:
                print(f"{len(results)}/{len(cases)}", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(at_a_time) as runners:
        list(runners.map(run_one, cases))
    return results


def shown(result: Result) -> str:
    """Return what is wrong, and how to see it again."""
    again = f"python3 dev.py reliability pairwise --case {result.case}"
    return "\n  ".join([f"FAILED after {result.seconds:.1f} s: {again}", *result.complaints])


def reported(results: list[Result], wanted: int, seconds: float) -> Report:
    """Return the figures."""
    report = Report(f"Features meet: {len(results):,} of {wanted:,} cases")
    cases, failed = (
        Counter(result.case.way for result in some)
        for some in (results, [result for result in results if result.complaints])
    )
    for way in WAYS:
        report.tell(f"cases of {way}", cases[way])
        report.exactly(f"… that failed, {way}", failed[way])
    report.tell("seconds of the slowest", max((one.seconds for one in results), default=0.0))
    report.tell("seconds", seconds)
    return report


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 dev.py reliability pairwise",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for form in list(FORMS)[1:]:
        parser.add_argument(
            f"--{form}", dest="form", action="store_const", const=form, help=f"the {form} form"
        )
    parser.set_defaults(form=next(iter(FORMS)))
    parser.add_argument("--case", type=Case.parsed, nargs="+", help="only these")
    parser.add_argument("--list", action="store_true", help="print the cases, run none")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the cases (default: {SEED})")
    parser.add_argument("--at-a-time", type=int, default=2, help="cases at a time (default: 2)")
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="start no case after so many minutes"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="save all results")
    return parser


if __name__ == "__main__":
    main()
