"""How soon a pool of 8 serves, by what the main module imports, against `ProcessPoolExecutor`.

    python3 benchmarks/starting.py --rounds 7
    python3 benchmarks/starting.py --rounds 3 --check     with exit code 1 if a bound is exceeded
    python3 benchmarks/starting.py --rounds 5 --json docs/benchmarks/starting.json

Each measurement is a program of its own, in turns; medians. Run it with a Python that has aplex
installed, and pandas for those rows (`--imports` names another module); nothing else should run.
"""

import argparse
import compileall
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import machine

WORKERS = 8
KILLS = 10
PROGRAM = """
import json, os, signal, sys, time
{imports}

def nothing():
    pass

def come(here, go):
    '''Say that this worker serves, and wait for the others.'''
    with open(here, "w") as file:
        file.write("x")
    with open(go):
        return os.getpid()

def make(size):
    if {kind!r} == "aplex":
        from aplex import ProcessAsyncPoolExecutor
        return lambda: ProcessAsyncPoolExecutor(size, mp_context={method!r}, max_restarts=1000)
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    context = multiprocessing.get_context({method!r})
    return lambda: ProcessPoolExecutor(size, mp_context=context)

def first():
    constructor = make({workers})
    began = time.perf_counter()
    pool = constructor()
    pool.submit(nothing).result()
    yield time.perf_counter() - began
    pool.shutdown()

def everyone():
    constructor = make({workers})
    os.mkfifo("here")
    os.mkfifo("go")
    here = os.open("here", os.O_RDWR)
    began = time.perf_counter()
    pool = constructor()
    futures = [pool.submit(come, "here", "go") for _ in range({workers})]
    come_in = 0
    while come_in < {workers}:
        come_in += len(os.read(here, {workers}))
    yield time.perf_counter() - began
    pids = [pid for pid in descendants(os.getpid()) if b"resource_tracker" not in command(pid)]
    shares = [share(pid) for pid in pids]
    with open("go", "w"):
        assert len(set(future.result() for future in futures)) == {workers}
    yield sum(shares) / {workers}
    pool.shutdown()

def successor():
    with make(1)() as pool:
        pid = pool.submit(os.getpid).result()
        for _ in range({kills}):
            began = time.perf_counter()
            os.kill(pid, signal.SIGKILL)
            before, pid = pid, pool.submit(os.getpid).result()
            yield time.perf_counter() - began
            assert pid != before

def descendants(pid):
    with open(f"/proc/{{pid}}/task/{{pid}}/children") as file:
        children = file.read().split()
    return [*children, *(each for child in children for each in descendants(child))]

def command(pid):
    with open(f"/proc/{{pid}}/cmdline", "rb") as file:
        return file.read()

def share(pid):
    with open(f"/proc/{{pid}}/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:")) * 1024

if __name__ == "__main__":
    print(json.dumps(list(globals()[sys.argv[1]]())))
"""
FIRST, ALL, MEMORY, SUCCESSOR = "first result", "all 8 serve", "PSS a worker", "successor serves"
COLUMNS = (FIRST, ALL, MEMORY, SUCCESSOR)
TEMPLATE, SPAWN, FORK = "aplex, template", "aplex, spawn", "aplex, fork"
THEIR_SPAWN, THEIR_FORK = "ProcessPoolExecutor, spawn", "ProcessPoolExecutor, fork"
IMPORT = "python -c 'import main'"
WAYS: dict[str, tuple[str, str | None]] = {
    TEMPLATE: ("aplex", None),
    SPAWN: ("aplex", "spawn"),
    FORK: ("aplex", "fork"),
    THEIR_SPAWN: ("futures", "spawn"),
    THEIR_FORK: ("futures", "fork"),
}
EMPTY = "an empty main module"
OWN = "a main module that imports its executor"
EXECUTORS = {
    "aplex": "from aplex import ProcessAsyncPoolExecutor",
    "futures": "from concurrent.futures import ProcessPoolExecutor",
}

Medians = dict[tuple[str, str], float]


@dataclass(frozen=True)
class Bound:
    """What a figure must not exceed: so many times another one, or a number of its own."""

    way: str
    column: str
    most: float
    of: tuple[str, str] | None = None
    empty: bool | None = None  # only with an empty main module, or only with pandas

    def told(self, medians: Medians) -> tuple[str, bool]:
        """Return a line, and whether the bound holds."""
        value = medians[self.way, self.column]
        if self.of is None:
            holds = value <= self.most
            return f"{self.way}: {self.column} {value * 1e3:.0f} ms <= {self.most * 1e3:.0f}", holds
        ratio = value / medians[self.of]
        other = " of ".join(reversed(self.of)) if self.of[0] != IMPORT else IMPORT
        return f"{self.way}: {self.column} {ratio:.2f} <= {self.most:.2f} of {other}", (
            ratio <= self.most
        )


BOUNDS = (
    Bound(TEMPLATE, FIRST, 1.3, (IMPORT, FIRST), empty=False),
    Bound(TEMPLATE, ALL, 1.5, (IMPORT, FIRST), empty=False),
    Bound(TEMPLATE, MEMORY, 1 / 3, (SPAWN, MEMORY), empty=False),
    Bound(TEMPLATE, SUCCESSOR, 0.030),
    Bound(FORK, FIRST, 1.3, (THEIR_FORK, FIRST), empty=True),
    Bound(TEMPLATE, FIRST, 0.8, (THEIR_SPAWN, FIRST), empty=True),
    Bound(TEMPLATE, ALL, 1 / 3, (THEIR_SPAWN, ALL), empty=True),
    Bound(SPAWN, FIRST, 1.1, (THEIR_SPAWN, FIRST), empty=True),
)


