"""Architecture: what may import what, what is exported, and that importing does nothing else.

The imports are read from the source. A room is a folder of `src/aplex`, or a module beside the
folders. Imports inside functions and under ``if TYPE_CHECKING`` count.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import subprocess
import sys
import types
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

import aplex
import aplex.dumps
import aplex.exceptions
import aplex.executors
import aplex.futures
import aplex.handles
import aplex.interpreters
import aplex.journals
import aplex.limits
import aplex.load_balancers
import aplex.outcomes
import aplex.progress
import aplex.ray
import aplex.recordings
import aplex.remote
import aplex.statistics
import aplex.streams
import aplex.telemetry
import aplex.testing
import aplex.typing
import aplex.views
import aplex.workers

SOURCE = Path(aplex.__file__).parent
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "docs" / "_ext"))

import rooms  # noqa: E402 - it lies with the documentation, which shows what it draws

PUBLIC_MODULES = (
    "dumps",
    "exceptions",
    "executors",
    "futures",
    "limits",
    "handles",
    "interpreters",
    "journals",
    "load_balancers",
    "outcomes",
    "progress",
    "ray",
    "recordings",
    "remote",
    "statistics",
    "streams",
    "telemetry",
    "testing",
    "typing",
    "views",
    "workers",
)
MODULES = rooms.modules(SOURCE)
ELSEWHERE = {"_wire.handles"}
"""Modules that can be imported on another system only."""
ARROWS = rooms.arrows(MODULES)


def reachable(name: str, *, late: bool = True, types: bool = False) -> set[str]:
    """The modules of the package that come with a module."""
    graph = rooms.arrows(MODULES, late=late, types=types)
    found: set[str] = set()
    new = {name}
    while new:
        found |= new
        new = {other for known in new for other in graph[known]} - found
    return found - {name}


# -- rooms ----------------------------------------------------------------------------------

GROUND = (
    *("_common", "exceptions", "handles", "limits", "outcomes", "statistics", "load_balancers"),
    *("_balancers", "dumps", "_version"),
)
RULES: tuple[dict[str, tuple[str, ...]], ...] = (
    {
        **dict.fromkeys(GROUND, ()),
        **dict.fromkeys(("exceptions", "handles", "limits", "statistics"), ("_common",)),
        "load_balancers": ("_balancers",),
    },
    {"_wire": GROUND, "typing": GROUND, "_journal": GROUND},
    {"journals": ("_common", "_journal")},
    {"_worker": (*GROUND, "_wire", "workers"), "workers": ("_common",)},
    {"_pool": GROUND},
    {"_futures": (*GROUND, "_wire", "_pool.state"), "futures": ("_futures",)},
    {"_backends": (*GROUND, "_wire", "_worker", "_pool.state", "workers")},
    {
        "_observe": (*(*GROUND, "_pool.state", "_pool.notes", "_pool.pool", "_worker.times"),),
        "recordings": ("_observe",),
    },
    {
        "_manager": (
            *(
                *GROUND,
                "_wire.exceptions",
                "_wire.page",
                "_wire.pool_page",
                "_wire.dump_page",
                "_wire.frames",
            ),
            *("_pool", "_futures"),
            *("_backends.contract", "_backends.listener"),
        )
    },
    {
        "_map": (*GROUND, "_worker", "_futures"),
        "streams": (
            *(*GROUND, "_wire", "_worker", "_futures", "_map"),
            *("_pool.inflow", "_pool.state", "_manager"),
        ),
    },
    {
        "_calls": (
            *(*GROUND, "_wire", "_worker", "_pool", "_futures", "_manager", "_map", "streams"),
            *("_backends.contract", "_observe.source", "journals", "recordings", "typing"),
        ),
        "views": (*GROUND, "_calls", "typing"),
        "_assembly": (*(*GROUND, "_worker", "_pool", "_backends", "_manager", "_calls"),),
        "executors": (
            *(*GROUND, "_assembly", "_backends", "_calls", "_manager", "typing", "views"),
        ),
    },
    {
        "_agent": (*GROUND, "_wire", "_worker"),
        "_ray": ("_backends", "_version", "_wire"),
        "ray": (*GROUND, "_backends", "_calls.settings", "executors", "remote", "typing"),
        "worker": ("_agent",),
        "remote": (*(*GROUND, "_backends", "_calls.settings", "executors", "typing"),),
        "interpreters": (
            *("_backends", "_calls.settings", "executors", "load_balancers", "typing"),
        ),
        "dask": (*GROUND, "_backends", "_calls.settings", "remote", "typing"),
    },
    {
        "_testing": (
            *(*GROUND, "_backends", "_calls.settings", "_manager", "_pool.state", "_wire"),
            *("executors", "typing"),
        ),
        "testing": ("_testing",),
    },
    {
        "progress": ("_map",),
        "compat": (*GROUND, "executors", "typing", "views"),
        "_telemetry": (*GROUND, "_calls.gateway", "_observe", "_pool.state", "executors"),
        "telemetry": ("_telemetry", "executors"),
    },
    {
        "_cli": (
            *(*GROUND, "_calls.lanes", "_journal", "_map.sizes", "_wire", "_worker", "executors"),
            *("progress", "recordings", "typing", "views"),
        ),
        "__main__": ("_cli",),
    },
    {"": tuple(sorted({rooms.room(name) for name in MODULES if name}))},
)
"""Fourteen rules: for each room, the rooms, or modules of them, that it may import."""
MAY_IMPORT = {room: allowed for rule in RULES for room, allowed in rule.items()}


def test_every_room_has_its_rule() -> None:
    assert {rooms.room(name) for name in MODULES} == set(MAY_IMPORT)


@pytest.mark.smoke
@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_imports_only_what_its_room_may(name: str) -> None:
    room = rooms.room(name)
    allowed = MAY_IMPORT[room]
    others = {other for other in ARROWS[name] if rooms.room(other) != room}
    assert {o for o in others if o not in allowed and rooms.room(o) not in allowed} == set()


def test_no_imports_go_round_in_a_circle() -> None:
    """Those under `if TYPE_CHECKING` count."""
    assert len(list(TopologicalSorter(ARROWS).static_order())) == len(MODULES)


def test_a_room_says_what_it_is_for_and_re_exports_nothing() -> None:
    """Whoever imports one file of a room loads one file."""
    for name, tree in MODULES.items():
        if name and (SOURCE / name.replace(".", "/")).is_dir():
            assert len(tree.body) == 1, name


def test_the_pool_is_only_logic() -> None:
    """No IO, no clock, no thread: nothing of the kind is imported, not even late."""
    allowed = {"__future__", "enum", "collections", "collections.abc", "typing", "itertools"}
    allowed |= {"abc", "bisect", "builtins", "dataclasses", "heapq", "math", "re", "weakref"}
    logic = [name for name in MODULES if rooms.room(name) == "_pool"]
    imports = set().union(*(rooms.imported(MODULES[name]) for name in logic))
    names = {name for name in imports if "aplex" not in name}
    outside = {n for n in names if n not in allowed and n.rpartition(".")[0] not in allowed}
    assert outside == set()


def test_what_a_worker_runs_imports_no_asyncio_before_a_coroutine_comes() -> None:
    heavy = {"asyncio", "multiprocessing", "cloudpickle", "ssl"}
    for name in {"_worker.process", *reachable("_worker.process", late=False)}:
        assert rooms.imported(MODULES[name], late=False, types=False) & heavy == set(), name


def test_a_back_end_knows_no_other_back_end() -> None:
    for name in MODULES:
        if name.startswith("_backends."):
            kind = name.split(".")[1]
            others = {other.split(".")[1] for other in ARROWS[name] if "_backends." in other}
            assert others <= {"contract", "listener", "linked", kind}


def test_one_manager_touches_both_the_pool_and_the_world() -> None:
    graph = rooms.arrows(MODULES, types=False)
    users = [name for name in MODULES if "_manager.manager" in graph[name]]
    assert users == ["_assembly", "_testing.prompt"]


def test_a_worker_imports_few_modules() -> None:
    loaded = in_a_fresh_interpreter(
        "import sys, json, aplex._worker.process; "
        "print(json.dumps([n for n in sys.modules if n.startswith('aplex.')]))"
    )
    assert len(loaded) <= 32, loaded  # each one takes 0.1 ms of each start


def test_the_drawing_of_the_rooms_is_that_of_the_imports() -> None:
    """`python3 docs/_ext/rooms.py --write` renews it."""
    shown = rooms.BLOCK.search(rooms.PAGE.read_text(encoding="utf-8"))
    assert shown is not None
    assert shown[0] == rooms.draw(rooms.arrows(MODULES, types=False))


# -- exports --------------------------------------------------------------------------------

PROMISED = {
    *("ProcessAsyncPoolExecutor", "ThreadAsyncPoolExecutor", "LoadBalancer"),
    *("ConcurrentFuture", "AsyncioFuture", "AplexWorkerError", "__version__"),
}


def test_the_promised_names_are_exported() -> None:
    assert set(aplex.__all__) >= PROMISED
    assert {"LoadBalancer", "RoundRobin", "Random", "Average"} <= set(aplex.load_balancers.__all__)


def test_every_exported_name_is_there_and_no_name_twice() -> None:
    for module in (aplex, *(getattr(aplex, name) for name in PUBLIC_MODULES)):
        assert len(set(module.__all__)) == len(module.__all__)
        for name in module.__all__:
            assert getattr(module, name) is not None
    assert set(aplex.__all__) <= set(dir(aplex))


def test_the_package_exports_what_its_modules_define() -> None:
    for name in set(aplex.__all__) - {"__version__"}:
        thing = getattr(aplex, name)
        assert thing.__module__.startswith("aplex.")
        assert name in importlib.import_module(thing.__module__).__all__
        assert inspect.getdoc(thing)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        aplex.no_such_name  # noqa: B018
    assert not hasattr(aplex, "_no_such_module")


def test_public_modules_show_their_public_names_only_where_they_say() -> None:
    for name in PUBLIC_MODULES:
        module: types.ModuleType = getattr(aplex, name)
        public = {
            key
            for key, value in vars(module).items()
            if not key.startswith("_")
            and inspect.isclass(value)
            and value.__module__ == module.__name__
        }
        undeclared = public - set(module.__all__)
        assert undeclared == set()


def test_the_package_is_typed() -> None:
    assert (SOURCE / "py.typed").exists()


# -- what importing does --------------------------------------------------------------------


def in_a_fresh_interpreter(code: str) -> Any:
    """Run code that prints JSON."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        # Coverage would import modules of its own wishes.
        env={name: value for name, value in os.environ.items() if "COVERAGE" not in name},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return json.loads(run.stdout)


