"""The command line that the programs share: forms, a seed, JSON, and a hard time limit."""

from __future__ import annotations

import argparse
import faulthandler
import random
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

from reliability.report.figures import Report, circumstances, save


class Form(Protocol):
    """How large a run is."""

    @property
    def limit(self) -> float:
        """Seconds after which it is hung."""
        ...


F = TypeVar("F", bound=Form)
Part = Callable[[F, random.Random], Report]


def run(about: str, forms: Mapping[str, F], parts: Mapping[str, Part[F]]) -> None:
    """Run the parts one after another, print their tables; exit with 1 if a bound is broken.

    Args:
        about: What the program does, for ``--help``.
        forms: The forms of the program by name; the first one is run unless told otherwise.
        parts: What to run, by name.
    """
    options = _parsed(about, list(forms), list(parts))
    form = forms[options.form]
    limit = options.limit or form.limit
    faulthandler.dump_traceback_later(limit, exit=True)
    seed = options.seed if options.seed is not None else time.time_ns() % 2**32
    told = {**circumstances(), "form": options.form, "seed": str(seed)}
    print(", ".join(f"{name} {value}" for name, value in told.items()), flush=True)
    reports = [
        _run_part(parts[name], form, random.Random(f"{name}{seed}"))
        for name in options.only or parts
    ]
    if options.json is not None:
        save(options.json, reports)
    faulthandler.cancel_dump_traceback_later()
    sys.exit(not all(report.kept for report in reports))


def _run_part(part: Part[F], form: F, rng: random.Random) -> Report:
    began = time.monotonic()
    report = part(form, rng)
    report.tell("seconds", time.monotonic() - began)
    print(f"\n{report.table()}", flush=True)
    return report


def _parsed(about: str, forms: list[str], parts: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for form in forms[1:]:
        parser.add_argument(
            f"--{form}", dest="form", action="store_const", const=form, help=f"the {form} form"
        )
    parser.set_defaults(form=forms[0])
    parser.add_argument("--only", nargs="+", choices=parts, help="run only these parts")
    parser.add_argument(
        "--seed", type=int, help="of the random numbers; default: another each time"
    )
    parser.add_argument("--limit", type=float, help="seconds after which the run is hung")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save the figures")
    return parser.parse_args()
