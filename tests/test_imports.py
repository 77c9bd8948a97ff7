"""Architecture: what may import what, what is exported, and that importing does nothing else.

The imports are read from the source. Arrows point one way:

    executors → _manager → _pool → _messages
    executors → _backends.X → _child → _worker → _messages

Imports for annotations only (``if TYPE_CHECKING``) are no arrows.
"""

from __future__ import annotations

import ast
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
import aplex.exceptions
import aplex.executors
import aplex.futures
import aplex.load_balancers
import aplex.outcomes
import aplex.streams
import aplex.views

SOURCE = Path(aplex.__file__).parent
PUBLIC_MODULES = (
    "exceptions",
    "executors",
    "futures",
    "load_balancers",
    "outcomes",
    "streams",
    "views",
)


def modules() -> dict[str, ast.Module]:
    """Name of each module within the package -> its source."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        found[".".join(parts)] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def _is_for_types_only(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def imported(tree: ast.AST, *, late: bool) -> set[str]:
    """Absolute names of what a module imports; ``late``: inside functions, too."""
    names: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.stmt) and _is_for_types_only(node):
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif late or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names |= imported(node, late=late)
    return names


MODULES = modules()


def arrows(name: str, *, late: bool = True) -> set[str]:
    """The modules of the package that a module imports."""
    names = imported(MODULES[name], late=late)
    inside = {n.removeprefix("aplex.") for n in names if n.startswith("aplex.")}
    return {other for other in inside if other in MODULES and other not in (name, "_backends")}


def reachable(name: str, *, late: bool = True) -> set[str]:
    """The modules of the package that come with a module."""
    found: set[str] = set()
    new = {name}
    while new:
        found |= new
        new = {other for known in new for other in arrows(known, late=late)} - found
    return found - {name}


# -- arrows ---------------------------------------------------------------------------------

RANKS = [
    {"_locks", "_sleepers", "_waits"},
    {"_late", "_stdlib_waits"},
    {
        "_messages",
        "_version",
        "_main_module",
        "exceptions",
        "load_balancers",
        "_cpus",
        "_deafness",
        "_listener",
        "_frames",
        "_gate",
        "_options",
        "_names",
        "_producers",
        "_chunk_sizes",
        "_identity",
        "_inputs",
        "_left_behind",
        "_lines",
        "_alarms",
        "_copies",
        "_unread",
        "outcomes",
    },
    {"_inflow", "_pickling", "_supervision", "_balancer_views", "_worker", "_limits"}
    | {"_shared_file", "_segments", "_green"},
    {"_work", "_coroutine_lane", "_plain_lane", "_arena", "_lent", "_progress"}
    | {"_packed_setup", "_exception_copies"},
    {"_pool_worker", "_exception_pickling"},
    {"_pool", "_chunks", "_interrupts", "_timeouts", "_settings", "_nesting"},
    {"_chunks_measured", "_ladder"},
    {
        "_works",
        "_windows",
        "_chunks_coroutine",
        "_child",
        "_certificate",
        "_last_words",
        "_setup_packer",
        "futures",
        "_backends.base",
    },
    {
        "_maps",
        "_telling",
        "_chunks_plain",
        "_exit",
        "_settling",
        "_link",
        "_backends.thread",
        "_backends.memory",
    },
    {"streams", "_manager", "_plans", "_room", "_starter"},
    {"_backends.process"},
    {"_streaming"},
    {"views"},
    {"executors"},
    {"", "_backends"},
]
"""What stands in a row imports only what stands above it."""


def test_every_module_has_its_rank() -> None:
    assert set(MODULES) == set().union(*RANKS)


@pytest.mark.smoke
def test_no_import_points_back() -> None:
    ranks = {name: rank for rank, names in enumerate(RANKS) for name in names}
    back = [
        f"{name} imports {other}"
        for name in MODULES
        if name  # the package itself knows all
        for other in arrows(name)
        if ranks[other] >= ranks[name]
    ]
    assert back == []


def test_no_imports_go_round_in_a_circle() -> None:
    graph = {name: arrows(name) for name in MODULES}
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)


@pytest.mark.parametrize(
    "leaf", ["_messages", "exceptions", "load_balancers", "_cpus", "_version", "_options"]
)
def test_a_leaf_imports_nothing_of_the_package(leaf: str) -> None:
    assert arrows(leaf) == set()


LOGIC = {"_messages", "_options", "_names", "_supervision", "_balancer_views", "exceptions"} | {
    "load_balancers",
    "_limits",
    "_work",
    "_pool_worker",
}


def test_the_pool_is_only_logic() -> None:
    """No IO, no clock, no thread: nothing of the kind is imported, not even late."""
    allowed = {"__future__", "enum", "collections", "collections.abc", "typing", "itertools"}
    allowed |= {"abc", "dataclasses", "heapq", "math"}
    logic = (
        "_pool",
        "_work",
        "_pool_worker",
        "_supervision",
        "_balancer_views",
        "_options",
        "_limits",
        "_alarms",
        "_ladder",
    )
    imports = set().union(*(imported(MODULES[module], late=True) for module in logic))
    names = {name for name in imports if "aplex" not in name}
    assert {n for n in names if n not in allowed and n.rpartition(".")[0] not in allowed} == set()
    assert reachable("_pool") == LOGIC


def test_what_a_worker_runs_knows_nothing_of_the_parents_side() -> None:
    forbidden = {"executors", "_manager", "_pool", "_listener", "futures", "load_balancers"}
    for name in ("_worker", "_child", "_chunks_plain", "_chunks_coroutine"):
        assert reachable(name) & forbidden == set()
        assert not any(other.startswith("_backends") for other in reachable(name))


def test_what_a_worker_runs_imports_no_asyncio_before_a_coroutine_comes() -> None:
    heavy = {"asyncio", "multiprocessing", "concurrent.futures", "cloudpickle", "ssl"}
    for name in {"_child", "_chunks_plain", *reachable("_child", late=False)}:
        assert imported(MODULES[name], late=False) & (heavy - {"concurrent.futures"}) == set(), name


def test_a_back_end_knows_no_executor_and_no_manager() -> None:
    for name in MODULES:
        if name.startswith("_backends."):
            assert (
                reachable(name) & {"executors", "_manager", "_exit", "_maps", "_windows"} == set()
            )


def test_a_back_end_knows_no_other_back_end() -> None:
    for name in MODULES:
        if name.startswith("_backends."):
            others = {other for other in arrows(name) if other.startswith("_backends.")}
            assert others <= {"_backends.base"}


def test_one_manager_touches_both_the_pool_and_the_world() -> None:
    assert [name for name in MODULES if "_manager" in arrows(name)] == ["executors"]


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


OPTIONS = {"PoolOptions", "ProcessOptions", "OptionsOfWorks", "MapOptions", "MapOptionsWithMeta"}
"""Keyword arguments, for type checkers only."""


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
        undeclared = public - set(module.__all__) - OPTIONS
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
import aplex._child, aplex._manager, aplex._backends.process, aplex._backends.thread

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
        "import sys, json, aplex._child; print(json.dumps(sorted(sys.modules)))"
    )
    heavy = {"asyncio", "ssl", "multiprocessing", "cloudpickle", "aplex.executors", "aplex._pool"}
    assert heavy & set(loaded) == set()


def test_public_submodules_are_there_after_importing_the_package() -> None:
    """``import aplex`` is enough for ``aplex.load_balancers.Average``."""
    names = ", ".join(f"aplex.{name}.__name__" for name in PUBLIC_MODULES)
    code = f"import json, aplex; print(json.dumps([{names}]))"
    assert in_a_fresh_interpreter(code) == [f"aplex.{name}" for name in PUBLIC_MODULES]


@pytest.mark.parametrize("name", sorted(MODULES))
def test_every_module_can_be_imported_first(name: str) -> None:
    """No module relies on what another one has imported before it."""
    module = f"aplex.{name}".rstrip(".")
    assert in_a_fresh_interpreter(f"import {module}; print(0)") == 0


def test_a_star_import_gives_the_public_names_only() -> None:
    code = (
        "import json; before = {*dir(), 'before'}; from aplex import *; "
        "print(json.dumps(sorted({*dir()} - before)))"
    )
    assert set(in_a_fresh_interpreter(code)) == set(aplex.__all__)
