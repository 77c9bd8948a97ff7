"""Sphinx extension: makes the tables and plots that docs/benchmarks.md includes.

It reads the figures that the programs in benchmarks/ have saved in docs/benchmarks/, and writes
Markdown and SVG into docs/_build/benchmarks/, which Git ignores. Where there are no figures the
page says how to make them.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent.parent
BENCHMARKS = DOCS.parent / "benchmarks"
SAVED = DOCS / "benchmarks"
FOLDER = DOCS / "_build" / "benchmarks"

RUN = "python3 benchmarks/run.py --json docs/benchmarks/results.json"
GROWTH = "python3 benchmarks/run.py --growth --json docs/benchmarks/growth.json"
START = "python3 benchmarks/starting.py --rounds 5 --json docs/benchmarks/starting.json"
LIFE = "python3 benchmarks/worker_life.py --rounds 9 --json docs/benchmarks/worker_life.json"
PROFILE = "python3 benchmarks/profile_path.py --json docs/benchmarks/profile.json"
MISSING = """```{{note}}
There are no figures in this build. This command makes them; build the documentation again then:

    {command}
```
"""


def setup(app: Any) -> dict[str, Any]:
    app.connect("builder-inited", make)
    return {"parallel_read_safe": True}


def make(_app: Any) -> None:
    """Write everything anew."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    sys.path.insert(0, str(BENCHMARKS))
    try:
        pages = {
            "targets.md": page(SAVED / "results.json", RUN, targets_page),
            "results.md": page(SAVED / "results.json", RUN, results_page),
            "growth.md": page(SAVED / "growth.json", GROWTH, growth_page),
            "profile.md": page(SAVED / "profile.json", PROFILE, profile_page),
            "starting.md": page(SAVED / "starting.json", START, starting_page),
            "worker_life.md": page(SAVED / "worker_life.json", LIFE, life_page),
        }
    finally:
        sys.path.remove(str(BENCHMARKS))
    for name, text in pages.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


def page(saved: Path, command: str, make_page: Any) -> str:
    if not saved.exists() or not BENCHMARKS.exists():  # an archive may come without the latter
        return MISSING.format(command=command)
    text: str = make_page(saved)
    return text


def targets_page(saved: Path) -> str:
    import targets
    from rounds import load
    from target_table import TARGETS

    return f"{facts(saved)}\n\n{targets.table(TARGETS, load(saved))}\n"


def growth_page(saved: Path) -> str:
    """The bounds, then the figures of each workload."""
    import tables
    import targets
    from rounds import load
    from target_table import GROWTH
    from workloads import WORKLOADS

    results = load(saved)
    parts = [facts(saved), targets.table(GROWTH, results, all_rows=False)]
    for name, found in results.items():
        workload = WORKLOADS[name]
        parts.append(f"### {workload.title}\n\n`{name}`\n\n{tables.table(workload, found)}")
    return "\n\n".join(parts) + "\n"


def results_page(saved: Path) -> str:
    """For each workload its plot and its table."""
    import plots
    import tables
    from rounds import load
    from workloads import WORKLOADS

    parts = [facts(saved)]
    results = load(saved)
    for name, workload in WORKLOADS.items():
        if name not in results:
            continue
        parts.append(f"### {workload.title}\n\n`{name}`")
        if drawn := plots.bars(workload, results[name]):
            plots.draw(FOLDER / f"{name}.svg", workload.title, drawn)
            alternative = f"Bars: by which factor {drawn[0].label} is better than each peer"
            parts.append(f"![{alternative}](/_build/benchmarks/{name}.svg)")
        parts.append(tables.table(workload, results[name]))
    return "\n\n".join(parts) + "\n"


def profile_page(saved: Path) -> str:
    import profile_path

    return "\n\n".join([facts(saved), *map(profile_path.render, profile_path.load(saved))]) + "\n"


def starting_page(saved: Path) -> str:
    import starting

    return "\n\n".join([facts(saved), *starting.load(saved)]) + "\n"


def life_page(saved: Path) -> str:
    import worker_life

    results = json.loads(saved.read_text(encoding="utf-8"))["results"]
    return f"{facts(saved)}\n\n{worker_life.render(results)}\n"


def facts(saved: Path) -> str:
    """The machine and the versions."""
    known = json.loads(saved.read_text(encoding="utf-8"))["facts"]
    return "\n".join(f"- {name}: {value}" for name, value in known.items())
