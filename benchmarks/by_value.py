"""Works per second of one program, started in the ways in which its functions travel differently.

    python3 benchmarks/by_value.py --rounds 5

The guarded script's functions travel as names. The other ways are compared with it: rounds in
turns, medians. Run it with a Python that has aplex installed; nothing else should run.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = """
import sys
import time

from aplex import ProcessAsyncPoolExecutor

def plain(x):
    return x

async def coroutine(x):
    return x

def rate(pool, work, count):
    for future in [pool.submit(work, x) for x in range(500)]:
        future.result()
    began = time.perf_counter()
    for future in [pool.submit(work, x) for x in range(count)]:
        future.result()
    return count / (time.perf_counter() - began)

def main():
    with ProcessAsyncPoolExecutor(pool_size=2) as pool:
        print(*[rate(pool, work, COUNT) for work in (plain, coroutine)])
"""
GUARD = 'if __name__ == "__main__":\n    main()\n'
NOTEBOOK = """
import sys, types
shell = sys.modules["__main__"] = types.ModuleType("__main__")
for number, cell in enumerate([{program!r}, "main()"]):
    exec(compile(cell, f"<ipython-input-{{number}}>", "exec"), shell.__dict__)
"""


def ways(folder: Path, count: int) -> dict[str, list[str]]:
    """Return the arguments of Python for each way."""
    program = PROGRAM.replace("COUNT", str(count))
    (folder / "guarded.py").write_text(program + GUARD)
    (folder / "unguarded.py").write_text(program + "main()\n")
    (folder / "package").mkdir()
    (folder / "package" / "__main__.py").write_text(program + "main()\n")
    return {
        "guarded script": ["guarded.py"],
        "unguarded script": ["unguarded.py"],
        "python -c": ["-c", program + "main()\n"],
        "python -m package": ["-m", "package"],
        "notebook": ["-c", NOTEBOOK.format(program=program)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--works", type=int, default=30_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        commands = ways(Path(name), options.works)
        rates: dict[str, list[tuple[float, ...]]] = {way: [] for way in commands}
        for _ in range(options.rounds):
            for way, arguments in commands.items():
                run = subprocess.run(
                    [sys.executable, *arguments], cwd=name, check=True, capture_output=True
                )
                rates[way].append(tuple(map(float, run.stdout.split())))
    medians = {way: [statistics.median(c) for c in zip(*rates[way], strict=True)] for way in rates}
    base = medians["guarded script"]
    print("| | functions/s | ratio | coroutines/s | ratio |\n|---|---|---|---|---|")
    for way, figures in medians.items():
        cells = [f"{x:,.0f} | {x / y:.2f}" for x, y in zip(figures, base, strict=True)]
        print(f"| {way} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
