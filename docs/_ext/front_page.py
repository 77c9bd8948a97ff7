"""Sphinx extension: draws what the front page shows, into docs/_build/front/, which Git ignores.

The charts come from the figures that `benchmarks/run.py` and `reliability/scoreboard.py` have
saved; those say what each library is called, too. Each picture is made in light and dark, and comes
with a text that the page includes: `coroutines.md` shows `coroutines-light.svg` and its twin.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import charts
import pool_picture
from charts import Bar, Standing
from drawing import PALETTES, Palette

DOCS = Path(__file__).resolve().parent.parent
ROOT = DOCS.parent
FIGURES = DOCS / "benchmarks" / "results.json"
BOARD = DOCS / "reliability" / "scoreboard.json"
FOLDER = DOCS / "_build" / "front"
BOTH = """```{{image}} {folder}/{name}-light.svg
:alt: {alt}
:class: only-light
```

```{{image}} {folder}/{name}-dark.svg
:alt: {alt}
:class: only-dark
```
"""
MISSING = "```text\nThere are no figures in this build.\n```\n"  # which nobody translates

# Of each chart: its workload, and the peers of it that are shown. The first one is ours.
BARS = {
    "coroutines": (
        "coroutines-awaited",
        ("aplex-awaited", "distex", "aiomultiprocess", "futures-process-awaited", "asyncio-alone"),
    ),
    "functions": (
        "plain-blocking",
        ("aplex", "multiprocessing-pool", "pebble", "futures-process", "loky", "ray"),
    ),
    "arrays": (
        "numpy-64mb",
        ("aplex", "distex", "futures-process", "multiprocessing-pool", "memcpy"),
    ),
}
NAMES = {
    "futures-process": "ProcessPoolExecutor",
    "multiprocessing-pool": "multiprocessing.Pool",
}
YARDSTICKS = {
    "en": {"asyncio-alone": "no pool at all", "memcpy": "bare copy"},
    "zh_CN": {"asyncio-alone": "不用池", "memcpy": "单纯复制"},
    "zh_TW": {"asyncio-alone": "不用池", "memcpy": "單純複製"},
}


def setup(app: Any) -> dict[str, Any]:
    app.connect("builder-inited", make)
    app.connect("doctree-read", forget_alternatives)
    return {"parallel_read_safe": True}


def make(app: Any) -> None:
    """Write all pictures, and the texts that show them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    language = app.config.language
    show("pool", lambda palette: pool_picture.picture(palette, language))
    with importable(ROOT / "benchmarks"):
        for name, (workload, peers) in BARS.items():
            drawn = measured(workload, peers, language)
            show(name, bars_of(name, drawn) if drawn else None)
    with importable(ROOT):
        standings = judged()
        show("faults", board_of(standings) if standings else None)


def forget_alternatives(app: Any, doctree: Any) -> None:
    """Have nobody translate figures, which change; the pool's picture knows its languages."""
    if app.builder.name == "gettext":
        from docutils import nodes  # the pictures of the READMEs are made without it

        for image in doctree.findall(nodes.image):
            if "_build/front/" in image["uri"]:
                del image["alt"]


def bars_of(title: str, drawn: list[Bar]) -> Callable[[Palette], str]:
    return lambda palette: charts.bars(palette, title, drawn)


def board_of(drawn: list[Standing]) -> Callable[[Palette], str]:
    return lambda palette: charts.board(palette, "faults", drawn)


def show(name: str, draw: Callable[[Palette], str] | None) -> None:
    """Write the picture in each scheme, and the text that shows the one of the reader's."""
    text = MISSING
    if draw is not None:
        pictures = [draw(palette) for palette in PALETTES]
        for palette, picture in zip(PALETTES, pictures, strict=True):
            (FOLDER / f"{name}-{palette.scheme}.svg").write_text(picture, encoding="utf-8")
        alt = pictures[0].partition("<title>")[2].partition("</title>")[0]
        text = BOTH.format(folder="/_build/front", name=name, alt=alt)
    (FOLDER / f"{name}.md").write_text(text, encoding="utf-8")


def measured(workload: str, peers: tuple[str, ...], language: str) -> list[Bar]:
    """Return the medians of a workload, yardsticks last; none where there are no figures."""
    if not FIGURES.exists() or not (ROOT / "benchmarks").exists():
        return []
    import plots
    import tables
    from rounds import load
    from workloads import WORKLOADS

    results = {result.peer: result for result in load(FIGURES)[workload]}
    metric = WORKLOADS[workload].metrics[0]
    drawn = []
    for peer in peers:
        if results[peer].trouble:
            continue
        value = tables.median(results[peer], metric)
        kind = "yardstick" if peer.startswith(plots.YARDSTICKS) else "theirs"
        kind = "ours" if peer == peers[0] else kind
        drawn.append(Bar(name_of(peer, language), value, written(value, metric.name), kind))
    return drawn


def name_of(peer: str, language: str) -> str:
    name = peer.removesuffix("-awaited")
    return YARDSTICKS.get(language, YARDSTICKS["en"]).get(name) or NAMES.get(name, name)


def written(value: float, unit: str) -> str:
    """Return two or three digits: more would promise what a measurement does not keep."""
    if unit.startswith("ms"):
        return f"{value:,.0f} ms"
    return f"{round(value, -3):,.0f}" if value >= 10_000 else f"{round(value, -2):,.0f}"


def judged() -> list[Standing]:
    """Return the rows of the scoreboard."""
    if not BOARD.exists() or not (ROOT / "reliability").exists():
        return []
    from reliability.board.peers import PEERS

    cases = json.loads(BOARD.read_text(encoding="utf-8"))["cases"]
    peers = list(next(iter(cases.values())))
    return [
        Standing(
            PEERS[peer].title,
            [not verdicts[peer]["words"] for verdicts in cases.values()],
            ours=peer.startswith("aplex"),
        )
        for peer in peers
    ]


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
