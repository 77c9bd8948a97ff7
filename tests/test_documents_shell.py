"""Documents: every command of a ``console`` block is run, and prints what the page shows.

The blocks of a page are run in their order, in one folder. A Python block after a line that names
a file, as in `` `work.py`: ``, is that file.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCKS = re.compile(
    r"^`(?P<file>[\w.]+)`:\n\n```python\n(?P<code>.*?)^```$"
    r"|^```console\n(?P<session>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
PAGES = [
    path
    for path in sorted((ROOT / "docs").rglob("*.md"))
    if "```console" in path.read_text(encoding="utf-8")
]


def commands(session: str) -> list[tuple[str, str]]:
    """The commands of a block, and what each prints."""
    found = re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]
    return [(command, rest) for command, _, rest in (part.partition("\n") for part in found)]


def _commands(folder: Path) -> Path:
    """Return a folder in which `aplex` is a command, which knows nothing of where it is run."""
    path = folder / "bin"
    path.mkdir()
    aplex = path / "aplex"
    aplex.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m aplex "$@"\n')
    aplex.chmod(0o755)
    return path


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_commands_print_what_the_page_shows(page: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    environment = {**os.environ, "PATH": f"{_commands(tmp_path)}:{os.environ['PATH']}"}
    for block in BLOCKS.finditer(page.read_text(encoding="utf-8")):
        if block["file"]:
            (folder / block["file"]).write_text(block["code"], encoding="utf-8")
        for command, printed in commands(block["session"] or ""):
            ran = subprocess.run(
                ["bash", "-c", command],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=50,
                check=False,
            )
            assert ran.stdout == printed, command


def test_the_example(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": f"{_commands(tmp_path)}:{os.environ['PATH']}"}
    example = ROOT / "examples" / "shell.sh"
    printed = subprocess.check_output([example], env=environment, text=True, timeout=50)
    lines = printed.splitlines()
    assert lines[-1] == "6.0"
    assert 'exit code 1, to be run again: {"meters": 5, "seconds": 0}' in lines
