"""`aplex ps` and `aplex top`: pools of another process are seen, whatever that does."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aplex._cli.history import History, Rates
from aplex._cli.pages import open_pages, text
from aplex._cli.pools import SeenPool, SeenWorker
from aplex._cli.shown import duration, size, spark
from aplex._wire import page
from aplex._wire.page import Memory
from tests.support.programs import Program, started
from tests.support.terminals import Terminal

pytestmark = [
    pytest.mark.measured,
    pytest.mark.skipif(sys.platform != "linux", reason="pages are Linux's"),
]

TWO_POOLS = """
    import select

    def main():
        with make(pool_size=2) as pool, ThreadAsyncPoolExecutor(1) as other:
            pool.start()
            [pool.submit(square, number) for number in range(10)]
            held = [pool.submit(sleep, 60), other.submit(endless)]
            other.submit(asquare, 1).result()  # what began before it is told of, too
            while pool.stats().done < 10:
                time.sleep(0.01)
            say("ready")
            {then}
            [future.cancel() for future in held]
            pool.kill_workers() if os.environ["ENGINE"] != "thread" else None
"""
WAITING = "sys.stdin.read() if False else signal.sigwait({signal.SIGUSR2})"
BLOCKED = "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2]); " + WAITING


def aplex(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "aplex", *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
        env={k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")},
        **options,
    )


@contextmanager
def two_pools(folder: Path, then: str = BLOCKED, engine: str = "template") -> Iterator[Program]:
    """A program with two pools, each of which runs something."""
    with started(TWO_POOLS.format(then=then), folder, engine=engine) as program:
        program.wait_for("ready")
        yield program


def pools_of(pid: int) -> list[dict[str, Any]]:
    told = aplex("top", pid, "--once", "--json")
    assert told.returncode == 0, told.stderr
    pools: list[dict[str, Any]] = json.loads(told.stdout)
    return sorted(pools, key=lambda pool: pool["name"])


def held_by(pid: int) -> tuple[set[str], set[str], list[str]]:
    """What a process has open, its threads, its maps of files."""
    folder = Path(f"/proc/{pid}")
    descriptors = {f"{path.name} {os.readlink(path)}" for path in (folder / "fd").iterdir()}
    maps = [line.split()[0] for line in (folder / "maps").read_text().splitlines()]
    return descriptors, {path.name for path in (folder / "task").iterdir()}, maps


def check(pools: list[dict[str, Any]]) -> None:
    processes, threads = pools
    assert (processes["state"], threads["state"]) == ("open", "open")
    assert (processes["done"], processes["in_flight"], processes["waiting"]) == (10, 1, 0)
    assert (threads["done"], threads["in_flight"]) == (1, 1)
    runs = [worker["running"] for worker in processes["workers"]]
    assert sorted(filter(None, runs)) == ["__main__.sleep"]
    [seconds] = [w["seconds"] for w in processes["workers"] if w["running"]]
    assert 0 <= seconds < 60
    assert sum(worker["begun"] for worker in processes["workers"]) == 11
    assert [worker["slot"] for worker in processes["workers"]] == [0, 1]
    assert all(worker["rss"] > 2**20 for worker in processes["workers"])
    assert [worker["coroutines"] for worker in threads["workers"]] == [1]
    counts = {f["name"]: f["count"] for f in processes["functions"]}
    assert counts == {"__main__.square": 10}


def test_two_pools_of_a_process_are_seen_and_nothing_changes_in_it(tmp_path: Path) -> None:
    with two_pools(tmp_path) as program:
        pid = program.process.pid
        before = held_by(pid)
        check(pools_of(pid))
        listed = aplex("ps")
        for _ in range(2):
            assert aplex("top", pid, "--once").returncode == 0
        assert held_by(pid) == before
        rows = [line for line in listed.stdout.splitlines() if line.startswith(f"{pid} ")]
        assert len(rows) == 2
        assert "ProcessAsyncPoolExecutor-1" in listed.stdout
        found = [pool for pool in json.loads(aplex("ps", "--json").stdout) if pool["pid"] == pid]
        assert [pool["done"] for pool in found] == [10, 1]
        assert "program.py" in found[0]["command"]


@pytest.mark.parametrize("then", ["[n for n in range(10**12) if n < 0]", "sum(range(10**13))"])
def test_a_process_that_computes_is_seen(tmp_path: Path, then: str) -> None:
    """In Python, and in C, where none of its threads gets a turn."""
    with two_pools(tmp_path, then) as program:
        check(pools_of(program.process.pid))


def test_a_process_that_is_stopped_is_seen(tmp_path: Path) -> None:
    with two_pools(tmp_path) as program:
        pid = program.process.pid
        program.signal(signal.SIGSTOP)
        check(pools := pools_of(pid))
        assert {pool["process"] for pool in pools} == {"stopped"}
        assert "stopped" in aplex("ps").stdout
        program.signal(signal.SIGCONT)


@pytest.mark.parametrize("engine", ["spawn", "forkserver", "fork"])
def test_every_engine_is_seen(tmp_path: Path, engine: str) -> None:
    with two_pools(tmp_path, engine=engine) as program:
        check(pools_of(program.process.pid))


def test_a_process_without_pools_and_one_that_is_not_there() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        told = aplex("top", child.pid, "--once")
    assert told.returncode == 1
    assert "no pools in process" in told.stderr
    assert "APLEX_PAGE" in told.stderr
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    told = aplex("top", child.pid, "--once")
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr == f"aplex: there is no process {child.pid}\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_user_is_refused(tmp_path: Path) -> None:
    with two_pools(tmp_path) as program:
        pid = program.process.pid
        code = (
            f"import sys, json, locale, os, shutil\n"
            f"import aplex._cli.main as m, aplex._cli.top, aplex._cli.ps\n"
            f"os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            f"m.main(['ps'])\n"
            f"sys.exit(m.main(['top', '{pid}', '--once']))"
        )
        told = subprocess.run(
            [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=30
        )
        assert told.returncode == 1
        assert told.stdout == ""
        assert f"process {pid} is another user's" in told.stderr
        assert "no pools in processes of this user" in told.stderr


def test_with_the_outside_face_off_nothing_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APLEX_PAGE", "0")
    with two_pools(tmp_path) as program:
        links = held_by(program.process.pid)[0]
        assert not any("aplex-page" in link for link in links)
        told = aplex("top", program.process.pid, "--once")
        assert told.returncode == 1


def test_a_copy_of_the_process_is_no_pool(tmp_path: Path) -> None:
    """A forked child has the descriptors of its parent."""
    fork = (
        "__import__('warnings').simplefilter('ignore'); "
        "child = os.fork(); child and say('child', child); " + BLOCKED
    )
    with two_pools(tmp_path, fork) as program:
        child = int(program.said("child"))
        check(pools_of(program.process.pid))
        assert aplex("top", child, "--once").returncode == 1
        os.kill(child, signal.SIGKILL)


# -- on a terminal --------------------------------------------------------------------------


@contextmanager
def top(*arguments: object, columns: int = 80, lines: int = 24) -> Iterator[Terminal]:
    terminal = Terminal(["-m", "aplex", "top", *map(str, arguments)], columns, lines)
    try:
        yield terminal
    finally:
        terminal.close()


def test_top_draws_until_a_key_ends_it(tmp_path: Path) -> None:
    with two_pools(tmp_path) as program, top(program.process.pid) as terminal:
        text = terminal.wait_until(lambda text: "__main__.sleep" in text and "works/s" in text)
        assert "ProcessAsyncPoolExecutor-1" in text
        assert "ThreadAsyncPoolExecutor-2" in text
        assert "10 done" in text
        assert re.search(r"^SLOT +PID +STATE +ABOARD +RUNS +FOR +W/S +CPU +RSS", text, re.MULTILINE)
        assert re.search(r"serving +1 +__main__\.sleep +[\d.]+ m?s ", text)
        assert "1 coroutine" in text
        assert "q ends" in text
        assert max(map(len, terminal.lines)) <= 80
        terminal.press("s")
        terminal.wait_until(lambda text: "sorts (time)" in text)
        terminal.press("f")
        terminal.wait_until(lambda text: "frozen" in text)
        terminal.resize(120, 40)
        terminal.press("f")
        terminal.wait_until(lambda text: "WAIT P50" in text)
        terminal.press("q")
        assert terminal.finish() == 0


LAGGING = """
import asyncio, signal, time
from aplex import ProcessAsyncPoolExecutor

