"""Makes the pictures that the READMEs show: a report, and `aplex top`. Run it after changing them.

    python docs/_ext/readme_pictures.py

Both are SVG of what is really drawn, of programs that really run. They are in the repository, as
READMEs are shown where nothing can be built. Needs Chromium, playwright and rich.
"""

import io
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import report_picture

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent / "pictures"
WIDTH, HEIGHT = 1100, 900  # of the browser
LAST = "#legend"  # of the report that is shown
COLUMNS = 110  # of the terminal
LOOKS = 40  # of `top`, before its picture is taken

BUSY = """
import asyncio, random, time
from aplex import ProcessAsyncPoolExecutor

def resize(name):
    time.sleep(random.uniform(0.05, 0.4))
    if random.random() < 0.02:
        raise ValueError(f"{name} is no image")

def train(model):
    time.sleep(30)

async def fetch(url):
    await asyncio.sleep(random.expovariate(1 / 0.3))

if __name__ == "__main__":
    with ProcessAsyncPoolExecutor(4, max_works_per_worker=12) as pool:
        pool.submit(train, "a model")
        print("begun", flush=True)
        for number in range(100_000):
            pool.submit(fetch if number % 4 else resize, number)
            time.sleep(0.012)
"""


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "report.svg").write_text(report(), encoding="utf-8")
    (FOLDER / "top.svg").write_text(top(), encoding="utf-8")


def report() -> str:
    """Return a picture of the report of a recording."""
    from playwright.sync_api import sync_playwright

    script = (HERE / "page_to_svg.js").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        program, page_file = Path(folder) / "program.py", Path(folder) / "report.html"
        program.write_text(report_picture.PROGRAM)
        subprocess.run([sys.executable, program, page_file], check=True, timeout=120)
        browser = playwright.chromium.launch(
            executable_path=report_picture.CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        size = {"width": WIDTH, "height": HEIGHT}
        page = browser.new_page(viewport=size, color_scheme="light")
        page.add_init_script(f"{script}; window.picture = pictureOfPage; picture.record()")
        page.goto(page_file.as_uri())
        page.evaluate("new Promise(requestAnimationFrame)")
        drawn: str = page.evaluate("last => picture.draw(last)", LAST)
        browser.close()
    return drawn


def top() -> str:
    """Return a picture of `aplex top`, after it has watched a program for a while."""
    from rich.console import Console

    from aplex._cli import screen
    from aplex._cli.top import Watched

    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "program.py"
        program.write_text(BUSY)
        command = [sys.executable, program]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
            assert running.stdout is not None
            running.stdout.readline()
            time.sleep(1)
            watched = Watched(running.pid)
            for _ in range(LOOKS):
                seen = watched.look()
                time.sleep(0.25)
            running.kill()
    console = Console(
        record=True, file=io.StringIO(), width=COLUMNS, height=24, force_terminal=True
    )
    console.print(screen._all(console, seen, 0, 24, frozen=False, said=""))  # noqa: SLF001
    drawn = console.export_svg(title="aplex top", unique_id="top")
    # The fonts of the reader, not those of a site.
    return re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)


if __name__ == "__main__":
    main()
