"""The arguments of `aplex map`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from aplex._cli.map import settings
from aplex._cli.map.halt import halt_rule

ITEMS = ":::"
EPILOG = """\
exit code: 0 all succeeded, 1 some failed or the results cannot be written, 2 wrong arguments,
3 stopped by --halt, 4 the workers cannot be started, 129/130/141/143 stopped by SIGHUP, Ctrl-C,
a reader that has gone, SIGTERM

examples:
  aplex map images:thumbnail --joblog jobs.jsonl < names.txt
  aplex map site:fetch --in-flight 500 --rate 50/s --json -a urls.jsonl > pages.jsonl
  aplex map -e 'lambda line: hashlib.sha256(line.encode()).hexdigest()' ::: a b c
"""


def prepare(arguments: Sequence[str]) -> tuple[list[str], list[str] | None]:
    """Return the arguments before ``:::``, as `argparse` can read them, and the items after it."""
    given = list(arguments)
    items = None
    if ITEMS in given:
        at = given.index(ITEMS)
        given, items = given[:at], given[at + 1 :]
    made: list[str] = []
    for word in given:
        if made and made[-1] == "--kwargs=" and word.startswith("{"):
            made[-1] += word
        else:  # whatever follows `--kwargs` but an object is an argument of its own
            made.append("--kwargs=" if word == "--kwargs" else word)
    return made, items


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.usage = "aplex map [options] MODULE:FUNCTION [-a FILE | ::: ITEM ...]"
    parser.epilog = EPILOG
    add = parser.add_argument
    add("function", nargs="?", metavar="MODULE:FUNCTION", help="plain or coroutine function")
    add("-e", dest="expression", metavar="EXPR", help="a Python expression in its place: a lambda")
    _add_input(parser)
    _add_running(parser)
    _add_stopping(parser)
    _add_output(parser)


def _add_input(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("items (the lines of standard input)").add_argument
    add("-a", "--arg-file", metavar="FILE", help="take them from a file")
    add("-0", "--null", action="store_true", help="they end with NUL, as those of find -print0")
    add("--json", action="store_true", help="an item is a JSON value; so is a result")
    add("--csv", action="store_true", help="an item is a row of CSV, a list of strings")
    add("--header", action="store_true", help="the first row names the columns: rows are objects")
    add("--args", action="store_true", help="an item is an array: the positional arguments")
    add(
        "--kwargs",
        action="append",
        default=[],
        type=settings.fixed_kwargs,
        metavar="[JSON]",
        help="an item is an object: keyword arguments; with a JSON object: keyword arguments of "
        "each call",
    )


def _add_running(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("running").add_argument
    add("-j", "--jobs", type=settings.jobs, metavar="N", help="workers: N, 50%%, +1 or -1 (CPUs)")
    add("--threads", action="store_true", help="workers are threads, not processes")
    add("--in-flight", type=settings.count, metavar="N", help="items that workers have at a time")
    add("--chunk", type=settings.chunk, default=1, metavar="N|auto", help="items that go together")
    add("--buffer", type=settings.count, metavar="N", help="items read ahead (2 x in flight)")
    add("--rate", type=settings.rate, metavar="N/s", help="starts per second (or /m, /h)")
    add("--max-concurrency", type=settings.count, metavar="N", help="items that run at a time")
    add("--lifespan", metavar="MODULE:CM", help="context manager that each worker enters")


def _add_stopping(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("failures, and going on after them").add_argument
    add("--timeout", type=settings.seconds, metavar="S", help="seconds for each attempt")
    add("--retries", type=settings.retries, default=0, metavar="N", help="attempts after the first")
    add("--halt", type=halt_rule, metavar="RULE", help="now|soon,fail|success|done=N or N%%")
    add("--failures", metavar="FILE", help="write the items that have failed")
    add("--joblog", metavar="FILE", help="write what became of each item, as JSON lines")
    add("--resume", action="store_true", help="leave out what the joblog has")
    add("--resume-failed", action="store_true", help="... but run again what has failed")
    add("--force", action="store_true", help="... even if the joblog is of another function")
    add("--joblog-items", choices=("yes", "no"), default="yes", help="whether it has the items")


def _add_output(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("output").add_argument
    add("-k", "--keep-order", action="store_true", help="print results in the order of the items")
    add("--tag", action="store_true", help="the item and a tab before each result")
    add("--outcomes", action="store_true", help="print what became of each item, as JSON lines")
    add("--progress", choices=("auto", "always", "never"), default="auto", help="on the terminal")
    add("--verbose", action="store_true", help="tracebacks of failures")
    add("--record", metavar="FILE", help="write what the pool did, for `aplex report` and others")
    add("--trace", metavar="FILE", help="write a trace of it for Perfetto")
    add("--report", metavar="FILE", help="write a report of it in HTML")
    add("--dry-run", action="store_true", help="print the calls, and run none")
