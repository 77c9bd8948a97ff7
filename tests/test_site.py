"""The site: its charts show what was measured, its translations are those of today's pages."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parent.parent / "docs"
EXTENSIONS = DOCS / "_ext"
LOCALES = ("zh_CN", "zh_TW")
PAGES = ("index", "tutorial")
ENTRY = re.compile(r'^msgid (?P<id>(?:".*"\n)+)msgstr (?P<string>(?:".*"\n?)+)', re.MULTILINE)
LINK = re.compile(r"\]\((.+?)\)")
CODE = re.compile(r"`[^`]+`")


def _extension(name: str) -> ModuleType:
    sys.path.insert(0, str(EXTENSIONS))
    try:
        return __import__(name)
    finally:
        sys.path.remove(str(EXTENSIONS))


charts = _extension("charts")
drawing = _extension("drawing")
pool_picture = _extension("pool_picture")
check_site = _extension("check_site")


# -- pictures -----------------------------------------------------------------------------------


def test_bars_are_as_long_as_what_they_show() -> None:
    drawn = [
        charts.Bar("ours", 200, "200", "ours"),
        charts.Bar("theirs", 50, "50", "theirs"),
        charts.Bar("bare", 100, "100", "yardstick"),
    ]
    picture = charts.bars(drawing.LIGHT, "works", drawn)
    ours, theirs, bare = map(float, re.findall(r'<rect .*?width="([\d.]+)"', picture))
    assert (ours / theirs, ours / bare) == (4, 2)
    assert "<title>works: ours 200, theirs 50, bare 100</title>" in picture
    assert picture.count("stroke-dasharray") == 1  # only the yardstick


def test_the_board_has_a_square_or_a_cross_for_each_fault() -> None:
    drawn = [
        charts.Standing("a", [True, True, False], True),
        charts.Standing("b", [False] * 3, False),
    ]
    picture = charts.board(drawing.DARK, "faults", drawn)
    assert (picture.count("<rect"), picture.count("<path")) == (2, 4)
    assert "<title>faults: a 2 / 3, b 0 / 3</title>" in picture


@pytest.mark.parametrize("language", ["en", *LOCALES])
def test_the_pool_is_drawn_in_each_language(language: str) -> None:
    picture = pool_picture.picture(drawing.LIGHT, language)
    words = pool_picture.WORDS[language]
    assert words.keys() == pool_picture.WORDS["en"].keys()
    assert all(word in picture for word in words.values())


# -- links --------------------------------------------------------------------------------------


def test_broken_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "there.html").write_text('<h1 id="top">there</h1><a href="https://a.test/">x</a>')
    (tmp_path / "index.html").write_text(
        '<a href="there.html#top"></a><a href="gone.html"></a><a href="#nowhere"></a>'
        '<a href="there.html#nowhere"></a><img src="no.svg"><link href="there.html?v=1">'
    )
    assert list(check_site.broken_links(tmp_path)) == [
        "index.html: no place #nowhere",
        "index.html: no file gone.html",
        "index.html: no file no.svg",
        "index.html: no place there.html#nowhere",
    ]


# -- translations -------------------------------------------------------------------------------


def _sentences(catalogue: Path) -> dict[str, str]:
    text = catalogue.read_text(encoding="utf-8")
    found = {_joined(match["id"]): _joined(match["string"]) for match in ENTRY.finditer(text)}
    found.pop("")  # the head
    return found


def _joined(quoted: str) -> str:
    inner = "".join(line[1:-1] for line in quoted.splitlines())
    return inner.replace('\\"', '"').replace("\\\\", "\\")


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sentences of today, as Sphinx takes them out of the two pages."""
    pytest.importorskip("sphinx", reason="Sphinx is not installed")
    docs = tmp_path_factory.mktemp("site") / "docs"
    shutil.copytree(EXTENSIONS, docs / "_ext", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("conf.py", *(f"{page}.md" for page in PAGES)):
        shutil.copy(DOCS / name, docs)
    options = ("-q", "-b", "gettext", "-D", "extensions=front_page,myst_parser")
    folder = docs / "_build" / "gettext"
    command = [sys.executable, "-m", "sphinx", *options, docs, folder]
    subprocess.run(command, check=True, capture_output=True, timeout=50)
    return folder


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("locale", LOCALES)
def test_no_translation_is_stale(templates: Path, locale: str, page: str) -> None:
    """`python docs/_ext/languages.py --renew docs/_build` says what is to be translated."""
    translated = _sentences(DOCS / "locale" / locale / "LC_MESSAGES" / f"{page}.po")
    english = _sentences(templates / f"{page}.pot")
    assert {
        "new": english.keys() - translated.keys(),
        "gone": translated.keys() - english.keys(),
    } == {
        "new": set(),
        "gone": set(),
    }


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("locale", LOCALES)
def test_translations_are_whole(locale: str, page: str) -> None:
    """None is missing or in doubt, and code and links are those of the original."""
    catalogue = DOCS / "locale" / locale / "LC_MESSAGES" / f"{page}.po"
    assert "#, fuzzy" not in catalogue.read_text(encoding="utf-8")
    for english, translated in _sentences(catalogue).items():
        assert translated, english
        assert sorted(LINK.findall(translated)) == sorted(LINK.findall(english))
        assert sorted(CODE.findall(translated)) == sorted(CODE.findall(english))