async def block():
    time.sleep(60)

if __name__ == "__main__":
    pool = ProcessAsyncPoolExecutor(1, slow_callback=None, dump_signal=signal.SIGUSR1)
    future = pool.submit(block)
    while pool.stats().workers[0].loop_lag < 0.1:
        time.sleep(0.01)
    print("ready", flush=True)
    while True:
        signal.pause()
"""


def test_top_shows_the_lag_of_loops_and_dumps_by_a_key(tmp_path: Path) -> None:
    with started(LAGGING, tmp_path) as program:
        program.wait_for("ready")
        [worker] = pools_of(program.process.pid)[0]["workers"]
        assert 0.1 <= worker["loop_lag"] < 60
        with top(program.process.pid) as terminal:
            terminal.wait_until(lambda text: re.search(r"LAG +CPU.*\n.* s +\d+%", text) is not None)
            terminal.press("d")
            text = terminal.wait_until(lambda text: "a key goes on" in text)
            assert "block" in text
            assert "time.sleep(60)" in text
            terminal.press("x")
            terminal.wait_until(lambda text: "q ends" in text)
            terminal.press("q")
            assert terminal.finish() == 0


def test_top_says_that_the_process_has_ended_and_ends(tmp_path: Path) -> None:
    with two_pools(tmp_path) as program, top(program.process.pid) as terminal:
        terminal.wait_until(lambda text: "__main__.sleep" in text)
        program.signal(signal.SIGSTOP)
        terminal.wait_until(lambda text: "stopped" in text)
        program.signal(signal.SIGCONT)
        os.kill(program.process.pid, signal.SIGKILL)
        program.process.wait()
        assert terminal.finish() == 0
        assert any("has ended" in line for line in terminal.lines)


def test_top_sees_a_pool_end_and_another_begin(tmp_path: Path) -> None:
    text = """
        def main():
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
            for _ in range(2):
                with make() as pool:
                    pool.submit(square, 2).result()
                    say("ready")
                    signal.sigwait({signal.SIGUSR2})
                say("over")
                signal.sigwait({signal.SIGUSR2})
    """
    with started(text, tmp_path) as program:
        program.wait_for("ready")
        with top(program.process.pid) as terminal:
            terminal.wait_until(lambda text: "Executor-1" in text)
            program.signal(signal.SIGUSR2)
            program.wait_for("over")
            terminal.wait_until(lambda text: "has no pool any more" in text)
            program.signal(signal.SIGUSR2)
            terminal.wait_until(lambda text: "Executor-2" in text)
            terminal.press("q")
            assert terminal.finish() == 0


def test_top_with_many_workers_says_how_many_there_is_no_room_for(tmp_path: Path) -> None:
    text = """
        def main():
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
            with make(pool_size=30) as pool:
                pool.start()
                say("ready")
                signal.sigwait({signal.SIGUSR2})
    """
    with started(text, tmp_path, engine="thread") as program:
        program.wait_for("ready")
        with top(program.process.pid) as terminal:
            seen = terminal.wait_until(lambda text: "more workers" in text)
            assert "q ends" in seen


def test_top_without_rich_names_the_extra(tmp_path: Path) -> None:
    (tmp_path / "rich.py").write_text("raise ModuleNotFoundError('no rich', name='rich')")
    with two_pools(tmp_path) as program:
        code = (
            f"import sys, aplex._cli.main as m; sys.exit(m.main(['top', '{program.process.pid}']))"
        )
        told = subprocess.run(
            [sys.executable, "-c", code],
            check=False, capture_output=True, text=True, timeout=30, cwd=tmp_path,
        )  # fmt: skip
    assert told.returncode == 1
    assert "aplex[top]" in told.stderr


# -- without another process ----------------------------------------------------------------


def test_pages_of_another_layout_are_said_to_be_that(tmp_path: Path) -> None:
    with two_pools(tmp_path) as program:
        code = (
            "import sys, aplex._wire.page as page; page.VERSION += 1; import aplex._cli.main as m; "
            f"sys.exit(m.main(['top', '{program.process.pid}', '--once', '--json']))"
        )
        told = subprocess.run(
            [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=30
        )
    assert (told.returncode, told.stdout) == (1, "")
    assert "another version of aplex" in told.stderr


def test_another_process_with_the_same_number_is_not_taken_for_it() -> None:
    pages = open_pages(os.getpid())
    assert pages.is_there
    pages.process = replace(pages.process, began=pages.process.began - 1)
    assert not pages.is_there
    pages.close()


def test_names_cannot_command_the_terminal() -> None:
    memory = Memory(page.SIZE)
    page.put_text(memory.bytes, page.POOL_NAME, page.POOL_NAME_SIZE, "a\x1b[2J\u202eb")
    assert text(memory, page.POOL_NAME, page.POOL_NAME_SIZE) == "a?[2J?b"
    memory.close()


def test_rates_are_those_between_two_looks() -> None:
    worker = SeenWorker(0, 1, 7, "serving", 0, 0, None, None, 10, 1.0, None, 100)
    pool = SeenPool(1, "", "p", "open", 1.0, 1, 0, 0, 5, 0, 0, 0, 0, (worker,), ())
    history = History(ticks=100)
    assert history.take(0.0, pool) == Rates(None, {}, {})
    later = replace(pool, done=15, workers=(replace(worker, begun=30, ticks=150),))
    assert history.take(2.0, later) == Rates(5.0, {1: 10.0}, {1: 0.25})
    successor = replace(worker, id=2, begun=1)
    assert history.take(3.0, replace(later, workers=(successor,))) == Rates(0.0, {}, {})
    assert list(history.rates) == [5.0, 0.0]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 µs"), (0.00125, "1.25 ms"), (12, "12.0 s"), (185, "3 m 05 s"), (90000, "1 d 01 h")],
)
def test_times_are_shown_shortly(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_sparks_are_as_high_as_their_values() -> None:
    assert spark([0, 1, 2]) == "▁▅█"
    assert spark([0, 0]) == "▁▁"
    assert size(None) == ""
    assert size(3 * 2**30) == "3.0 G"
