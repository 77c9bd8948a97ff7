"""Sphinx extension: makes the picture of a report that docs/howto/recording.md shows.

It records a small program, makes a report of it, and has a browser draw it in docs/_build/. Where
there is no Chromium, or no playwright, the page has a note in its place.
"""

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent / "_build" / "pictures"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PICTURE = """```{{figure}} ../_build/pictures/{name}.png
:alt: {alt}
:width: 100%
```
"""
MISSING = """```{note}
There is no picture in this build: it needs Chromium, and the package playwright.
```
"""
PROGRAM = """
import asyncio, os, random, sys, time
from aplex import ProcessAsyncPoolExecutor

def resize(number):
    time.sleep(random.uniform(0.002, 0.02))
    if number % 97 == 13:
        raise ValueError("no image")

async def fetch(number):
    await asyncio.sleep(random.expovariate(1 / 0.03))

def crash():
    os.kill(os.getpid(), 9)

if __name__ == "__main__":
    with ProcessAsyncPoolExecutor(3, max_works_per_worker=8) as pool:
        pool.start()
        with pool.record() as run:
            futures = [pool.submit(fetch, number) for number in range(200)]
            futures += [pool.submit(resize, number) for number in range(200)]
            for future in futures[:250]:
                future.exception()
            run.mark("a crash")
            futures.append(pool.submit(crash))
            for future in futures:
                future.exception()
    run.report(sys.argv[1])
"""


def setup(app: Any) -> dict[str, Any]:
    app.connect("builder-inited", make)
    return {"parallel_read_safe": True}


def make(_app: Any) -> None:
    """Write what the page includes, and the picture if it can be made."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    text = MISSING
    if CHROMIUM is not None and importlib.util.find_spec("playwright") is not None:
        draw(FOLDER / "report.png")
        text = PICTURE.format(name="report", alt="The report of a recording in a browser")
    (FOLDER / "report.md").write_text(text, encoding="utf-8")


def draw(picture: Path) -> None:
    """Run the program, and have a browser draw its report."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder:
        program, report = Path(folder) / "program.py", Path(folder) / "report.html"
        program.write_text(PROGRAM)
        subprocess.run([sys.executable, program, report], check=True, timeout=120)
        with sync_playwright() as playwright:
            options = ["--no-sandbox", "--disable-gpu"]
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
            page = browser.new_page(viewport={"width": 1100, "height": 1000})
            page.goto(report.as_uri())
            page.screenshot(path=picture)
            browser.close()
