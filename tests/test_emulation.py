"""The emulations of other systems take away what they say, in each process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.emulation.start import ROOT, SEAM, SYSTEMS, VARIABLE

PROGRAM = """
import json, sys
from tests.support.emulation import looks
from aplex import ProcessAsyncPoolExecutor

if __name__ == "__main__":
    with ProcessAsyncPoolExecutor(pool_size=1) as pool:
        print(json.dumps([looks.what_aplex_has(), pool.submit(looks.what_aplex_has).result()]))
"""


def looked(system: str | None, tmp_path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what aplex has in a program, and in its worker."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(SEAM), str(ROOT)])}
    environ.pop(VARIABLE, None)
    if system is not None:
        environ[VARIABLE] = system
    done = subprocess.run(
        [sys.executable, program],
        env=environ,
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.stderr == ""
    ours, workers = json.loads(done.stdout)
    return ours, workers


def test_without_one_aplex_has_what_linux_has(tmp_path: Path) -> None:
    ours, workers = looked(None, tmp_path)
    assert ours == workers
    assert ours.pop("platform") == sys.platform
    assert all(ours.values())


@pytest.mark.parametrize("system", SYSTEMS)
def test_what_is_not_there_is_taken_away_in_each_process(system: str, tmp_path: Path) -> None:
    ours, workers = looked(system, tmp_path)
    assert ours == workers
    assert ours["platform"] == {"macos": "darwin", "windows": "win32"}[system]
    taken = ("memfd_create", "pidfd_open", "eventfd", "epoll", "proc", "real-time signals")
    assert not any(ours[name] for name in taken)
    posix = ("fork", "readv", "SIGKILL", "SCM_RIGHTS", "fcntl", "pipes can be waited for")
    assert {ours[name] for name in posix} == {system == "macos"}
