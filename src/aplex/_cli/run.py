"""`aplex run PROGRAM`: runs a program of Python, and records what all its pools do.

The program runs in this process, as `__main__`, as under ``python``. When it and its pools have
ended, what they did is told in a few lines on stderr, and written where that is wanted.
"""

from __future__ import annotations

import argparse
import atexit
import importlib.util
import os
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

from aplex._common import standing
from aplex.recordings import Recording


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.usage = "aplex run [options] (PROGRAM.py | -m MODULE) [arguments of the program]"
    parser.add_argument("--record", type=Path, metavar="FILE", help="keep the recording")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="make a trace for Perfetto")
    parser.add_argument("--report", type=Path, metavar="FILE", help="make a report in HTML")
    parser.add_argument("-m", dest="module", action="store_true", help="PROGRAM is a module")
    parser.add_argument("program", metavar="PROGRAM", help="a file, or with -m a module")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="those of the program")


def run(options: argparse.Namespace) -> int:
    """Run it. Whatever it raises goes on as it would without us."""
    recordings: list[Recording] = []
    standing.recordings = recordings
    # After the pools have ended, which they do before this.
    atexit.register(_tell, options, recordings, os.getpid())
    if options.module:
        sys.argv = [options.program, *options.arguments]
        sys.path.insert(0, str(Path.cwd()))
        if not _is_module(options.program):
            print(f"aplex: there is no module {options.program}", file=sys.stderr)
            return 2
        runpy.run_module(options.program, run_name="__main__", alter_sys=True)
        return 0
    program = Path(options.program)
    if not program.is_file():
        print(f"aplex: there is no file {program}", file=sys.stderr)
        return 2
    sys.argv = [options.program, *options.arguments]
    sys.path.insert(0, str(program.resolve().parent))
    runpy.run_path(options.program, run_name="__main__")
    return 0


def _is_module(name: str) -> bool:
    """Whether there is such a module, as far as is known before it runs."""
    if not name or name.startswith("."):
        return False
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError as error:  # one that its package imports tells of itself
        return not f"{name}.".startswith(f"{error.name}.")


def _tell(options: argparse.Namespace, recordings: list[Recording], pid: int) -> None:
    """Tell what was recorded, and write it. At the exit of the interpreter."""
    if os.getpid() != pid:  # a process that the program has forked
        return
    for number, recording in enumerate(recordings, 1):
        try:
            recording.stop()
            lines = recording.summary().splitlines()
            for kind, make in (
                ("record", recording.save),
                ("trace", recording.trace),
                ("report", recording.report),
            ):
                wanted: Path | None = getattr(options, kind)
                if wanted is not None:
                    path = _numbered(wanted, number)
                    make(path)
                    lines.append(f"{kind}: {path}")
        except Exception as error:  # noqa: BLE001 - the next one may be written
            lines = [f"the recording could not be written: {error}"]
        for line in _prefixed(lines):
            print(line, file=sys.stderr)


def _prefixed(lines: list[str]) -> Iterator[str]:
    for line in lines:
        yield f"aplex: {line}"


def _numbered(path: Path, number: int) -> Path:
    return path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
