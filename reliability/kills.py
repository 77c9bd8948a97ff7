"""Kill at every step: hits a worker at every point of the protocol, in every way.

    python3 dev.py reliability kills             every point x action x start method
    python3 dev.py reliability kills --short     a few cases per point
    python3 dev.py reliability kills --point 25 --action SIGKILL --method fork

Each case is a pool of two workers with a few dozen mixed works, of which one worker is hit once.
After it every work must be resolved, soon and rightly; none may have run that should not have;
the pool must serve; and nothing may be left. Exits with 1 if a case has failed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import aplex
from reliability.killing import tables
from reliability.killing.cases import METHODS, Case, long_form, short_form
from reliability.killing.faults import ACTIONS
from reliability.killing.runner import Result, run_cases

PROMISED = 1.0
"""Seconds after a death in which all works are resolved, in 99 of 100 cases."""


def main() -> None:
    """Run the program."""
    options = _parser().parse_args()
    cases = _chosen(options)
    began = time.monotonic()
    results = run_cases(cases, options.at_a_time, _Teller(len(cases)), options.minutes)
    results.sort(key=lambda result: cases.index(result.case))
    figures = {**facts(), **tables.summary(results), "minutes": round(_minutes_since(began), 1)}
    table = tables.rows(results)
    print((tables.markdown if options.markdown else tables.text)(table), end="\n\n")
    print(*(f"{name}: {value}" for name, value in figures.items()), sep="\n")
    if options.json:
        _save(options.json, figures, results)
    failures = [result for result in results if not result.passed]
    sys.exit(bool(failures) or figures["p99_seconds"] > PROMISED)


def facts() -> dict[str, str]:
    """Return where and when the cases ran."""
    return {
        "aplex": aplex.__version__,
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": f"{os.cpu_count()} cores, load {os.getloadavg()[1]:.0f}",
        "date": time.strftime("%Y-%m-%d"),
    }


class _Teller:
    """Says how it goes, on stderr."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._told = 0

    def __call__(self, result: Result) -> None:
        self._told += 1
        if not self._told % 50:
            print(f"{self._told}/{self._count}", file=sys.stderr, flush=True)
        if not result.passed:
            text = "\n  ".join([f"FAILED {result.case}", *result.complaints])
            print(text, file=sys.stderr, flush=True)


def _chosen(options: argparse.Namespace) -> list[Case]:
    cases = short_form() if options.short else long_form()
    return [
        case
        for case in cases
        if (not options.point or case.point in options.point)
        and (not options.action or case.action in options.action)
        and (not options.method or case.method in options.method)
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 dev.py reliability kills",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--short", action="store_true", help="a few cases per point")
    parser.add_argument("--point", type=int, nargs="+", help="only these")
    parser.add_argument("--action", choices=ACTIONS, nargs="+", help="only these")
    parser.add_argument("--method", choices=METHODS, nargs="+", help="only these")
    parser.add_argument("--at-a-time", type=int, default=2, help="cases at a time (default: 2)")
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="start no case after so many minutes"
    )
    parser.add_argument("--json", type=Path, help="save all results there")
    parser.add_argument("--markdown", action="store_true", help="print the table for a page")
    return parser


def _minutes_since(began: float) -> float:
    return (time.monotonic() - began) / 60


def _save(path: Path, figures: dict[str, Any], results: list[Result]) -> None:
    data = {"facts": figures, "results": [asdict(result) for result in results]}
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