@contextlib.contextmanager
def programs(imports: dict[str, str]) -> Iterator[dict[str, Path]]:
    """The program of each way, in a folder of its own; and a module that only imports."""
    with tempfile.TemporaryDirectory() as name:
        paths = {}
        for number, (way, (kind, method)) in enumerate(WAYS.items()):
            folder = Path(name) / str(number)
            folder.mkdir()
            paths[way] = folder / "main.py"
            text = PROGRAM.format(
                imports=imports.get(kind, ""),
                kind=kind,
                method=method,
                workers=WORKERS,
                kills=KILLS,
            )
            paths[way].write_text(text)
        yield paths


def ran(path: Path, what: str) -> list[float]:
    for name in ("here", "go"):
        (path.parent / name).unlink(missing_ok=True)
    run = subprocess.run(
        [sys.executable, path.name, what], cwd=path.parent, check=True, capture_output=True
    )
    figures: list[float] = json.loads(run.stdout)
    return figures


def imported(path: Path) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import main"], cwd=path.parent, check=True)
    return time.perf_counter() - began


def measured(paths: dict[str, Path], rounds: int) -> Medians:
    """Measure in turns."""
    figures: dict[tuple[str, str], list[float]] = {}

    def note(way: str, column: str, *values: float) -> None:
        figures.setdefault((way, column), []).extend(values)

    for _ in range(rounds):
        note(IMPORT, FIRST, imported(paths[TEMPLATE]))
        for way, path in paths.items():
            note(way, FIRST, *ran(path, "first"))
            seconds, memory = ran(path, "everyone")
            note(way, ALL, seconds)
            note(way, MEMORY, memory)
            if WAYS[way][0] == "aplex":  # the other one is broken by a death
                note(way, SUCCESSOR, *ran(path, "successor"))
    return {key: statistics.median(values) for key, values in figures.items()}


def table(medians: Medians) -> str:
    """Return a table, in Markdown."""

    def cell(way: str, column: str) -> str:
        value = medians.get((way, column))
        if value is None:
            return ""
        return f"{value / 2**20:.1f} MiB" if column == MEMORY else f"{value * 1e3:.0f} ms"

    lines = [f"| | {' | '.join(COLUMNS)} |", f"|---|{'---|' * len(COLUMNS)}"]
    for way in (IMPORT, *WAYS):
        cells = " | ".join(cell(way, column) for column in COLUMNS)
        lines += [f"| {way} | {cells} |"]
    return "\n".join(lines)


def judged(title: str, medians: Medians) -> list[tuple[str, bool]]:
    """Return a line for each bound, and whether it holds."""
    bounds = [bound for bound in BOUNDS if bound.empty in (None, title in (EMPTY, OWN))]
    return [bound.told(medians) for bound in bounds]


def text(title: str, medians: Medians) -> str:
    """Return the table of a main module, and what became of its bounds, in Markdown."""
    told = (f"* {'holds' if ok else 'EXCEEDED'}: {line}" for line, ok in judged(title, medians))
    head = f"{WORKERS} workers, {title}:"
    return f"{head}\n\n{table(medians)}\n\n" + "\n".join(told)


def save(path: Path, rounds: int, found: dict[str, Medians]) -> None:
    version = sys.version.partition(" ")[0]
    results = {
        title: [[*key, value] for key, value in medians.items()] for title, medians in found.items()
    }
    facts = machine.describe() | {"Python": version, "rounds": str(rounds)}
    path.write_text(json.dumps({"facts": facts, "results": results}, indent=1) + "\n")


def load(path: Path) -> Iterator[str]:
    """Return the texts of what was saved."""
    for title, rows in json.loads(path.read_text())["results"].items():
        yield text(title, {(way, column): value for way, column, value in rows})


def compile_aplex() -> None:
    """Have its bytecode on disk, as installed packages have: an editable one may have none."""
    spec = find_spec("aplex")
    assert spec is not None
    for folder in spec.submodule_search_locations or ():
        compileall.compile_dir(folder, quiet=2)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--imports", default="pandas", help="what the other main module imports")
    parser.add_argument("--check", action="store_true", help="fail if a bound is exceeded")
    parser.add_argument("--json", type=Path, help="where to save the figures")
    options = parser.parse_args()
    compile_aplex()
    mains = {EMPTY: {}, OWN: EXECUTORS}
    if find_spec(options.imports):
        line = f"import {options.imports}"
        mains[f"a main module that imports {options.imports}"] = dict.fromkeys(EXECUTORS, line)
    else:
        print(f"{options.imports} is not installed: without its rows", file=sys.stderr)
    found: dict[str, Medians] = {}
    for title, imports in mains.items():
        with programs(imports) as paths:
            found[title] = measured(paths, options.rounds)
        print(f"\n{text(title, found[title])}")
    if options.json is not None:
        save(options.json, options.rounds, found)
    exceeded = not all(ok for title in found for _, ok in judged(title, found[title]))
    if options.check and exceeded:
        sys.exit(1)


if __name__ == "__main__":
    main()
