"""`aplex run`, and what makes something of a recording."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import aplex
from aplex._cli import main as shell
from tests.observe.recorded import WORKS, eventful

pytestmark = pytest.mark.measured

PROGRAM = """
import sys
from aplex import ProcessAsyncPoolExecutor, ThreadAsyncPoolExecutor

def square(x):
    return x * x

if __name__ == "__main__":
    with ThreadAsyncPoolExecutor(1) as threads:
        threads.submit(abs, -1).result()
    pool = ProcessAsyncPoolExecutor(2)  # ended by the exit of the interpreter
    print(sum(pool.map(square, range(int(sys.argv[1])))), __file__, flush=True)
    if len(sys.argv) > 2:
        raise SystemExit(int(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("run") / "run.aplex"
    eventful(made)
    return made


def aplex_run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "program.py").write_text(PROGRAM)
    return subprocess.run(
        [sys.executable, "-m", "aplex", "run", *arguments],
        cwd=folder,
        env={key: value for key, value in os.environ.items() if key != "APLEX_RECORD"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_a_program_is_run_as_by_python_and_its_pools_are_told(tmp_path: Path) -> None:
    outputs = ["--record", "r.aplex", "--trace", "r.pftrace", "--report", "r.html"]
    ran = aplex_run(tmp_path, *outputs, "program.py", "10", "3")
    assert ran.returncode == 3
    assert ran.stdout == "285 program.py\n"
    lines = ran.stderr.splitlines()
    assert all(line.startswith("aplex: ") for line in lines)
    assert "1 done" in lines[0]
    assert any("10 done" in line for line in lines)
    for name in ("r.aplex", "r.pftrace", "r.html", "r-2.aplex", "r-2.pftrace", "r-2.html"):
        assert (tmp_path / name).stat().st_size > 100
    assert aplex.read(tmp_path / "r-2.aplex").works()["name"] == ["__main__.square"] * 10


def test_a_module_is_run_and_options_of_the_program_are_its_own(tmp_path: Path) -> None:
    ran = aplex_run(tmp_path, "-m", "program", "4")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("14 ")
    (tmp_path / "echo.py").write_text("import sys; print(sys.argv[1:])")
    ran = aplex_run(tmp_path, "echo.py", "--report", "-m", "x")
    assert ran.stdout == "['--report', '-m', 'x']\n"


def test_what_cannot_be_run_is_said(tmp_path: Path) -> None:
    ran = aplex_run(tmp_path, "nothing.py")
    assert (ran.returncode, ran.stderr) == (2, "aplex: there is no file nothing.py\n")
    for name in ("nothing", "nothing.inside", "json.nothing", ".x"):
        ran = aplex_run(tmp_path, "-m", name)
        assert (ran.returncode, ran.stderr) == (2, f"aplex: there is no module {name}\n")
    (tmp_path / "bad.py").write_text("raise ValueError('bad')")
    ran = aplex_run(tmp_path, "bad.py")
    assert ran.returncode == 1
    assert "ValueError: bad" in ran.stderr


def test_works_are_a_line_each(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shell.main(["works", str(path)]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert len(rows) == WORKS + 1  # an attempt was lost
    assert rows[0]["name"] == "tests.support.works.add"
    assert shell.main(["works", str(path), "--format", "json", "--failed"]) == 0
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {each["outcome"] for each in objects} == {"failed", "lost"}
    assert shell.main(["works", str(path), "--format", "summary", "--name", "*.aspan"]) == 0
    told = capsys.readouterr().out
    assert "20 done" in told
    assert f"{WORKS + 1 - 20} works, or attempts of works, were left out by choice" in told


def test_times_choose_works(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ends = aplex.read(path).works()["received"]
    middle = sorted(ends)[len(ends) // 2]
    assert shell.main(["works", str(path), "--format", "json", "--from", str(middle)]) == 0
    after = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(after) == sum(end >= middle - 1e-9 for end in ends)
    assert shell.main(["works", str(path), "--format", "json", "--to", "-1"]) == 0
    assert capsys.readouterr().out == ""


def test_traces_and_reports_are_made(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shell.main(["trace", str(path)]) == 0
    assert path.with_suffix(".pftrace").stat().st_size > 1000
    assert "ui.perfetto.dev" in capsys.readouterr().out
    other = path.with_name("other.html")
    assert shell.main(["report", str(path), "-o", str(other), "--name", "*.fail"]) == 0
    assert "left out by choice" in other.read_text(encoding="utf-8")


def test_what_is_no_recording_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = tmp_path / "wrong.aplex"
    wrong.write_text("no")
    for command in ("works", "trace", "report"):
        assert shell.main([command, str(wrong)]) == 1
        assert "is no recording of aplex" in capsys.readouterr().err
        assert shell.main([command, str(tmp_path / "nothing")]) == 1
        assert "No such file" in capsys.readouterr().err
