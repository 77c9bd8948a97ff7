"""How soon a browser shows the report of 100,000 works, and how big it is.

    python3 benchmarks/first_paint.py --rounds 5

Run it with a Python that has aplex and playwright installed, where there is Chromium. Exit
status 1: more than 4 MB, or 1.5 seconds.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from aplex import ThreadAsyncPoolExecutor

WORKS = 100_000
MOST_MB, MOST_MS = 4.0, 1500.0
PAINT = "performance.getEntriesByName('first-contentful-paint')"


def write(path: Path) -> None:
    with ThreadAsyncPoolExecutor(2) as pool, pool.record() as run:
        for _ in range(WORKS // 10_000):
            for future in [pool.submit(abs, -number) for number in range(10_000)]:
                future.result()
    run.report(path)


def paints(path: Path, rounds: int) -> list[float]:
    """Return the milliseconds until something is seen, each time in a new browser."""
    found: list[float] = []
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        for _ in range(rounds):
            options = ["--no-sandbox", "--disable-gpu"]
            browser = playwright.chromium.launch(executable_path=chromium, args=options)
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(path.as_uri(), wait_until="load")
            page.wait_for_function(f"{PAINT}.length")
            found.append(page.evaluate(f"{PAINT}[0].startTime"))
            browser.close()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        write(path)
        size = path.stat().st_size / 1e6
        times = paints(path, options.rounds)
    middle = statistics.median(times)
    print(f"{size:.2f} MB (at most {MOST_MB:g}); first paint after {middle:.0f} ms", end="")
    print(f" ({min(times):.0f} … {max(times):.0f}; at most {MOST_MS:g})")
    return int(size > MOST_MB or middle > MOST_MS)


if __name__ == "__main__":
    sys.exit(main())
