"""Writes down the public surface: names, parameters and defaults, one to a line.

    python -m tests.public_surface --write    renew tests/public_surface.txt

A change of it shows in the review of that file; `test_public_surface.py` compares.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import sys
import typing
from pathlib import Path
from types import ModuleType
from typing import Any

PAGE = Path(__file__).with_name("public_surface.txt")
SPECIAL = {"__init__", "__iter__", "__next__", "__aiter__", "__anext__", "__call__"}
SPECIAL |= {"__enter__", "__exit__", "__aenter__", "__aexit__"}


def public_modules() -> list[str]:
    """Return the names of the modules that users may import."""
    folder = Path(importlib.import_module("aplex").__path__[0])
    beside = sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))
    return ["aplex", *(f"aplex.{name}" for name in beside)]


def render() -> str:
    """Return the surface as it is now."""
    return "\n\n".join("\n".join(_module(name)) for name in public_modules()) + "\n"


def _module(name: str) -> list[str]:
    module: ModuleType = importlib.import_module(name)
    lines = [f"# {name}"]
    for key in sorted(module.__all__):
        thing = getattr(module, key)
        if getattr(thing, "__module__", name) != name:
            lines.append(f"{key}: {thing.__module__}.{thing.__name__}")
        elif typing.is_typeddict(thing):
            lines.append(f"class {key}(TypedDict)")
            lines += [f"    {option}: {kind}" for option, kind in _hints(thing).items()]
        elif inspect.isclass(thing):
            lines += _class(thing)
        elif callable(thing):
            lines.append(f"{key}{_signature(thing)}")
        else:
            lines.append(key)
    return lines


def _class(kind: type) -> list[str]:
    bases = ", ".join(base.__name__ for base in kind.__bases__)
    lines = [f"class {kind.__name__}({bases})"]
    for key in sorted(dir(kind)):
        owner = next((base for base in kind.__mro__ if key in vars(base)), object)
        ours = owner.__module__.startswith("aplex")
        if ours and (key in SPECIAL or not key.startswith("_")):
            lines.append(f"    {_member(key, vars(owner)[key])}")
    if not issubclass(kind, enum.Enum):
        fields = {key for base in kind.__mro__ for key in vars(base).get("__annotations__", ())}
        lines += [
            f"    {key}" for key in sorted(fields) if not hasattr(kind, key) and key[0] != "_"
        ]
    return lines


def _member(name: str, member: Any) -> str:
    if isinstance(member, property):
        return f"{name} (property)"
    function = getattr(member, "__func__", member)
    if callable(function):
        word = "async " if inspect.iscoroutinefunction(function) else ""
        return f"{word}{name}{_signature(function)}"
    return name


def _signature(function: Any) -> str:
    """Return the parameters with their defaults, and no annotations: they are tried elsewhere."""
    signature = inspect.signature(function)
    parameters = [
        each.replace(annotation=each.empty, default=_Named.of(each.default))
        for each in signature.parameters.values()
    ]
    return str(signature.replace(parameters=parameters, return_annotation=signature.empty))


class _Named:
    """Shows a default by its name, where that says more, and the same on each Python."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name

    @staticmethod
    def of(default: Any) -> Any:
        return (
            _Named(default.__name__)
            if inspect.isclass(default) and default is not (inspect.Parameter.empty)
            else default
        )


def _hints(kind: type) -> dict[str, Any]:
    return {
        key: getattr(hint, "__forward_arg__", hint) for key, hint in kind.__annotations__.items()
    }


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(render(), encoding="utf-8")
    else:
        sys.stdout.write(render())
