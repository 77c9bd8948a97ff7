"""Builds the site in all its languages; as a Sphinx extension, links them to each other.

    python docs/_ext/languages.py docs/_build           build it; a warning is a failure
    python docs/_ext/languages.py --renew docs/_build   bring docs/locale up to the English pages

English lies at the top of the folder, each translation in one of its own. What is not translated
is there in English.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent.parent
SPHINX = (sys.executable, "-m", "sphinx", "-q", "-E", "-W", "--keep-going")
LANGUAGES = {  # of Sphinx: name, code for browsers, folder
    "en": ("English", "en", ""),
    "zh_CN": ("简体中文", "zh-Hans", "zh_CN/"),
    "zh_TW": ("繁體中文", "zh-Hant", "zh_TW/"),
}
TRANSLATED = ("index", "tutorial")  # pages


def setup(app: Any) -> dict[str, Any]:
    app.connect("html-page-context", link)
    return {"parallel_read_safe": True}


def link(app: Any, page: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    """Tell the sidebar where the page is in other languages, if they are built with it."""
    if not app.tags.has("languages") or app.builder.name != "html":
        return
    ours = app.config.language
    top = "../" * (page.count("/") + bool(LANGUAGES[ours][2]))
    context["languages"] = [
        (name, code, "" if language == ours else f"{top}{folder}{page}.html")
        for language, (name, code, folder) in LANGUAGES.items()
    ]


def build(folder: Path) -> bool:
    """Build all languages, one after the other; return whether there was nothing to complain of."""
    ok = True
    for language, (_, _, inside) in LANGUAGES.items():
        doctrees = ("-d", str(folder / ".doctrees" / language))
        options = ("-t", "languages", "-D", f"language={language}", *doctrees)
        run = subprocess.run([*SPHINX, *options, DOCS, folder / inside], check=False)
        ok = ok and run.returncode == 0
    return ok


def renew(folder: Path) -> None:
    """Put new sentences into the catalogues, and take out those that are gone."""
    templates = folder / "gettext"
    subprocess.run([*SPHINX, "-b", "gettext", DOCS, templates], check=True)
    for path in templates.rglob("*.pot"):
        if path.relative_to(templates).with_suffix("").as_posix() not in TRANSLATED:
            path.unlink()
    chosen = [part for code in LANGUAGES if code != "en" for part in ("-l", code)]
    where = ("-p", str(templates), "-d", str(DOCS / "locale"))
    options = ("--no-obsolete", "-w", "100")
    command = [sys.executable, "-m", "sphinx_intl", "update", *where, *options, *chosen]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Build the site in all its languages.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--renew", action="store_true", help="renew docs/locale instead")
    asked = parser.parse_args()
    if asked.renew:
        renew(asked.folder)
    else:
        sys.exit(not build(asked.folder))