SIDE_EFFECTS = """
import atexit, json, os, signal, sys, threading, weakref

hooks = []
def watched(module, name):
    real = getattr(module, name)
    def call(*args, **kwargs):
        caller = sys._getframe(1).f_globals.get("__name__", "?")
        hooks.append(f"{caller}: {name}")
        return real(*args, **kwargs)
    setattr(module, name, call)

def children():
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return file.read().split()
    except FileNotFoundError:
        return []

watched(atexit, "register")
watched(signal, "signal")
watched(os, "register_at_fork")
watched(weakref, "finalize")
watched(threading, "_register_atexit")
handlers = {s: signal.getsignal(s) for s in signal.valid_signals()}
fds = os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd") else []
environment = dict(os.environ)

import aplex
from aplex import *
import aplex._worker.process, aplex._manager.manager
import aplex._backends.process.backend, aplex._backends.thread.backend

print(json.dumps({
    "hooks": [hook for hook in hooks if hook.startswith("aplex")],
    "threads": [thread.name for thread in threading.enumerate()],
    "handlers": [int(s) for s in handlers if signal.getsignal(s) is not handlers[s]],
    "fds": len(os.listdir("/proc/self/fd")) - len(fds) if fds else 0,
    "children": children(),
    "environment": dict(os.environ) != environment,
    "start method": sys.modules["multiprocessing"].get_start_method(allow_none=True),
}))
"""


