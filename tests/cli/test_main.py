"""`aplex` and `python -m aplex` find their commands."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

import aplex
from aplex._cli import main as shell

pytestmark = pytest.mark.measured


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as ended:
        shell.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"aplex {aplex.__version__}\n"


def test_without_a_command_the_help_goes_to_stderr(capsys):
    assert shell.main([]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "usage: aplex" in told.err


def test_an_unknown_command_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        shell.main(["nonsense"])
    assert ended.value.code == 2
    assert "nonsense" in capsys.readouterr().err


def test_a_command_gets_its_options_and_returns_the_exit_code(monkeypatch):
    command = SimpleNamespace(
        configure=lambda parser: parser.add_argument("--code", type=int),
        run=lambda options: options.code,
    )
    monkeypatch.setitem(sys.modules, "aplex._cli.of_test", command)
    monkeypatch.setitem(shell.COMMANDS, "end", shell.Entry("aplex._cli.of_test", "ends"))
    assert shell.main(["end", "--code", "7"]) == 7


def test_the_module_is_run_by_python():
    ended = subprocess.run(
        [sys.executable, "-m", "aplex", "--version"], capture_output=True, text=True, check=True
    )
    assert ended.stdout == f"aplex {aplex.__version__}\n"
