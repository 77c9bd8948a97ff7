"""A virtual environment for each group of peers, from the pins in requirements/."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent
NAMES = ("python3.13", "python3.12", "python3.11")
WHO = "import os, sys; print(os.path.realpath(sys.executable), sys.version_info >= (3, 11))"
LIST = (
    "import importlib.metadata as m, json;"
    "print(json.dumps({d.name.lower(): d.version for d in m.distributions()}))"
)


class InstallationError(Exception):
    """An environment cannot be made; the text says why."""


def find_python() -> str:
    """The newest of the Pythons that peers are known to install on, or this one."""
    for name in NAMES:
        for environ in [dict(os.environ), *_pyenv_choices(name)]:
            found = _run_python(name, environ)
            if found:
                return found
    return sys.executable


def python_version(python: str) -> str:
    command = [
        python,
        "-c",
        "import platform as p; print(p.python_implementation(), p.python_version())",
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _run_python(name: str, environ: dict[str, str]) -> str:
    """The real path of a Python, or nothing if it does not run."""
    if shutil.which(name) is None:
        return ""
    done = subprocess.run(
        [name, "-c", WHO], env=environ, capture_output=True, text=True, check=False
    )
    path, _, new_enough = done.stdout.strip().rpartition(" ")
    return path if new_enough == "True" else ""


def _pyenv_choices(name: str) -> list[dict[str, str]]:
    """With pyenv a Python on PATH may answer only when its version is chosen."""
    if shutil.which("pyenv") is None:
        return []
    done = subprocess.run(
        ["pyenv", "versions", "--bare"], capture_output=True, text=True, check=False
    )
    wanted = name.removeprefix("python")
    versions = [line.strip() for line in done.stdout.splitlines()]
    chosen = [version for version in versions if version.startswith(f"{wanted}.")]
    return [{**os.environ, "PYENV_VERSION": version} for version in reversed(chosen)]


@dataclass(frozen=True)
class Environment:
    """One virtual environment, made anew when its pins or its Python change."""

    name: str
    base: str  # the Python it is made of

    @property
    def folder(self) -> Path:
        tag = hashlib.sha256(self.base.encode()).hexdigest()[:8]
        return HERE / ".envs" / f"{self.name}-{tag}"

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def requirements(self) -> Path:
        return HERE / "requirements" / f"{self.name}.txt"

    @property
    def wanted(self) -> str:
        return f"{self.base}\n{self.requirements.read_text()}"

    def make(self) -> None:
        stamp = self.folder / "made-from.txt"
        if stamp.exists() and stamp.read_text() == self.wanted:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self._run([self.base, "-m", "venv", str(self.folder)])
        self._pip("--requirement", str(self.requirements))
        if self.name == "aplex":
            self._pip("--editable", str(CHECKOUT))
        stamp.write_text(self.wanted)

    def versions(self) -> dict[str, str]:
        """The versions of what the requirements name."""
        done = subprocess.run([self.python, "-c", LIST], capture_output=True, text=True, check=True)
        installed = json.loads(done.stdout)
        lines = self.requirements.read_text().splitlines()
        names = {line.partition("==")[0].lower() for line in lines if "==" in line} | {self.name}
        return {name: installed[name] for name in sorted(names) if name in installed}

    def environ(self) -> dict[str, str]:
        """What a program run in it gets: its programs first, no user's own packages."""
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        return {**kept, "PATH": path, "PYTHONPATH": str(HERE), "PYTHONNOUSERSITE": "1"}

    def _pip(self, *arguments: str) -> None:
        pip = [str(self.python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        self._run([*pip, *arguments])

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
            raise InstallationError(lines[-1] if lines else f"exit code {done.returncode}")
