"""Whether the code that runs now would run again if the main module were imported.

A worker that is spawned can import the main module only if what uses the executor stands under
``if __name__ == "__main__":``. That is seen before any worker starts: the module's own code is on
the stack of the main thread, at a line, and the syntax tree says what that line is under. The
first submit may come from another thread; the main thread then waits for it at such a line, or has
come to the module's end.
"""

from __future__ import annotations

import ast
import functools
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, Final

from aplex._common.frames import frames_of

_BLOCKS: Final = ("body", "orelse", "handlers", "finalbody", "cases")
"""The attributes of a statement that hold further ones."""


def is_guarded(main: ModuleType, path: str) -> bool:
    """Whether an import of the main module would not come to what runs now.

    True as well if its file cannot be read as Python.

    Args:
        main: The main module.
        path: Its file.
    """
    try:
        tree = _parsed(path)
    except (OSError, SyntaxError, ValueError):
        return True
    frame = _frame_of(main)
    if frame is None:  # it has come to its end: threads go on, or exit handlers run
        return any(_guard(statement) is not None for statement in _all(tree.body))
    if Path(frame.f_code.co_filename).name != Path(path).name:
        return False  # a shell has filled it with other code
    return frame.f_lineno is not None and is_line_guarded(tree, frame.f_lineno)


def is_line_guarded(tree: ast.Module, line: int) -> bool:
    """Whether a line of a module runs only if that is the main module."""
    block: Iterable[Any] = tree.body
    while True:
        statement = next((each for each in block if _has(each, line)), None)
        if statement is None:
            return False
        guard = _guard(statement)
        if guard is not None and any(_has(each, line) for each in getattr(statement, guard)):
            return True
        block = list(_inner(statement))


def _frame_of(main: ModuleType) -> FrameType | None:
    """Return the outermost frame of the module's own code: further in may be an ``exec``."""
    frames = reversed(frames_of(threading.main_thread().ident or 0))
    return next(
        (
            frame
            for frame in frames
            if frame.f_globals is vars(main) and frame.f_code.co_name == "<module>"
        ),
        None,
    )


@functools.lru_cache(maxsize=1)
def _parsed(path: str) -> ast.Module:
    return ast.parse(Path(path).read_bytes(), path)


def _has(statement: Any, line: int) -> bool:
    if isinstance(statement, ast.match_case):
        return any(_has(each, line) for each in statement.body)
    first = min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", ()))])
    return bool(first <= line <= statement.end_lineno)


def _inner(statement: Any) -> Iterator[Any]:
    """The statements of a statement that run with it."""
    if not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
        for block in _BLOCKS:
            yield from getattr(statement, block, ())


def _all(statements: Iterable[Any]) -> Iterator[Any]:
    for statement in statements:
        yield statement
        yield from _all(_inner(statement))


def _guard(statement: Any) -> str | None:
    """Return which block of a statement runs in the main module only, if one does."""
    if not isinstance(statement, ast.If):
        return None
    says = _says_main(statement.test)
    return None if says is None else ("body" if says else "orelse")


def _says_main(test: ast.expr) -> bool | None:
    """Whether a condition is true, or is false, in the main module only; None: neither."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = _says_main(test.operand)
        return None if inner is None else not inner
    if isinstance(test, ast.BoolOp):
        wanted = isinstance(test.op, ast.And)
        return wanted if any(_says_main(each) is wanted for each in test.values) else None
    if isinstance(test, ast.Compare) and len(test.ops) == 1:
        sides = {ast.dump(test.left), ast.dump(test.comparators[0])}
        if sides == _SIDES and isinstance(test.ops[0], (ast.Eq, ast.NotEq, ast.Is, ast.IsNot)):
            return isinstance(test.ops[0], (ast.Eq, ast.Is))
    return None


_SIDES: Final = {
    ast.dump(ast.Name("__name__", ast.Load())),
    ast.dump(ast.Constant("__main__")),
}
