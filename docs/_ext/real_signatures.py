"""Sphinx extension: the reference shows what functions really take, with their defaults.

Autodoc shows the overloads of a function in place of it, and those are for type checkers: what they
say of awaitable results hides the parameters behind `**options`. So overloads are forgotten before
autodoc looks. Options that are a `TypedDict` (PEP 692) are shown one by one; the three dots of
their defaults mean that the option stays as it is.
"""

import inspect
import pkgutil
import typing
from typing import Any

from sphinx.pycode import ModuleAnalyzer

import aplex


def setup(app: Any) -> dict[str, Any]:
    app.connect("builder-inited", forget_overloads)
    app.connect("autodoc-before-process-signature", spread_options)
    return {"parallel_read_safe": True}


def forget_overloads(_app: Any) -> None:
    for module in pkgutil.walk_packages(aplex.__path__, "aplex."):
        if module.name.endswith("__main__") or module.name.startswith("aplex.compat"):
            continue
        analyzer = ModuleAnalyzer.for_module(module.name)
        analyzer.analyze()
        analyzer.overloads = {}


def spread_options(_app: Any, function: Any, _is_bound_method: Any) -> None:
    """Give a function whose last parameter is `**options: Unpack[…]` all of them by name."""
    signature = inspect.signature(function)
    *others, last = signature.parameters.values() or [None]
    if last is None or last.kind is not last.VAR_KEYWORD:
        return
    hint = typing.get_type_hints(function).get(last.name)
    if typing.get_origin(hint) is typing.Unpack:
        (options,) = typing.get_args(hint)
        spread = [
            last.replace(name=name, kind=last.KEYWORD_ONLY, default=..., annotation=kind)
            for name, kind in typing.get_type_hints(options).items()
        ]
        function.__signature__ = signature.replace(parameters=[*others, *spread])