def test_importing_has_no_side_effects() -> None:
    """No thread, no signal handler, no hook for exit or fork, no descriptor, no child."""
    assert in_a_fresh_interpreter(SIDE_EFFECTS) == {
        "hooks": [],
        "threads": ["MainThread"],
        "handlers": [],
        "fds": 0,
        "children": [],
        "environment": False,
        "start method": None,
    }


MAKING = """
import json, os, threading
from aplex import ProcessAsyncPoolExecutor, ThreadAsyncPoolExecutor
listing = "/proc/self/fd"
before = len(os.listdir(listing)) if os.path.exists(listing) else 0
executors = [ProcessAsyncPoolExecutor(), ThreadAsyncPoolExecutor(awaitable=True)]
after = len(os.listdir(listing)) if os.path.exists(listing) else 0
print(json.dumps([threading.active_count(), after - before]))
"""


def test_making_an_executor_starts_and_holds_nothing() -> None:
    assert in_a_fresh_interpreter(MAKING) == [1, 0]


def test_a_child_imports_no_asyncio_before_a_coroutine_comes() -> None:
    loaded = in_a_fresh_interpreter(
        "import sys, json, aplex._worker.process; print(json.dumps(sorted(sys.modules)))"
    )
    heavy = {
        "asyncio",
        "ssl",
        "multiprocessing",
        "cloudpickle",
        "typing",
        "aplex.executors",
        "aplex._pool.pool",
    }
    assert heavy & set(loaded) == set()


