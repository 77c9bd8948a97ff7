"""What `aplex map` is told to do, read and checked. Logic only."""

from __future__ import annotations

import argparse
import json
import math
import re
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from aplex._cli.map.halt import Halt
from aplex._cli.map.items import Format
from aplex._cli.map.lines import Style

COROUTINES: Final = 100
"""Coroutines in flight, unless the user says otherwise."""
FUNCTIONS: Final = 2
"""Plain functions at a worker: one that runs, one that waits for it to end."""
BIGGEST: Final = 2048
"""Items of a chunk that adapts."""
_RATE: Final = re.compile(r"(?P<n>\d+(\.\d+)?)(/(?P<unit>[smh]))?")


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may be under way.

    Attributes:
        items: Items that workers have, at most.
        works: Works (chunks of items) that they have, at most.
        chunk: Items of a chunk.
        ahead: Items that were read and are not printed, at most.
    """

    items: int
    works: int
    chunk: int | Literal["auto"]
    ahead: int


def bounds_of(
    workers: int,
    chunk: int | Literal["auto"],
    in_flight: int | None,
    buffer: int | None,
    *,
    awaited: bool,
) -> Bounds:
    """Return the bounds that were asked for, or those that suit."""
    size = BIGGEST if chunk == "auto" else chunk
    works = 2**62 if awaited else FUNCTIONS * workers * (2 if chunk == "auto" else 1)
    items = in_flight or (max(COROUTINES, workers) * size if awaited else works * size)
    if in_flight is not None:
        works = 2**62
    ahead = buffer or 2 * items
    return Bounds(min(items, ahead), works, chunk, ahead)


def workers_of(text: str, cpus: int) -> int:
    """Return the number of workers that ``-j`` asks for: 4, 50%, +1, -1.

    Raises:
        ValueError: It is no number.
    """
    if text.endswith("%"):
        return max(1, int(cpus * float(text[:-1]) / 100))
    count = int(text)
    if text[0] in "+-":
        return max(1, cpus + count)
    if count < 1:
        raise ValueError(text)
    return count


def jobs(text: str) -> str:
    """Check a number of workers.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    try:
        workers_of(text, 1)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is none of N, N%, +N, -N") from None
    return text


def count(text: str) -> int:
    """Read a number from 1.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1")
    return int(text)


def retries(text: str) -> int:
    """Read a number from 0.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0")
    return int(text)


def chunk(text: str) -> int | Literal["auto"]:
    """Read the size of chunks.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    return "auto" if text == "auto" else count(text)


def seconds(text: str) -> float:
    """Read a number of seconds.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return number


def rate(text: str) -> float:
    """Read a rate: 10, 10/s, 600/m, 3600/h; return it per second.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    found = _RATE.fullmatch(text)
    if not found or float(found["n"]) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no rate, as 10, 10/s, 600/m or 3600/h")
    return float(found["n"]) / {None: 1, "s": 1, "m": 60, "h": 3600}[found["unit"]]


def fixed_kwargs(text: str) -> dict[str, Any] | None:
    """Read keyword arguments; empty: items are such.

    Raises:
        argparse.ArgumentTypeError: They are no JSON object.
    """
    if not text:
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON object")
    return value


@dataclass(frozen=True, slots=True)
class Settings:
    """What was asked for, beside the function and the files."""

    form: Format
    style: Style
    fixed: dict[str, Any]
    chunk: int | Literal["auto"] = 1
    retries: int = 0
    halt: Halt | None = None
    keep_order: bool = False
    works: dict[str, Any] = field(default_factory=dict[str, Any])  # `options` of the executor


def settings_of(options: argparse.Namespace) -> Settings:
    """Return what the arguments ask for.

    Raises:
        ValueError: They do not go together; says why.
    """
    given: list[dict[str, Any] | None] = options.kwargs
    by_name = None in given
    if options.args and by_name:
        raise ValueError("--args and --kwargs: an item is an array or an object, not both")
    spread = "args" if options.args else "kwargs" if by_name else None
    if options.null and options.csv:
        raise ValueError("-0 and --csv: rows end with their lines")
    kind = "csv" if options.csv else "json" if options.json or spread else "lines"
    if options.header and not options.csv:
        raise ValueError("--header goes with --csv")
    limits = {"timeout": "time_limit", "rate": "rate", "max_concurrency": "max_concurrency"}
    works = {name: getattr(options, key) for key, name in limits.items() if getattr(options, key)}
    if works and options.chunk != 1:
        names = ", ".join(f"--{key.replace('_', '-')}" for key in limits if getattr(options, key))
        raise ValueError(f"{names}: meant for single items, and would count chunks; omit --chunk")
    for one, other in (("resume", "joblog"), ("resume_failed", "joblog"), ("force", "joblog")):
        if getattr(options, one) and not options.joblog:
            raise ValueError(f"--{one.replace('_', '-')} needs --{other}")
    header = options.header or (options.csv and by_name)
    return Settings(
        Format(kind, b"\0" if options.null else b"\n", spread, header),
        Style(options.json, options.tag, options.outcomes, options.verbose),
        {name: value for some in given if some is not None for name, value in some.items()},
        options.chunk,
        options.retries,
        options.halt,
        options.keep_order,
        works,
    )
