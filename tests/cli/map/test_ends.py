"""`aplex map` is stopped: by signals, by readers that go, by full disks; and goes on after that."""

import os
import random
import signal
import subprocess
import time

import pytest

from tests.support.programs import ALL

LOG = ("--joblog", "log")
SIGNALS = {"INT": 130, "TERM": 143, "HUP": 129}


def gone(process):
    """What the program has started has ended with it."""
    deadline = time.monotonic() + 10
    while True:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("kind", [[], ["--threads"]])
def test_a_signal_lets_coroutines_clean_up(shell, name, kind):
    process = shell.start("work:hang", *LOG, *kind, ":::", "a", stdin=subprocess.DEVNULL)
    shell.wait_for_note("began")
    os.killpg(process.pid, getattr(signal, f"SIG{name}"))  # as a terminal does
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (SIGNALS[name], b"", b"")
    gone(process)
    assert shell.notes() == ["began", "cleaned up"]
    assert shell.journal() == []


@pytest.mark.parametrize("kind", [[], ["--threads"]])
def test_a_second_signal_waits_for_nothing(shell, kind):
    process = shell.start("work:stubborn", *kind, ":::", "a", stdin=subprocess.DEVNULL)
    shell.wait_for_note("began")
    process.send_signal(signal.SIGINT)
    shell.wait_for_note("ignored")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, b"")
    gone(process)


def test_a_signal_while_the_input_is_slow_or_the_reader_stands_still(shell):
    with shell.start("work:same") as process:
        process.stdin.write(b"x\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"x\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 143
    (shell.folder / "items").write_bytes(b"0123456789" * 10 + b"\n" * 1 + b"x" * 100_000 + b"\n")
    for more in (b"", b"y\n" * 100_000):  # the input has ended, or not; the pipe takes 64 KiB
        with (shell.folder / "items").open("ab") as file:
            file.write(more)
        (shell.folder / "notes").unlink(missing_ok=True)
        with shell.start("work:noted", "-a", "items") as process:
            shell.wait_for_note("100000")
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 143


def test_what_is_ignored_stays_ignored(shell):
    ran = shell.sh("trap '' HUP; aplex map work:hup ::: a; echo $?")
    assert ran.lines == ["a", "0"]


@pytest.mark.parametrize("kind", ["", "--threads"])
def test_a_reader_that_goes_ends_an_endless_input(shell, kind):
    ran = shell.sh(f"yes | aplex map work:double {kind} | head -2; echo ${{PIPESTATUS[1]}}")
    assert ran.lines == ["yy", "yy", "141"]
    assert ran.err == ""


def test_a_full_disk(shell):
    ran = shell.sh("seq 9 | aplex map work:effect --joblog log > /dev/full")
    assert ran.code == 1
    assert ran.err == "aplex: the results cannot be written: No space left on device\n"
    assert shell.journal() == []  # what was not printed is run again
    assert shell.sh("seq 9 | aplex map work:same --joblog /dev/full").code == 2
    ran = shell.sh("seq 9 | aplex map work:inverse --failures /dev/full ::: x")
    assert (ran.code, "the file of failures cannot be written" in ran.err) == (1, True)


def test_closed_descriptors(shell):
    ran = shell.sh("aplex map work:same ::: a >&-")
    assert (ran.code, ran.err.startswith("aplex: standard output is closed")) == (1, True)
    ran = shell.sh("aplex map work:same <&-")
    assert (ran.code, ran.err.startswith("aplex: standard input is closed")) == (2, True)
    assert shell.sh("aplex map work:same ::: a <&-").lines == ["a"]
    ran = shell.sh("aplex map work:noisy -k ::: a b 2>&-")
    assert (ran.code, ran.lines) == (0, ["a", "b"])


def test_a_folder_is_no_input(shell):
    ran = shell.map("work:same", "-a", ".")
    assert (ran.code, "the input cannot be read" in ran.err) == (1, True)


# -- going on -----------------------------------------------------------------------------------


def test_what_the_joblog_has_is_not_run_again(shell):
    lines = [f"line {n % 700}" for n in range(1000)]  # 300 twice
    first = shell.map("work:effect", *LOG, stdin="\n".join(lines[:600]))
    assert (first.code, len(shell.notes())) == (0, 600)
    more = [*lines, "new", "new"]
    random.Random(1).shuffle(more)
    second = shell.map("work:effect", *LOG, "--resume", stdin="\n".join(more))
    assert (second.code, len(second.lines)) == (0, 402)
    assert sorted(shell.notes()) == sorted([*lines, "new", "new"])
    assert len({line["key"] for line in shell.journal()}) == 1002


def test_what_has_failed_runs_again_if_asked_for(shell):
    given = ("work:inverse", *LOG, "-k", ":::", "1", "0", "2")
    assert shell.map(*given).code == 1
    assert shell.map("--resume", *given).lines == []
    ran = shell.map("--resume-failed", *given)
    assert (ran.code, "item 2" in ran.err, ran.lines) == (1, True, [])
    assert len(shell.journal()) == 4


def test_a_joblog_of_something_else_is_refused(shell):
    shell.map("work:same", *LOG, ":::", "1")
    assert "--resume goes on" in shell.map("work:same", *LOG, ":::", "1").err
    for arguments in (["work:double"], ["work:same", "--json"], ["work:add", "--kwargs", "{}"]):
        ran = shell.map(*arguments, *LOG, "--resume", ":::", "1")
        assert ran.code == 2
        assert "--force takes it as it is" in ran.err
    ran = shell.map("work:double", *LOG, "--resume", "--force", ":::", "1", "2")
    assert ran.lines == ["22"]


def test_a_joblog_that_is_in_use_is_refused(shell):
    with shell.start("work:hang", *LOG, ":::", "a") as process:
        shell.wait_for_note("began")
        ran = shell.map("work:hang", *LOG, "--resume", ":::", "a")
        assert (ran.code, "written by another run" in ran.err) == (2, True)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)


