"""The pictures of the READMEs are current: they show what is drawn today, and need nothing else.

`docs/_ext/readme_pictures.py` makes them, of programs that run. Figures and fonts differ from run
to run; what is compared are the words that do not.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from aplex import ThreadAsyncPoolExecutor

ROOT = Path(__file__).parent.parent
READMES = [ROOT / name for name in ("README.md", "README.zh-CN.md", "README.zh-TW.md")]
PICTURES = sorted((ROOT / "docs" / "pictures").glob("*.svg"))
SVG = "{http://www.w3.org/2000/svg}"
RENEW = "python docs/_ext/readme_pictures.py"


def _texts(picture: str, kind: str | None = None) -> list[str]:
    root = ET.parse(ROOT / "docs" / "pictures" / picture).getroot()
    found = (node for node in root.iter(f"{SVG}text") if kind in (None, node.get("class")))
    return ["".join(node.itertext()).replace("\xa0", " ").strip() for node in found]


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.name)
def test_a_picture_is_small_and_asks_nobody(picture: Path) -> None:
    text = picture.read_text(encoding="utf-8")
    assert len(text.encode()) < 100_000
    assert "<script" not in text
    assert not re.findall(r"(?:href|src)=|url\((?!#)|@import|data:", text)


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
def test_the_readmes_show_all_pictures(readme: Path) -> None:
    shown = re.findall(r"!\[.+?\]\((.+?)\)", readme.read_text(encoding="utf-8"))
    assert sorted(shown) == [str(path.relative_to(ROOT)) for path in PICTURES]


def test_the_report_has_the_words_of_the_picture(tmp_path: Path) -> None:
    with ThreadAsyncPoolExecutor(pool_size=1) as pool, pool.record() as run:
        list(pool.map(abs, range(3)))
    run.report(tmp_path / "report.html")
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    headings = re.findall("<h2>(.+?)</h2>", report)
    pictured = _texts("report.svg", "h2")
    assert pictured
    assert pictured == headings[: len(pictured)], RENEW
    tiles = re.findall(r'<div class="tile.*?<span>(.+?)</span>', report)
    assert " ".join(_texts("report.svg", "tile")) == " ".join(tiles), RENEW


def test_top_has_the_words_of_the_picture() -> None:
    console_of = pytest.importorskip("rich.console", reason="rich is not installed")
    from aplex._cli import screen
    from aplex._cli.history import Rates

    printed = io.StringIO()
    console = console_of.Console(file=printed, width=110)
    console.print(screen._workers([], Rates(None, {}, {}), wide=True))
    console.print(screen._functions([], wide=True))
    console.print(screen.KEYS % "slot")
    pictured = " ".join(_texts("top.svg"))
    for word in printed.getvalue().split():
        assert word in pictured, RENEW