IN_A_WORKER = """
import json, sys
from multiprocessing import process
process.current_process()._inheriting = True  # as while a worker imports the main module
import aplex._worker.process
from aplex import ProcessAsyncPoolExecutor, ThreadAsyncPoolExecutor
loaded = sorted(sys.modules)
with ThreadAsyncPoolExecutor(1) as pool:
    assert pool.submit(abs, -3).result() == 3
print(json.dumps(loaded))
"""


def test_a_worker_does_not_import_what_only_a_pool_needs() -> None:
    """With the executors, which most main modules import; and it may make a pool all the same."""
    heavy = {"asyncio", "dataclasses", "inspect", "random", "ssl", "aplex._assembly"}
    rooms_of_a_pool = ("aplex._manager", "aplex._pool", "aplex._backends", "aplex._futures")
    loaded = in_a_fresh_interpreter(IN_A_WORKER)
    assert heavy & set(loaded) == set()
    assert [name for name in loaded if name.startswith(rooms_of_a_pool)] == []


def test_each_public_name_is_found_in_the_module_that_has_it() -> None:
    for module, names in aplex._MODULES.items():
        public = getattr(aplex, module).__all__
        assert names == tuple(name for name in public if name in aplex.__all__)


def test_public_submodules_are_there_after_importing_the_package() -> None:
    """``import aplex`` is enough for ``aplex.load_balancers.Average``."""
    names = ", ".join(f"aplex.{name}.__name__" for name in PUBLIC_MODULES)
    code = f"import json, aplex; print(json.dumps([{names}]))"
    assert in_a_fresh_interpreter(code) == [f"aplex.{name}" for name in PUBLIC_MODULES]


# Each in a copy of an interpreter that has imported nothing yet.
IMPORT_EACH_FIRST = """
import os, sys, traceback

for name in sys.argv[1:]:
    pid = os.fork()
    if not pid:
        try:
            __import__(name)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(pid, 0)[1]:
        print("cannot be imported first:", name, file=sys.stderr)
"""


@pytest.mark.needs("posix")
@pytest.mark.parametrize("room", sorted({name.partition(".")[0] for name in MODULES}))
def test_every_module_can_be_imported_first(room: str) -> None:
    """No module relies on what another one has imported before it."""
    here = [name for name in MODULES.keys() - ELSEWHERE if name.partition(".")[0] == room]
    names = sorted(f"aplex.{name}".rstrip(".") for name in here)
    ran = subprocess.run(
        [sys.executable, "-c", IMPORT_EACH_FIRST, *names],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_star_import_gives_the_public_names_only() -> None:
    code = (
        "import json; before = {*dir(), 'before'}; from aplex import *; "
        "print(json.dumps(sorted({*dir()} - before)))"
    )
    assert set(in_a_fresh_interpreter(code)) == set(aplex.__all__)
