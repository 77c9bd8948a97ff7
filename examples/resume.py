"""A job that is killed in the middle, and goes on where it was.

The program starts itself, kills that process and all its workers by SIGKILL when a third of the
items is done, and starts itself again.

    python examples/resume.py            show it
    python examples/resume.py --job      only the job; stop it by Ctrl-C, and start it again
"""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from aplex import Journal, ProcessAsyncPoolExecutor

ITEMS = 300


async def summarize(number: int) -> dict[str, int]:
    """Stand in for a call to a slow service; its cost is why nothing should run twice."""
    await asyncio.sleep(0.05)
    return {"number": number, "square": number * number}


def job(path: Path) -> None:
    journal = Journal(path)
    with ProcessAsyncPoolExecutor(pool_size=2, max_works_per_worker=10) as pool:
        results = pool.map(summarize, range(ITEMS), journal=journal, ordered=False)
        for done, _ in enumerate(results, 1):
            if done % 100 == 0:
                print(f"  {done} of {ITEMS} results", flush=True)


def show(folder: Path) -> None:
    path = folder / "run.jsonl"
    command = [sys.executable, __file__, "--job", str(path)]
    print("the first run, killed after 100 results:", flush=True)
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert first.stdout is not None
    print(first.stdout.readline(), end="")
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    recorded = len(path.read_text().splitlines()) - 1
    print(f"the journal has {'at least 100' if recorded >= 100 else recorded} results")
    print("the second run:", flush=True)
    subprocess.run(command, check=True)
    lines = path.read_text().splitlines()[1:]
    print(f"the journal has {len(lines)} results, one of each item")


if __name__ == "__main__":
    if "--job" in sys.argv[1:]:
        job(Path(sys.argv[2] if len(sys.argv) > 2 else "run.jsonl"))
    else:
        with tempfile.TemporaryDirectory() as name:
            show(Path(name))
