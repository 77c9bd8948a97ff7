"""How a template process begins: it becomes a child of the parent as ``multiprocessing`` has them.

The first result waits for this, so it imports less than ``multiprocessing.spawn`` does, whose
function it has: the module behind that one alone takes as long as all of ours. What it sets is what
``multiprocessing.process.BaseProcess._bootstrap`` sets, and works see: ``current_process()``,
``parent_process()``, the start method, standard input.
"""

from __future__ import annotations

import itertools
import os
import pickle
import runpy
import sys
import threading
import types
from collections.abc import Mapping
from multiprocessing import process

TYPE_CHECKING = False  # from `typing`, which workers need not import
if TYPE_CHECKING:
    from typing import Any, BinaryIO, Final

_as_it_was: Final[list[Any]] = []
"""Main modules that were replaced: what they hold is not to be freed."""


def begin(beginning: BinaryIO) -> Mapping[str, Any]:
    """Be a child of the parent; return what it says.

    Args:
        beginning: What the parent writes, behind the ``sys.path`` that it has written. It stays
            open while the parent lives.
    """
    said, this = pickle.load(beginning)
    os.set_inheritable(beginning.fileno(), False)
    sys.argv = said["argv"]
    process.ORIGINAL_DIR = said["orig_dir"]  # type: ignore[attr-defined]
    if said["logging"]:
        from multiprocessing import spawn

        spawn.prepare(said["logging"])
    become(this, beginning.fileno())
    return said  # type: ignore[no-any-return]


def become(this: Any, parent_sentinel: int) -> None:
    """Let ``multiprocessing`` know what process this is.

    Args:
        this: The process, as the parent has made it.
        parent_sentinel: A descriptor that can be read when the parent is dead.
    """
    module: Any = process
    contexts: Any = sys.modules["multiprocessing.context"]
    contexts._force_start_method("spawn")  # noqa: SLF001 - see above
    module._process_counter = itertools.count(1)  # noqa: SLF001
    module._children = set()  # noqa: SLF001
    _close_stdin()
    module._current_process = this  # noqa: SLF001
    module._parent_process = module._ParentProcess(  # noqa: SLF001
        this._parent_name,  # noqa: SLF001
        this._parent_pid,  # noqa: SLF001
        parent_sentinel,
    )
    if hasattr(threading.main_thread(), "_set_native_id"):
        threading.main_thread()._set_native_id()  # type: ignore[attr-defined] # noqa: SLF001


def import_main(name: str | None, path: str | None) -> None:
    """Import the parent's main module, under the name ``__mp_main__``.

    Args:
        name: By which it was run (``python -m``); None: by its path.
        path: Its file; None: it is not to be imported.
    """
    main = sys.modules["__main__"]
    if name is not None:
        content = runpy.run_module(name, run_name="__mp_main__", alter_sys=True)
    elif path is None or os.path.splitext(os.path.basename(path))[0] == "ipython":  # noqa: PTH119, PTH122
        return  # that has no guard
    else:
        content = runpy.run_path(path, run_name="__mp_main__")
    _as_it_was.append(main)
    module = types.ModuleType("__mp_main__")
    vars(module).update(content)
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module


def _close_stdin() -> None:
    """Have nothing to read on standard input: that is the parent's."""
    if sys.stdin is None:
        return
    try:
        sys.stdin.close()
        sys.stdin = open(os.open(os.devnull, os.O_RDONLY), encoding="utf-8", closefd=False)  # noqa: SIM115
    except (OSError, ValueError):
        pass
