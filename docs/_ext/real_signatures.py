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

# Made by aplex only: how is nobody's business.
NOT_TO_BE_CALLED = frozenset(
    {
        *("aplex.executors.AsyncPoolExecutor", "aplex.PoolView", "aplex.SharedHandle"),
        *("aplex.CurrentWorker", "aplex.Stream", "aplex.AsyncStream", "aplex.Outcome"),
        *("aplex.PoolStats", "aplex.WorkerStats", "aplex.RunningFunction", "aplex.Percentiles"),
        *("aplex.FunctionStats", "aplex.PoolDump", "aplex.WorkerDump", "aplex.WorkDump"),
        *("aplex.TaskDump", "aplex.StackFrame", "aplex.Recording", "aplex.progress.Progress"),
        *("aplex.load_balancers.Worker", "aplex._testing.paper.PaperWorker"),
        *("aplex._testing.paper.PaperCall", "aplex.ConcurrentFuture", "aplex.AsyncioFuture"),
    }
)


class Shown:
    """A default that is shown as it is written here."""

    def __init__(self, words: str) -> None:
        self.words = words

    def __repr__(self) -> str:
        return self.words


def setup(app: Any) -> dict[str, Any]:
    app.setup_extension("sphinx.ext.autodoc")  # whose events these are
    app.connect("builder-inited", forget_overloads)
    app.connect("autodoc-before-process-signature", make_plain)
    app.connect("autodoc-process-signature", leave_out)
    return {"parallel_read_safe": True}


def forget_overloads(_app: Any) -> None:
    for module in pkgutil.walk_packages(aplex.__path__, "aplex."):
        if module.name.endswith("__main__") or module.name.startswith("aplex.compat"):
            continue  # they do something as they are imported
        if module.name == "aplex._wire.handles":
            continue  # it can be imported on Windows only
        analyzer = ModuleAnalyzer.for_module(module.name)
        analyzer.analyze()
        analyzer.overloads = {}


def make_plain(_app: Any, function: Any, _is_bound_method: Any) -> None:
    """Give a function a signature in which options stand one by one, and classes by name."""
    if inspect.isfunction(function):
        signature = inspect.signature(function)
        each = [part for known in signature.parameters.values() for part in spread(known, function)]
        function.__signature__ = signature.replace(parameters=each)  # type: ignore[attr-defined]


def spread(parameter: inspect.Parameter, function: Any) -> list[inspect.Parameter]:
    """Return what is shown in place of a parameter: mostly itself."""
    if inspect.isclass(parameter.default) and parameter.default is not parameter.empty:
        return [parameter.replace(default=Shown(parameter.default.__name__))]
    if parameter.kind is not parameter.VAR_KEYWORD or "Unpack" not in str(parameter.annotation):
        return [parameter]
    (options,) = typing.get_args(typing.get_type_hints(function)[parameter.name])
    keyword = parameter.replace(kind=parameter.KEYWORD_ONLY, default=Shown("..."))
    return [
        keyword.replace(name=name, annotation=kind)
        for name, kind in typing.get_type_hints(options).items()
    ]


def leave_out(
    _app: Any, what: str, name: str, _object: Any, _options: Any, signature: Any, returns: Any
) -> tuple[Any, Any]:
    """Show no constructor where there is none for users."""
    if what == "class" and name in NOT_TO_BE_CALLED:
        return "", None
    return signature, returns
