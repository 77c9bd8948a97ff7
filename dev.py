#!/usr/bin/env python3
"""See aplex work, test it, check a change: one command each, nothing to set up before.

    python3 dev.py example [arguments]    run examples/fetch_urls.py
    python3 dev.py test [arguments]       run the whole test suite (arguments go to pytest;
                                          --full-matrix: with every combination of parameters)
    python3 dev.py reliability NAME [...] run reliability/NAME.py; --help tells what it can do
    python3 dev.py check                  all that a change must pass; continuous integration

Needs Python 3.11 or newer on a POSIX system, and the standard library only. It makes virtual
environments inside the checkout, `.venv` for the Python that runs this file and `.venv-3.x` for
each other one. A stamp in each says what it was made from: nothing is made twice for the same.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 (whoever has an older one shall be told)
    sys.exit("dev.py needs Python 3.11 or newer, this is " + sys.version.split()[0])

import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parent
CONSTRAINTS = ROOT / "constraints.txt"
MINORS = range(11, 16)  # the Pythons 3.x to look for
INTERPRETERS = 14  # the first of them with subinterpreters
# Beside the checkout there may be launchers, `with-python3.x COMMAND…`, for a Python that can
# only live in a root of its own. A virtual environment made through one works only through it.
LAUNCHERS = ROOT.parent / "shared" / "tools"

TEST_COMMAND = ("dev.py", "test", "-q")  # the READMEs' command; `check` runs it as well

T = TypeVar("T")

# Two more than there are cores, as many tests wait. Neighbours share executors: see conftest.py.
PARALLEL = ("-n", str((os.cpu_count() or 1) + 2), "--dist", "worksteal")

# Other systems: as tests/support/emulation, mypy and pyright call them.
FOREIGN = {"macos": ("darwin", "Darwin"), "windows": ("win32", "Windows")}
# What of the contract is tried on an emulated system by `check`; the rest is too long for it.
EMULATED = ("submit", "cancel", "deaths", "shutdown", "streams")

# Tests on clusters run by themselves: one cluster for all. With these they fail where they would
# skip.
CLUSTERS = "tests/engines"
REQUIRED = ("APLEX_ENGINES=required", "APLEX_TEST_CLUSTERS=1")

SLOWEST = 20  # tests that `check` names

# What each command installs, as arguments for pip.
EXAMPLES = ("-e", ".[examples]")
TEST = ("-e", ".", "--group", "test")
DEV = ("-e", ".", "--group", "dev")

# Prints the interpreter under a virtual environment, if it is one, its minor version and build.
PROBE = """
import sys
minor = "%d.%d" % sys.version_info[:2]
print(sys.base_prefix + "/bin/python" + minor, minor, sys.version, sep="\\n")
"""


@dataclass(frozen=True)
class Python:
    """An interpreter, and the command (mostly empty) through which it must be started."""

    executable: str
    minor: str
    version: str
    launcher: tuple[str, ...] = ()

    def venv(self, name: str, *requirements: str) -> tuple[str, ...]:
        """Return the command of this Python in the environment `name`, with `requirements`."""
        folder = ROOT / name
        command = (*self.launcher, str(folder / "bin" / "python"))
        stamp = folder / "dev-stamp.txt"
        wanted = " ".join(requirements)
        known = stamp.read_text().splitlines() if stamp.exists() else []
        if known[:1] != [self._digest()]:
            _say(f"making {name} (Python {self.minor})")
            made = _run(*self.launcher, self.executable, "-m", "venv", "--clear", name, quiet=True)
            if not made:
                shutil.rmtree(folder, ignore_errors=True)
                cure = f"on Debian or Ubuntu: apt install python{self.minor}-venv"
                sys.exit(f"dev.py: {self.executable} cannot make a virtual environment ({cure})")
            self._pip(command, "--upgrade", "pip")  # `--group` needs 25.1
            known = [self._digest()]
        if wanted not in known:
            _say(f"installing into {name}: {wanted}")
            self._pip(command, *requirements)
            stamp.write_text("\n".join([*known, wanted]))
        return command

    def _pip(self, command: Sequence[str], *arguments: str) -> None:
        pip = ("-m", "pip", "install", "-qq", "--no-input", "--disable-pip-version-check")
        if not _run(*command, *pip, "-c", CONSTRAINTS.name, *arguments):
            sys.exit(f"dev.py: pip could not install {' '.join(arguments)}")

    def _digest(self) -> str:
        """Return a hash of all that an environment is made from."""
        settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
        tables = [settings[name] for name in ("build-system", "project", "dependency-groups")]
        origin = [str(ROOT), self.executable, self.version, CONSTRAINTS.read_text(), repr(tables)]
        return hashlib.sha256("\n".join(origin).encode()).hexdigest()


def example(arguments: Sequence[str]) -> None:
    """Become the example program."""
    command = (*_this_python().venv(".venv", *EXAMPLES), str(ROOT / "examples" / "fetch_urls.py"))
    os.execv(command[0], (*command, *arguments))


def test(arguments: Sequence[str]) -> None:
    """Become pytest; under coverage if COVERAGE is set, as `check` does."""
    runner = ("-m", "coverage", "run") if os.environ.get("COVERAGE") else ()
    command = (*_this_python().venv(".venv", *TEST), *runner, "-m", "pytest", *PARALLEL)
    os.chdir(ROOT)
    os.execv(command[0], (*command, *arguments))


def reliability(arguments: Sequence[str]) -> None:
    """Become a program of `reliability/`; without a name, say which there are."""
    programs = sorted(path.stem for path in (ROOT / "reliability").glob("[!_]*.py"))
    if not arguments or arguments[0] not in programs:
        sys.exit(f"dev.py reliability: name one of {', '.join(programs)}")
    command = (*_this_python().venv(".venv", *TEST), "-m", f"reliability.{arguments[0]}")
    os.chdir(ROOT)
    os.execv(command[0], (*command, *arguments[1:]))


def check() -> None:
    """Run every check, also after one has failed; exit with 1 if one has."""
    this = _this_python()
    module = (*this.venv(".venv", *DEV), "-m")
    pyright = (*module, "pyright", "--pythonpath", module[-2])
    coverage = (*module, "coverage")
    record = ROOT / ".pytest_cache" / "tests.xml"
    record.unlink(missing_ok=True)
    tests = (
        *("env", "COVERAGE=1", sys.executable, *TEST_COMMAND, f"--junit-xml={record}"),
        f"--ignore={CLUSTERS}",
    )
    # Most of the next checks use one core only; and what it proves is worth more under load.
    end_of_chaos = _begin("a minute of chaos", *module, "reliability.chaos", "--minute")
    steps = [
        _step("format", *module, "ruff", "format", "--check"),
        _step("lint", *module, "ruff", "check"),
        _step("mypy", *module, "mypy"),
        _step("mypy, uses", *module, "mypy", "tests/typing/api.py"),
        _step("pyright", *pyright),
        _step("pyright, uses", *pyright, "-p", "tests/typing"),
        *(step for system in FOREIGN for step in _types_for(system, module, pyright)),
        _step("docs", *module[:-1], "docs/_ext/languages.py", "docs/_build"),
        _step("links and pages", *module[:-1], "docs/_ext/check_site.py", "docs/_build"),
        end_of_chaos(),
        _step("forget old coverage", *coverage, "erase"),
        _step(f"tests, Python {this.minor}", *tests),
    ]
    # Clusters mostly wait: beside them is time for what the other Pythons need.
    end_of_ray = _on_cluster(_begin, "Ray", coverage, "ray and not dask")
    others = list(_other_pythons(this))
    beside = ThreadPoolExecutor(1)
    commands = beside.map(lambda other: other.venv(f".venv-{other.minor}", *TEST), others)
    steps += [_emulation(module, system) for system in FOREIGN]
    steps += _check_package(this, module)
    steps += [
        _on_cluster(_step, "Dask", coverage, "not ray"),
        end_of_ray(),
        _step("gather coverage", *coverage, "combine", "-q"),
        _step("coverage", *coverage, "report"),
    ]
    steps += _subinterpreters(module[:-1], this.minor)
    for other, command in zip(others, commands, strict=True):
        title = f"smoke tests, Python {other.minor}"
        steps.append(_step(title, *command, "-m", "pytest", "-q", *PARALLEL, "-m", "smoke"))
        steps += _subinterpreters(command, other.minor)
    _say(f"the {SLOWEST} slowest tests")
    for seconds, name in _slowest(record):
        print(f"{seconds:6.1f} s  {name}")
    _say("all checks")
    for title, passed, seconds in steps:
        print(f"{'ok    ' if passed else 'FAILED'} {seconds:6.1f} s  {title}")
    sys.exit(not all(passed for _, passed, _ in steps))


def _check_package(this: Python, module: Sequence[str]) -> list[tuple[str, bool, float]]:
    """Build what is released, check it, and use the wheel where nothing else of ours is."""
    with tempfile.TemporaryDirectory() as folder:
        steps = [_step("build wheel and sdist", *module, "build", "--outdir", folder)]
        built = [str(path) for path in sorted(Path(folder).iterdir())]
        wheels = [path for path in built if path.endswith(".whl")]
        if not wheels:
            return steps
        steps += [
            _step("twine", *module, "twine", "check", "--strict", *built),
            _step("contents of the wheel", *module, "check_wheel_contents", *wheels),
        ]
        python = str(Path(folder) / "venv" / "bin" / "python")
        smoke = str(ROOT / "tests" / "support" / "wheel_smoke.py")
        install = ("-m", "pip", "install", "-qq", "--disable-pip-version-check")
        _run(*this.launcher, this.executable, "-m", "venv", str(Path(folder) / "venv"), quiet=True)
        steps += [
            _step("install the wheel", *this.launcher, python, *install, *wheels),
            _step("use the wheel", *this.launcher, python, "-I", smoke),
        ]
    return steps


def _types_for(
    system: str, module: Sequence[str], pyright: Sequence[str]
) -> Iterator[tuple[str, bool, float]]:
    """Check the types as on another system; what is not for it cannot be reached."""
    for_mypy, for_pyright = FOREIGN[system]
    mypy = (*module, "mypy", "--platform", for_mypy, "--no-warn-unreachable")
    yield _step(f"mypy, {system}", *mypy)
    yield _step(f"pyright, {system}", *pyright, "--pythonplatform", for_pyright)


def _emulation(module: Sequence[str], system: str) -> tuple[str, bool, float]:
    """Run the heart of the contract, in its short form, with what another system has."""
    contract = [ROOT / f"tests/backends/test_contract_{name}.py" for name in EMULATED]
    command = (*module, "pytest", "-q", *PARALLEL, f"--emulate={system}", "--short")
    return _step(f"contract, {system} emulated", *command, *map(str, contract))


def _on_cluster(run: Callable[..., T], name: str, coverage: Sequence[str], chosen: str) -> T:
    """Run the tests on a cluster, which must be there."""
    pytest = (*coverage, "run", "-m", "pytest", "-q", CLUSTERS, "-k", chosen)
    return run(f"tests on {name}", "env", *REQUIRED, *pytest)


def _subinterpreters(command: Sequence[str], minor: str) -> Iterator[tuple[str, bool, float]]:
    """Run what of the contract has most to do with subinterpreters, where there are any."""
    if int(minor.partition(".")[2]) < INTERPRETERS:
        return
    rooms = ("works", "cancel", "errors", "streams")
    files = [f"tests/backends/test_contract_{room}.py" for room in rooms]
    pytest = (*command, "-m", "pytest", "-q", *PARALLEL, "--engine=interpreter", "--short")
    title = f"contract, subinterpreters, Python {minor}"
    own = ("tests/backends/test_interpreters.py", "tests/test_documents.py")
    chosen = ("-k", "not test_documents or interpreters")
    yield _step(title, *pytest, *files, *own, *chosen)


def _slowest(record: Path) -> list[tuple[float, str]]:
    """Return the seconds and names of the slowest tests of a run, as pytest has recorded it.

    A test is one however many combinations it was run with: the seconds are those of all.
    """
    if not record.exists():
        return []
    seconds: dict[str, float] = {}
    for case in ET.parse(record).iter("testcase"):  # noqa: S314 - it is our own
        name = f"{case.get('classname')}.{case.get('name', '').partition('[')[0]}"
        seconds[name] = seconds.get(name, 0.0) + float(case.get("time", 0))
    return sorted(((sum_, name) for name, sum_ in seconds.items()), reverse=True)[:SLOWEST]


def _step(title: str, *command: str) -> tuple[str, bool, float]:
    _say(title)
    start = time.monotonic()
    passed = _run(*command)
    return title, passed, time.monotonic() - start


def _begin(title: str, *command: str) -> Callable[[], tuple[str, bool, float]]:
    """Begin a step beside others; return what waits for its end, and shows its output."""
    start = time.monotonic()
    output = tempfile.TemporaryFile()  # noqa: SIM115 - closed at the end
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
    )

    def end() -> tuple[str, bool, float]:
        _say(title)
        passed = process.wait() == 0
        with output:
            output.seek(0)
            print(output.read().decode(errors="replace"), flush=True)
        return title, passed, time.monotonic() - start

    return end


def _this_python() -> Python:
    return _probe(sys.executable) or sys.exit(f"dev.py: {sys.executable} does not run")


def _other_pythons(this: Python) -> Iterator[Python]:
    """Find each other Python 3.x this machine has: on PATH, by pyenv, or behind a launcher."""
    pyenv = _newest_of_pyenv()
    for minor in (f"3.{number}" for number in MINORS if f"3.{number}" != this.minor):
        name = f"python{minor}"
        launcher = str(LAUNCHERS / f"with-{name}")
        found = _probe(name, pyenv=pyenv) or _probe(launcher, name)
        if found is not None and found.minor == minor:
            yield found
        else:
            _say(f"no {name} here, skipped")


def _newest_of_pyenv() -> str:
    """Return a PYENV_VERSION under which pyenv offers the newest patch of each 3.x."""
    if shutil.which("pyenv") is None:
        return ""
    listed = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, check=False)
    newest: dict[int, int] = {}
    for minor, patch in re.findall(rb"^3\.(\d+)\.(\d+)$", listed.stdout, re.MULTILINE):
        newest[int(minor)] = max(int(patch), newest.get(int(minor), 0))
    return ":".join(f"3.{minor}.{newest[minor]}" for minor in newest if minor in MINORS)


def _probe(*command: str, pyenv: str = "") -> Python | None:
    """Ask the interpreter behind `command` who it is; None if there is none that answers."""
    if shutil.which(command[0]) is None:
        return None
    environ = os.environ | ({"PYENV_VERSION": pyenv} if pyenv else {})
    asked = subprocess.run(
        [*command, "-c", PROBE], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    if asked.returncode:
        return None
    executable, minor, version = asked.stdout.split("\n", 2)
    return Python(executable, minor, version.strip(), tuple(command[:-1]))


def _run(*command: str, quiet: bool = False) -> bool:
    output = subprocess.DEVNULL if quiet else None
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, check=False)
    return done.returncode == 0


def _say(text: str) -> None:
    print(f"── {text}", flush=True)


if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A script has started us in the background; what we start is to hear Ctrl-C, as some of
        # it is about that.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or thousands of processes compile aplex
    if sys.argv[1:2] == ["example"]:
        example(sys.argv[2:])
    elif sys.argv[1:2] == ["test"]:
        test(sys.argv[2:])
    elif sys.argv[1:2] == ["reliability"]:
        reliability(sys.argv[2:])
    elif sys.argv[1:] == ["check"]:
        check()
    else:
        sys.exit(__doc__)
