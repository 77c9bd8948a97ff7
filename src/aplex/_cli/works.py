"""`aplex works FILE`: the works of a recording, a line each."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import TextIO

from aplex._cli.recording_file import add_choice, attempted, chosen
from aplex.recordings import Recording


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_choice(parser)
    parser.add_argument("-o", "--output", type=Path, help="where to (stdout)")
    parser.add_argument(
        "--format",
        choices=("csv", "json", "summary"),
        default="csv",
        help="csv, a JSON object a line, or a few lines in all (csv)",
    )


def run(options: argparse.Namespace) -> int:
    """Write them."""
    return attempted(lambda: _make(options))


def _make(options: argparse.Namespace) -> None:
    recording = chosen(options)
    if options.output is None:
        _write(recording, options.format, sys.stdout)
        sys.stdout.flush()
        return
    with options.output.open("w", encoding="utf-8", newline="") as file:
        _write(recording, options.format, file)


def _write(recording: Recording, form: str, file: TextIO) -> None:
    if form == "summary":
        file.write(recording.summary() + "\n")
        return
    columns = recording.works()
    rows = zip(*columns.values(), strict=True)
    if form == "json":
        file.writelines(
            json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n"
            for row in rows
        )
        return
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
