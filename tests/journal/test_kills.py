"""A program whose map has a journal is killed by SIGKILL, again and again, and loses nothing."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, os, sys, time
from aplex import ProcessAsyncPoolExecutor, ThreadAsyncPoolExecutor

def note(name, number):
    with open(name, "ab", buffering=0) as file:
        file.write(b"%d\\n" % number)

def effect(number):
    time.sleep(0.002)
    note("notes", number)
    return [number]

async def aeffect(number):
    await asyncio.sleep(0.02)
    note("notes", number)
    return [number]

if __name__ == "__main__":
    kind, name, ordered, *items = sys.argv[1:]
    made = ThreadAsyncPoolExecutor if kind == "thread" else ProcessAsyncPoolExecutor
    work = {"effect": effect, "aeffect": aeffect}[name]
    items = [int(item) for item in items]
    with made(2, max_works_per_worker=10) as pool:
        results = pool.map(work, items, journal="run.jsonl", ordered=ordered == "yes")
        got = [value for value, in results]
    assert sorted(got) == sorted(items)
    assert got == items or ordered != "yes"
"""


def recorded(folder):
    path = folder / "run.jsonl"
    lines = path.read_bytes().split(b"\n")[1:-1] if path.exists() else []
    return {json.loads(line)["value"][0] for line in lines}


def noted(folder):
    path = folder / "notes"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("kind", "work", "ordered"),
    [
        ("template", "effect", "yes"),
        ("template", "aeffect", "no"),
        ("thread", "aeffect", "yes"),
        ("thread", "effect", "no"),
    ],
)
def test_nothing_is_lost_by_kill_9(tmp_path, kind, work, ordered):
    (tmp_path / "program.py").write_text(PROGRAM)
    chance = random.Random(f"{kind} {work} {ordered}")
    items = list(range(200))

    def start():
        chance.shuffle(items)
        return subprocess.Popen(
            [sys.executable, "program.py", kind, work, ordered, *map(str, items)],
            cwd=tmp_path,
            start_new_session=True,
        )

    for moment in range(7):
        before, count = recorded(tmp_path), len(noted(tmp_path))
        enough = len(before) + (chance.randrange(1, 25) if moment else 0)
        process = start()
        deadline = time.monotonic() + 20
        while len(recorded(tmp_path)) < enough and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(chance.random() * 0.01)
        if process.poll() is None:  # its workers, too: they would go on for a moment
            os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() in (0, -signal.SIGKILL)  # 0: it was faster than we look
        assert before & set(noted(tmp_path)[count:]) == set()
    last, count = recorded(tmp_path), len(noted(tmp_path))
    assert start().wait(60) == 0
    assert sorted(noted(tmp_path)[count:]) == sorted(set(items) - last)
    assert recorded(tmp_path) == set(items)


def test_the_example(tmp_path):
    example = Path(__file__).parents[2] / "examples" / "resume.py"
    printed = subprocess.check_output([sys.executable, example], text=True, timeout=50)
    assert printed.endswith("the journal has 300 results, one of each item\n")
