"""Documents: every Python block of the READMEs and of docs/ is a program that runs.

A block that is followed by a ``text`` block prints just that; the others print
nothing. ``http://example.com`` is answered by a server of our own.
"""

from __future__ import annotations

import http.server
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.dask_cluster import LocalDask, needs
from tests.support.http_server import serving

ROOT = Path(__file__).parent.parent
READMES = [ROOT / name for name in ("README.md", "README.zh-CN.md", "README.zh-TW.md")]
ON_RAY = ROOT / "docs" / "howto" / "ray.md"
"""Its programs run in `tests/engines`, where there is what they need."""
DOCS = sorted({*(ROOT / "docs").rglob("*.md")} - {ON_RAY})
NO_PROSE = re.compile(r"<picture>.*?</picture>|!\[.*?\]\(.*?\)|(?<=\])\(.*?\)", re.DOTALL)
FENCED = re.compile(r"^```\w+\n.*?^```$", re.MULTILINE | re.DOTALL)
NAME = re.compile(r"[\w.-]+")  # of a requirement
DASK = "tcp://127.0.0.1:8786"
"""Where the reader has started a cluster."""
EXAMPLE = re.compile(
    r"^```python\n(?P<code>.*?)^```$(?:\n\n```text\n(?P<printed>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)


class Hello(http.server.BaseHTTPRequestHandler):
    """Answers every GET with an empty 200."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a server."""
    with serving(Hello) as address:
        yield address


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Dask cluster."""
    needs("distributed")
    cluster = LocalDask(tmp_path_factory.mktemp("dask"))
    try:
        cluster.add_worker("a", threads=2)
        cluster.wait_for_workers(1)
        yield cluster.client.scheduler.address
    finally:
        cluster.close()


def _examples() -> Iterator[object]:
    for path in [READMES[0], *DOCS]:  # the translations have the same blocks
        text = path.read_text(encoding="utf-8")
        for match in EXAMPLE.finditer(text):
            if "InterpreterAsyncPoolExecutor" in match["code"] and sys.version_info < (3, 14):
                continue  # where there are none
            line = text.count("\n", 0, match.start()) + 1
            name = f"{path.relative_to(ROOT)}:{line}"
            yield pytest.param(match["code"], match["printed"] or "", id=name)


@pytest.mark.parametrize(("code", "printed"), list(_examples()))
def test_example_prints_what_it_says(
    code: str, printed: str, address: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A reader who copies a block into a file and runs it sees what the page shows."""
    if DASK in code:
        code = code.replace(DASK, request.getfixturevalue("scheduler"))
    program = tmp_path / "program.py"
    program.write_text(code.replace("http://example.com", address), encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-W", "error", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, printed, "")


@pytest.mark.parametrize("translation", READMES[1:], ids=lambda path: path.name)
def test_translations_have_the_same_blocks(translation: Path) -> None:
    """The three READMEs show the same programs under the same number of headings."""
    english = READMES[0].read_text(encoding="utf-8")
    translated = translation.read_text(encoding="utf-8")
    assert FENCED.findall(translated) == FENCED.findall(english)
    assert translated.count("\n## ") == english.count("\n## ")


def test_the_readme_reads_in_two_minutes() -> None:
    """At 225 words a minute, without its code and its pictures."""
    prose = NO_PROSE.sub("", FENCED.sub("", READMES[0].read_text(encoding="utf-8")))
    assert len([word for word in prose.split() if re.search(r"\w", word)]) <= 450


def test_the_pipfile_has_the_tools_of_the_group_dev() -> None:
    """Pipenv cannot read dependency groups."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    pipfile = tomllib.loads((ROOT / "Pipfile").read_text())
    assert sorted(pipfile["dev-packages"]) == sorted(_names(groups, "dev"))


def _names(groups: dict[str, list[Any]], group: str) -> set[str]:
    names: set[str] = set()
    for entry in groups[group]:
        if isinstance(entry, dict):
            names |= _names(groups, entry["include-group"])
        else:
            names.add(NAME.match(entry)[0])
    return names
