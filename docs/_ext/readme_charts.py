"""Makes the chart and the badges of the READMEs. Run it after measuring, and before a release.

    python docs/_ext/readme_charts.py

The bars come from the figures that `benchmarks/run.py` has saved, what badges say from
`pyproject.toml` and the version: nothing here knows a figure, and no host is asked. They are in the
repository, as READMEs are shown where nothing can be built; a test compares.
"""

import re
import tomllib
from collections.abc import Iterator

import charts
import drawing
import front_page
from drawing import PALETTES, Palette

FOLDER = front_page.DOCS / "pictures"
HEADINGS = {
    "coroutines": "Coroutines a second, awaited: longer is better",
    "functions": "Plain functions a second: longer is better",
    "arrays": "64 MB of NumPy there and back: shorter is better",
}
HEADING, GAP = 26, 14  # pixels
BADGE, SIZE, LETTER = 20, 11, 6.1  # pixels: height, and of its letters size and mean width


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, picture in pictures():
        (FOLDER / name).write_text(picture, encoding="utf-8")


def pictures() -> Iterator[tuple[str, str]]:
    """Return the names and the texts of all that is made here."""
    for palette in PALETTES:
        yield f"speed-{palette.scheme}.svg", chart(palette)
    for left, right in badges():
        yield f"badge-{left}.svg", badge(left, right)


def chart(palette: Palette) -> str:
    """Return the bars of all workloads of the front page, one below the other."""
    y, parts, told = 6, [], []
    with front_page.importable(front_page.ROOT / "benchmarks"):
        for name, (workload, peers) in front_page.BARS.items():
            drawn = front_page.measured(workload, peers, "en")
            heading = HEADINGS[name]
            y += HEADING
            parts.append(drawing.text(12, y - 9, heading, palette.ink, font_weight=600))
            inner = charts.bars(palette, heading, drawn)
            parts.append(inner.replace("<svg ", f'<svg y="{y}" ', 1).rstrip())
            told.append(f"{heading} ({drawn[0].label} {drawn[0].shown})")
            y += 8 + charts.ROW * len(drawn) + GAP
    # Readers' pages may have a ground of their own: one that is no scheme's, for instance.
    parts.insert(0, drawing.box(0, 0, charts.WIDTH, y, fill=palette.paper, rx=6))
    return drawing.svg(charts.WIDTH, y, "; ".join(told), parts)


def badges() -> list[tuple[str, str]]:
    """Return what the badges say: left, and right."""
    project = tomllib.loads((front_page.ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    version = (front_page.ROOT / "src/aplex/_version.py").read_text("utf-8")
    said = re.search(r'__version__\s*(?::.*?)?=\s*"(.+?)"', version)
    assert said is not None
    classifiers = project["classifiers"]
    python = "Programming Language :: Python :: "
    minors = [
        each.removeprefix(python) for each in classifiers if re.fullmatch(rf"{python}3\.\d+", each)
    ]
    typed = "yes" if "Typing :: Typed" in classifiers else "no"
    return [
        ("version", said[1]),
        ("python", f"{minors[0]} to {minors[-1]}"),
        ("license", project["license"]),
        ("typed", typed),
    ]


def badge(left: str, right: str) -> str:
    """Return a badge, which is the same in light and dark."""
    first, second = (round(LETTER * len(words) + 12) for words in (left, right))
    middle = BADGE - 6
    parts = [
        drawing.box(0, 0, first + second, BADGE, rx=3, fill="#57606a"),
        drawing.box(first, 0, second, BADGE, rx=3, fill=drawing.LIGHT.ours),
        drawing.box(first, 0, 4, BADGE, fill=drawing.LIGHT.ours),
        *(
            drawing.text(x, middle, words, "#ffffff", SIZE, text_anchor="middle", textLength=width)
            for x, words, width in (
                (first / 2, left, first - 12),
                (first + second / 2, right, second - 12),
            )
        ),
    ]
    return drawing.svg(first + second, BADGE, f"{left}: {right}", parts)


if __name__ == "__main__":
    main()
