"""The pictures of the READMEs are current: they show what is drawn today, and need nothing else.

`docs/_ext/readme_pictures.py` makes two of them, of programs that run. Figures and fonts differ
from run to run; what is compared are the words that do not. `docs/_ext/readme_charts.py` makes
the others, of what is saved in the repository; those are compared as they are.
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import aplex
from aplex import ThreadAsyncPoolExecutor

ROOT = Path(__file__).parent.parent
READMES = [ROOT / name for name in ("README.md", "README.zh-CN.md", "README.zh-TW.md")]
PICTURES = sorted((ROOT / "docs" / "pictures").glob("*.svg"))
SVG = "{http://www.w3.org/2000/svg}"
RENEW = "python docs/_ext/readme_pictures.py"
SHOWN = re.compile(r'!\[[^\]]+\]\((docs/.+?)\)|(?:srcset|src)="(.+?)"')

sys.path.insert(0, str(ROOT / "docs" / "_ext"))
try:
    import readme_charts
finally:
    sys.path.remove(str(ROOT / "docs" / "_ext"))


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
    shown = SHOWN.findall(readme.read_text(encoding="utf-8"))
    paths = [str(path.relative_to(ROOT)) for path in PICTURES]
    assert sorted(one or other for one, other in shown) == paths


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_chart_shows_the_figures_that_are_saved(scheme: str) -> None:
    if not (ROOT / "benchmarks").exists():
        pytest.skip("no benchmarks here")  # an archive of the sources comes without them
    chart = f"speed-{scheme}.svg"
    saved = (ROOT / "docs" / "pictures" / chart).read_text(encoding="utf-8")
    assert saved == dict(readme_charts.pictures())[chart], "python docs/_ext/readme_charts.py"


def test_the_badges_say_what_the_project_says() -> None:
    for left, right in readme_charts.badges():
        saved = (ROOT / "docs" / "pictures" / f"badge-{left}.svg").read_text(encoding="utf-8")
        assert saved == readme_charts.badge(left, right), "python docs/_ext/readme_charts.py"
    assert dict(readme_charts.badges())["version"] == aplex.__version__


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