def test_what_a_joblog_says(shell):
    shell.map("work:inverse", *LOG, "-k", ":::", "1", "0")
    good, bad = shell.journal()
    assert list(good) == [
        *("seq", "key", "item", "ok", "error", "worker", "submitted", "wait", "run", "attempts")
    ]
    assert (good["item"], good["ok"], good["attempts"]) == ("1", True, 1)
    assert (bad["ok"], bad["error"]) == (False, "ZeroDivisionError: division by zero")
    assert abs(good["submitted"] - time.time()) < 60
    (shell.folder / "log").unlink()
    shell.map("work:same", *LOG, "--joblog-items", "no", ":::", "secret")
    assert "secret" not in (shell.folder / "log").read_text()


def finished(shell):
    """The items of which a joblog has a whole record."""
    path = shell.folder / "log"
    if not path.exists():
        return set()
    lines = path.read_bytes().split(b"\n")[1:-1]
    return {line.split(b'"item":"')[1].split(b'"')[0].decode() for line in lines}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", range(5 if ALL in os.environ else 1))
def test_nothing_is_lost_by_kill_9(shell, part):
    """Killed at 10 moments in a row: each item was run, what the joblog had, only once.

    The moments are spread over the run: by how much of the joblog is there.
    """
    items = [f"i{n}" for n in range(300)]
    chance = random.Random(part)
    order = ["-k"] if part % 2 else []
    command = ["work:slow_effect", *LOG, "--resume", "-j", "2", *order, "-a", "items"]
    for moment in range(10):
        chance.shuffle(items)
        (shell.folder / "items").write_text("\n".join(items))
        before, noted = finished(shell), len(shell.notes())
        enough = len(before) + (chance.randrange(1, 30) if moment else 0)
        with (shell.folder / "out").open("ab") as out:
            process = shell.start(*command, stdin=subprocess.DEVNULL, stdout=out)
            deadline = time.monotonic() + 20
            while len(finished(shell)) < enough and process.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(chance.random() * 0.01)
            process.kill()
            process.communicate()
        gone(process)
        assert before & set(shell.notes()[noted:]) == set()  # what it had was not run again
    last, noted = finished(shell), len(shell.notes())
    ran = shell.map(*command)
    assert (ran.code, ran.err) == (0, "")
    again = shell.notes()[noted:]
    assert set(again) == set(items) - last
    assert len(again) == len(set(again))
    assert set(shell.notes()) == set(items)
    printed = (shell.folder / "out").read_text().splitlines() + ran.lines
    assert set(items) <= set(printed)  # no result was lost
