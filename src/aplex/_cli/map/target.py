"""Finds what is to be run: MODULE:FUNCTION, or an expression that was typed.

The expression comes from the command line, never from the input: items are data.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aplex._cli.map.spread import await_args, await_kwargs, call_args, call_kwargs


class TargetError(Exception):
    """What is to be run cannot be found."""


def import_target(name: str) -> Any:
    """Return what MODULE:NAME names; NAME may have dots. The current folder is searched first.

    Raises:
        TargetError: It is not there, or its module cannot be imported.
    """
    here = str(Path.cwd())
    if not {"", here} & set(sys.path):
        sys.path.insert(0, here)
    module_name, colon, path = name.partition(":")
    if not (colon and module_name and path):
        raise TargetError(f"{name!r} is not of the form MODULE:FUNCTION, as in json:loads")
    if file := _file_of(module_name):
        raise TargetError(_no_file(file, path))
    thing: Any = _import(module_name)
    for part in path.split("."):
        try:
            thing = getattr(thing, part)
        except AttributeError:
            raise TargetError(f"the module {module_name!r} has no {path!r}") from None
    return thing


def _file_of(name: str) -> Path | None:
    """Return the file that was given in the place of a module, if one was."""
    file = Path(name)
    given = name.endswith(".py") or len(file.parts) > 1
    return file.with_suffix("") if given else None


def _no_file(file: Path, path: str) -> str:
    folder = "" if file.parent == Path() else f"PYTHONPATH={file.parent} aplex map "
    return f"'{file}.py' is a file; name its module: {folder}{file.name}:{path}"


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        hint = f"; looked in {', '.join(map(repr, sys.path[:3]))}, … (PYTHONPATH adds folders)"
        if error.name and error.name != name and not name.startswith(f"{error.name}."):
            raise TargetError(f"the module {name!r} cannot be imported: {error}{hint}") from error
        raise TargetError(f"there is no module {name!r}{hint}") from None
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        raise TargetError(f"the module {name!r} cannot be imported: {said}") from error


def evaluate(expression: str) -> Any:
    """Return the value of a Python expression; the modules that it names are imported.

    Raises:
        TargetError: It is none, or raises.
    """
    try:
        tree = ast.parse(expression, "-e", "eval")
        space = _modules_of(tree)
        return eval(compile(tree, "-e", "eval"), space)  # noqa: S307 - what the user has typed
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        raise TargetError(f"the expression {expression!r} cannot be used: {said}") from error


def _modules_of(tree: ast.Expression) -> dict[str, Any]:
    """Import what an expression names and neither defines nor finds among the builtins."""
    nodes = list(ast.walk(tree))
    own = {node.arg for node in nodes if isinstance(node, ast.arg)}
    own |= {n.id for n in nodes if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
    space: dict[str, Any] = {}
    for node in nodes:
        if isinstance(node, ast.Name) and node.id not in own and not hasattr(builtins, node.id):
            try:
                space[node.id] = importlib.import_module(node.id)
            except ModuleNotFoundError:
                raise TargetError(f"{node.id!r} is neither a builtin nor a module") from None
    for node in nodes:  # `xml.dom.minidom`: modules within those
        if isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            if name.partition(".")[0] in space and name.replace(".", "_").isidentifier():
                try:
                    importlib.import_module(name)
                except ModuleNotFoundError:
                    continue
    return space


def spread(
    function: Callable[..., Any], fixed: dict[str, Any], how: str | None, *, awaited: bool
) -> Callable[..., Any]:
    """Return what takes an item as its only argument.

    Args:
        function: What the user has named.
        fixed: Keyword arguments for all items.
        how: "args": items are arrays of arguments; "kwargs": objects; None: one argument.
        awaited: Whether it is a coroutine function.
    """
    if how == "args":
        return functools.partial(await_args if awaited else call_args, function, fixed)
    if how == "kwargs":
        return functools.partial(await_kwargs if awaited else call_kwargs, function, fixed)
    return functools.partial(function, **fixed) if fixed else function
