"""`aplex report FILE`: a report in HTML of a recording."""

from __future__ import annotations

import argparse
from pathlib import Path

from aplex._cli.recording_file import add_choice, attempted, chosen


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_choice(parser)
    parser.add_argument("-o", "--output", type=Path, help="where to (FILE with .html)")


def run(options: argparse.Namespace) -> int:
    """Write it."""
    return attempted(lambda: _make(options))


def _make(options: argparse.Namespace) -> None:
    output = options.output or options.file.with_suffix(".html")
    chosen(options).report(output)
    print(output)
