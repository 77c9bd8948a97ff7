"""What the commands about a recording have in common: its file, and which works they show."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from aplex.recordings import Recording, read


def add_choice(parser: argparse.ArgumentParser) -> None:
    """Add the file, and what is chosen of it."""
    parser.add_argument("file", type=Path, help="what save(), record= or APLEX_RECORD has written")
    parser.add_argument("--name", metavar="GLOB", help="works of this name, such as '*.resize*'")
    parser.add_argument("--failed", action="store_true", help="works that failed or were lost")
    parser.add_argument(
        "--from", dest="since", type=float, metavar="S", help="works of after that second"
    )
    parser.add_argument(
        "--to", dest="until", type=float, metavar="S", help="works of before that second"
    )


def chosen(options: argparse.Namespace) -> Recording:
    """Read what was chosen.

    Raises:
        ValueError: The file is no recording.
        OSError: It cannot be read.
    """
    recording = read(options.file)
    wanted = (options.name, options.failed, options.since, options.until)
    if wanted == (None, False, None, None):
        return recording
    return recording.only(
        name=options.name, failed=options.failed, since=options.since, until=options.until
    )


def attempted(make: Callable[[], object]) -> int:
    """Do it; return the exit code. What is wrong with files is one line on stderr."""
    try:
        make()
    except BrokenPipeError:  # whoever reads has seen enough
        sys.stdout = None  # nothing is flushed there at the end
        return 141
    except (ValueError, OSError) as error:
        print(f"aplex: {error}", file=sys.stderr)
        return 1
    return 0
