"""Looks at the built site: no link within it is broken, and no page has an error in a browser.

    python docs/_ext/check_site.py docs/_build
    python docs/_ext/check_site.py docs/_build --pictures FOLDER    see for yourself, too

Each page of `LOOKED_AT` is opened in light, in dark and on a phone; the page must not be wider than
the screen, and its pictures must be there. Without Chromium, or playwright, only links are checked.
"""

import argparse
import importlib.util
import shutil
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urlsplit

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
LOOKED_AT = (
    *("index", "zh_CN/index", "zh_TW/index", "tutorial", "zh_TW/tutorial", "which-one"),
    *("cookbook/index", "cookbook/crawler", "reference", "benchmarks", "howto/recording"),
)
SCREENS = (("light", 1280), ("dark", 1280), ("light", 390))
BROKEN = """() => [...document.images].filter(
  image => image.checkVisibility() && !(image.complete && image.naturalWidth)
).map(image => image.src)"""
WIDTH = "() => document.documentElement.scrollWidth"


class Page(HTMLParser):
    """What a page links to, and what can be linked to in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.targets: set[str] = set()
        self.names: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.names |= {value for name in ("id", "name") if (value := known.get(name))}
        wanted = known.get("src" if tag in {"img", "script"} else "href")
        if wanted and not urlsplit(wanted).scheme and not wanted.startswith("//"):
            self.targets.add(wanted)


def broken_links(folder: Path) -> Iterator[str]:
    """Yield each link to a page, a place in one, or a file, that is not there."""
    pages = {path.resolve(): Page(path) for path in sorted(folder.rglob("*.html"))}
    for path, page in pages.items():
        for target in sorted(page.targets):
            address, place = urldefrag(target)
            address = urlsplit(address).path
            there = (path.parent / unquote(address)).resolve() if address else path
            if not there.is_file():
                yield f"{path.relative_to(folder.resolve())}: no file {target}"
            elif place and there in pages and unquote(place) not in pages[there].names:
                yield f"{path.relative_to(folder.resolve())}: no place {target}"


def complaints(browser: Any, folder: Path, pictures: Path | None) -> Iterator[str]:
    """Yield what is wrong with a page on a screen."""
    for scheme, width in SCREENS:
        screen = {"width": width, "height": 900}
        context = browser.new_context(color_scheme=scheme, viewport=screen)
        for name in LOOKED_AT:
            said: list[str] = []
            page = context.new_page()
            page.on("console", lambda message, said=said: said.append(message.text))
            page.on("pageerror", lambda error, said=said: said.append(str(error)))
            page.on("requestfailed", lambda asked, said=said: said.append(f"no {asked.url}"))
            page.goto((folder / f"{name}.html").resolve().as_uri(), wait_until="load")
            said += [f"not drawn: {image}" for image in page.evaluate(BROKEN)]
            if (wide := page.evaluate(WIDTH)) > width:
                said.append(f"{wide} pixels wide")
            if pictures is not None:
                shot = f"{name.replace('/', '-')}-{scheme}-{width}.png"
                page.screenshot(path=pictures / shot, full_page=True)
            page.close()
            yield from (f"{name}, {scheme}, {width} pixels: {words}" for words in said)
        context.close()


def look(folder: Path, pictures: Path | None) -> Iterator[str]:
    """Yield what a browser shows to be wrong."""
    if CHROMIUM is None or importlib.util.find_spec("playwright") is None:
        print("there is no Chromium here, or no playwright: only links are checked")
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield from complaints(browser, folder, pictures)
        browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Look at the built site.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=Path, help="save pictures of the pages there")
    asked = parser.parse_args()
    found = [*broken_links(asked.folder), *look(asked.folder, asked.pictures)]
    print(*found or ["no link is broken, and no page complains"], sep="\n")
    sys.exit(bool(found))
